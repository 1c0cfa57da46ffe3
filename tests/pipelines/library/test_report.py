"""`adassl report`: what stands on the page of a run, and of an exported encoder."""

from pathlib import Path

import pytest

from pipelines.config.run import ConfigError
from pipelines.library.export import export
from pipelines.library.report import PAGE, report
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.video.indexer import build_index
from tests.pipelines.library.digit_run import NO_R, Parts, tiny_run


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    write_moving_digits(folder / "set", num_videos=12, num_frames=60, num_workers=1)
    build_index([folder / "set"], folder / "videos.parquet", test_share=0.5)
    return folder / "videos.parquet"


@pytest.fixture(scope="module")
def run(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("run") / "first", index)


def headings(page: str) -> list[str]:
    return [part.partition("</h2>")[0] for part in page.split("<h2>")[1:]]


def test_the_page_of_a_run(run: Path) -> None:
    RunFolder(run).add_to_summary(
        {"test/digit/linear_accuracy": 0.75, "test/centre_norm": 0.25, "val/loss": 3.0}
    )
    where = report(str(run), num_moments=20)
    assert where == str(run / PAGE)
    page = Path(where).read_text()
    assert headings(page) == [
        *("Training", "What it knows", "Collapse and spread", "The use of r"),
        *("Map", "Neighbours", "Futures", "Surprises"),
    ]
    parts = Parts(page)
    assert "0.750" in parts.text
    assert "9 moments of test videos by h, by digit" in parts.text
    assert "variational, 32 dimensions" in parts.text
    assert len(parts.loads) > 9
    assert all(address.startswith("data:image/") for address in parts.loads if address)


def test_what_there_is_none_of_is_left_out(index: Path, tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", index, NO_R)
    page = Path(report(str(run), out=str(tmp_path / "page.html"), num_moments=10)).read_text()
    assert "This method has no r." in page
    assert "has found no label to ask" in page
    assert headings(page)[-1] == "Neighbours"
    assert not (run / PAGE).exists()
    with pytest.raises(ConfigError, match="holds no run"):
        report(str(tmp_path))


def test_the_page_of_an_exported_encoder(run: Path, index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    export(RunFolder(run), Folder(folder), checkpoint="newest")
    with pytest.raises(ConfigError, match="--index INDEX"):
        report(str(folder))
    where = report(str(folder), index=str(index), num_moments=30)
    assert Path(where).parent == tmp_path
    page = Path(where).read_text()
    assert headings(page) == ["Map", "Neighbours"]
    assert "first, step" in page
    assert "000003.mp4 at" in page


@pytest.mark.slow  # a browser
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_and_answers_the_mouse(run: Path, tmp_path: Path, width: int) -> None:
    from tests import browser

    place = Path(report(str(run), out=str(tmp_path / "page.html"), num_moments=20))
    url = place.as_uri()
    with browser.visit(url, width=width) as seen:
        seen.page.goto(url)
        shown = seen.page.locator("#map-shown")
        dots = seen.page.locator("#map path.point")
        assert dots.count() == 9
        captions = set()
        for number in range(9):
            dots.nth(number).scroll_into_view_if_needed()
            box = dots.nth(number).bounding_box()
            assert box is not None
            for aside in (20, 0):  # a mouse that comes from somewhere
                x, y = box["x"] + box["width"] / 2 + aside, box["y"] + box["height"] / 2
                seen.page.mouse.move(x, y)
            seen.page.wait_for_timeout(300)
            captions.add(shown.inner_text())
        assert len(captions) > 3, "each dot its own; some lie close to another"
        assert ".mp4 at" in shown.inner_text()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.requests == [url]
        assert seen.errors == []
