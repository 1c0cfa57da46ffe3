import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.figures import html
from pipelines.figures.maps import hover_map

NASTY = "</script><script>alert('x')</script> & \"b\""
EMPTY = {"meta", "img", "br"}


class Tags(HTMLParser):
    """Which tags are open, and the addresses that a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.scripts = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def image_of(uri: str) -> Image.Image:
    kind, _, content = uri.partition(",")
    assert re.fullmatch(r"data:image/(jpeg|png);base64", kind)
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_is_the_picture_that_it_was(channels: int) -> None:
    frame = np.full((40, 60, channels), 200, np.uint8)
    frame[:20] = 30
    image = image_of(html.frame_uri(frame))
    assert image.size == (60, 40)
    seen = np.asarray(image).reshape(40, 60, -1)
    assert seen.shape[-1] == channels
    assert np.abs(seen.astype(int) - frame).max() < 12, "JPEG changes little"
    strip = image_of(html.strip_uri(np.stack([frame, frame, frame])))
    assert strip.size == (180, 40)


def test_whatever_stands_in_texts_a_page_stays_whole_and_loads_nothing() -> None:
    picture = html.frame_uri(np.zeros((8, 8, 3), np.uint8))
    body = html.section(NASTY, html.table(pd.DataFrame({NASTY: [NASTY, "1"]})), note=NASTY)
    body += html.picture(picture, NASTY)
    points = np.random.default_rng(0).normal(size=(12, 5))
    body += hover_map(points, [picture] * 12, [NASTY] * 12, name="map", kinds=["a", NASTY] * 6)
    bare = Tags(html.page("empty", ""))
    page = Tags(html.page(NASTY, body))
    assert page.open == []
    assert page.scripts - bare.scripts == 2, "one of the plot, one of the map"
    assert all(source.startswith("data:image/") for source in page.sources)


def test_a_map_shows_each_dot_its_own_picture() -> None:
    points = np.random.default_rng(0).normal(size=(30, 5))
    pictures = [f"data:image/jpeg;base64,{i}" for i in range(30)]
    kinds = [f"kind {i % 3}" for i in range(30)]
    text = hover_map(points, pictures, [f"clip {i}" for i in range(30)], name="map", kinds=kinds)
    assert json.dumps(pictures) in text
    traces = json.loads(text[(at := text.index("[{")) :][: text[at:].index("}],") + 2])
    assert [trace["name"] for trace in traces] == ["kind 0", "kind 1", "kind 2"]
    assert [trace["customdata"] for trace in traces] == [list(range(i, 30, 3)) for i in range(3)]
