"""Texts of figures: how wide they are, cut or broken to fit."""

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from pipelines.figures.style import TEXT_SIZE, TITLE_SIZE


def fitted(width: float, title: str, *paragraphs: str) -> tuple[str, str]:
    """A title cut short, and a subtitle broken into lines, for a picture of that many inches."""
    room = width - 0.3
    while inches(title, TITLE_SIZE, weight="bold") > room:
        title = title.rstrip("…")[:-1] + "…"
    lines = []
    for paragraph in paragraphs:
        line = ""
        for word in paragraph.split():
            if line and inches(f"{line} {word}", TEXT_SIZE) > room:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return plain(title), plain("\n".join(lines))


def inches(text: str, size: float, *, weight: str = "normal") -> float:
    """How wide a text will be."""
    font = FontProperties(size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) / 72


def cut(text: str, most: int) -> str:
    """A text that is too long ends in three dots."""
    return text if len(text) <= most else text[: most - 1] + "…"


def plain(text: str) -> str:
    """A dollar sign is a dollar sign, not the start of a formula."""
    return text.replace("$", r"\$")
