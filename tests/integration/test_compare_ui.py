"""A sweep as people compare its trials: MLflow's own pages and the sweep's, in a real browser.

With DOCS_IMAGES=docs/images in the environment the pictures of the documentation are taken anew.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Locator, Page

from pipelines.sweep.report.write import write_report
from tests import browser
from tests.pipelines.sweep.report import made
from tests.pipelines.tracking.test_server import Server
from tests.processes import started

PARAMS = ("beta", "beta_warmup_steps", "latent_dim")
METRIC = "val/next_clip_nats"
NUM_TRIALS = 6
SETTINGS = {
    "train.checkpoint_every": 10,
    "train.log_every": 5,
    "train.global_batch_size": 16,
    "train.val_pairs": 32,
    "data.frame_size": 32,
    "backbone.hidden_dims": [4, 8, 16],
    "optim.warmup_steps": 4,
}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """MLflow's compare page when the plot stood."""

    preselected: list[str]
    """The params in the plot before anything was chosen."""
    titles: list[str]
    """What is written over the axes, from left to right."""
    points: list[tuple[float, ...]]
    """For each run in the plot its values at the axes."""
    lines_seen: int
    """Runs whose line is there to see between each axis and the next."""
    requests_elsewhere: list[str]
    """What the pages asked of anybody but the server."""


def compare_screenshot(
    uri: str, experiment: str, parent_run_id: str, path: Path, *, metric: str = METRIC
) -> Compared:
    """Select the finished children of a sweep in MLflow's UI, compare them, take a picture.

    The params are shown against `metric`; `uri` is a tracking server's address, `path` a PNG file.
    """
    found = MlflowClient(uri).get_experiment_by_name(experiment)
    assert found is not None, experiment
    runs = children(uri, MlflowClient(uri).get_run(parent_run_id))
    # MLflow draws a run that lacks the metric above the highest, as if it were the best.
    ids = [run.info.run_id for run in runs if run.data.tags.get("adassl.state") == "finished"]
    # The table keeps only the rows in the window, so the window is as high as the table.
    with browser.visit(uri, height=500 + 40 * len(ids)) as seen:
        page = seen.page
        page.goto(f"{uri}/#/experiments/{found.experiment_id}/runs")
        row(page, parent_run_id).first.wait_for()
        assistant = page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
        if assistant.is_visible():  # newer versions open a chat beside the runs
            assistant.click()
        for run_id in ids:
            assert row(page, run_id).count() == 0, "children are folded up under their parent"
        row(page, parent_run_id).locator("[col-id*='Run Name'] button").click()
        for run_id in ids:
            row(page, run_id).get_by_label(re.compile("toggle row selection")).check()
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_text(f"Comparing {len(ids)} Runs from 1 Experiment").first.wait_for()
        page.set_viewport_size({"width": 1280, "height": 640})
        preselected = chosen(page, "Parameters:")
        choose(page, "Parameters:", PARAMS)
        choose(page, "Metrics:", [metric])
        titles = page.locator(".pcp-plot .axis-title")
        titles.filter(has_text=metric).wait_for()
        result = Compared(
            preselected=preselected,
            titles=titles.all_text_contents(),
            points=plotted(page),
            lines_seen=wait_for_lines(page),
            requests_elsewhere=seen.blocked,
        )
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=path)
    return result


def children(uri: str, parent: Run) -> list[Run]:
    """All runs under a run."""
    wanted = f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    return list(MlflowClient(uri).search_runs([parent.info.experiment_id], wanted))


def row(page: Page, run_id: str) -> Locator:
    """The row of a run; it has a part that scrolls and one that does not."""
    return page.locator(f"[role=row][row-id='{run_id}']")


def chosen(page: Page, title: str) -> list[str]:
    """What is chosen in the box under a title."""
    return box(page, title).locator("[class$='selection-item-content']").all_inner_texts()


def box(page: Page, title: str) -> Locator:
    """The box under a title."""
    return page.locator(f"xpath=//div[text()='{title}']/following-sibling::div[1]")


def choose(page: Page, title: str, names: Sequence[str]) -> None:
    """Choose just these in the box under a title."""
    for name in set(chosen(page, title)) - set(names):
        items = box(page, title).locator("[class$='selection-item']")
        item = items.filter(has=page.get_by_text(name, exact=True))
        item.locator("[class$='selection-item-remove']").click()
    for name in names:
        if name not in chosen(page, title):
            box(page, title).click()
            page.keyboard.type(name)  # which leaves few options in the list
            page.locator(f"[class*='item-option'][title='{name}']").click()
    page.keyboard.press("Escape")
    assert sorted(chosen(page, title)) == sorted(names)


def plotted(page: Page) -> list[tuple[float, ...]]:
    """The values that the plot was given, by run."""
    axes = page.locator(".pcp-plot").evaluate("plot => plot.data[0].dimensions.map(d => d.values)")
    return list(zip(*axes, strict=True))


def wait_for_lines(page: Page) -> int:
    """Until every run has its line, for a while; how many have. Nothing tells of the canvas."""
    for _ in range(20):
        lines = line_places(page)
        coloured = browser.has_colour(page, chain.from_iterable(lines))
        whole = np.reshape(coloured, (len(lines), -1)).all(axis=1)
        if whole.all():
            break
        page.wait_for_timeout(500)
    return int(whole.sum())


def line_places(page: Page) -> list[list[tuple[float, float]]]:
    """For each run where its line must be, in the middle between all neighbouring axes."""
    axes = page.locator(".pcp-plot .axis .domain").evaluate_all(
        "axes => axes.map(axis => axis.getBoundingClientRect().toJSON())"
    )
    heights = []
    for axis, column in zip(axes, zip(*plotted(page), strict=True), strict=True):
        low, high = min(column), max(column)
        shares = [(v - low) / (high - low) if high > low else 0.5 for v in column]
        heights.append([axis["bottom"] - axis["height"] * share for share in shares])
    middles = [(a["right"] + b["right"]) / 2 for a, b in pairwise(axes)]
    return [
        [(x, (a + b) / 2) for x, (a, b) in zip(middles, pairwise(line), strict=True)]
        for line in zip(*heights, strict=True)
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def folder(server: Server, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small sweep, run as people run it."""
    cwd = tmp_path_factory.mktemp("sweep")
    command = ["sweep", "--space", "digits"]
    command += ["--name", "compare", "--num-trials", str(NUM_TRIALS), "--seeds", "1"]
    command += ["--search", "random", "--scheduler", "none", "--steps", "20"]
    command += ["--index", str(digits), "--out", str(cwd / "runs")]
    command += [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.uri)
        with started(cwd, command) as process:
            printed, _ = process.communicate(timeout=540)
    assert process.returncode == 0, printed[-4000:]
    return cwd / "runs" / "compare"


@pytest.fixture(scope="module")
def parent(server: Server, folder: Path) -> Run:
    """The sweep's run."""
    record = json.loads((folder / "sweep.json").read_text())
    return MlflowClient(server.uri).get_run(record["mlflow_run_id"])


def picture(name: str, tmp_path: Path) -> Path:
    """Where a picture goes: into the documentation, if that is what is wanted."""
    return Path(os.environ.get("DOCS_IMAGES", tmp_path)) / name


@pytest.mark.ray
@pytest.mark.slow  # a sweep of seven trials
def test_a_sweep_is_one_run_with_comparable_children(server: Server, parent: Run) -> None:
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "compare"
    runs = children(server.uri, parent)
    everything = MlflowClient(server.uri).search_runs([parent.info.experiment_id])
    assert len(everything) == len(runs) + 1, "nothing lies beside the sweep's run"
    names = {run.info.run_name for run in runs}
    assert names == {"base-s0"} | {f"{i:03}-s0" for i in range(NUM_TRIALS)}
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags["adassl.state"] == "finished"
        for name in (*PARAMS, "seed"):
            assert math.isfinite(float(run.data.params[name])), name
    assert len({frozenset(run.data.params) for run in runs}) == 1
    keys = [frozenset(key for key in run.data.metrics if key.startswith("val/")) for run in runs]
    differing = frozenset.union(*keys) - frozenset.intersection(*keys)
    assert not differing, "every finished child has the same final metrics"
    assert METRIC in keys[0]


@pytest.mark.ray
@pytest.mark.slow
def test_select_and_compare_shows_parallel_coordinates(
    server: Server, parent: Run, tmp_path: Path
) -> None:
    path = picture("compare.png", tmp_path)
    found = compare_screenshot(server.uri, "adassl", parent.info.run_id, path)
    assert found.preselected == list(PARAMS), "MLflow shows these by itself"
    assert found.titles == [*PARAMS, METRIC]
    runs = [run.data for run in children(server.uri, parent)]
    expected = [(*(float(run.params[p]) for p in PARAMS), run.metrics[METRIC]) for run in runs]
    assert sorted(found.points) == sorted(expected)
    assert found.lines_seen == NUM_TRIALS + 1
    assert found.requests_elsewhere == []
    assert path.stat().st_size < 250_000


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_sweep_has_its_page(folder: Path, tmp_path: Path) -> None:
    path = picture("report.png", tmp_path)
    browser.report_screenshot(folder / "report" / "report.html", path)
    assert path.stat().st_size < 250_000


@pytest.mark.slow  # a browser
def test_the_page_of_a_sweep_draws_sorts_and_asks_nobody(tmp_path: Path) -> None:
    record, trials = made.usual()
    url = write_report(record, trials, tmp_path, name="made").page.as_uri()
    with browser.visit(url) as seen:
        seen.page.goto(url)
        for name in ("map", "parameters", "importance", "parallel", "looks"):
            seen.page.locator(f"#{name} .main-svg").first.wait_for()
        assert column(seen.page, "rank")[0] == "1"
        for name, mark in (("mean", "ascending"), ("mean", "descending"), ("beta", "ascending")):
            head = seen.page.get_by_role("columnheader", name=name, exact=True)
            head.get_by_role("button").click()
            assert head.get_attribute("aria-sort") == mark
            shown = [float(text) for text in column(seen.page, name) if text != "–"]
            assert len(shown) >= 15
            assert shown == sorted(shown, reverse=mark == "descending")
        assert column(seen.page, "setting")[-1] == "baseline", "what has no β comes last"
        seen.page.wait_for_timeout(500)
        assert seen.requests == [url]
        assert seen.errors == []


def column(page: Page, name: str) -> list[str]:
    """What the leaderboard says under a head."""
    table = page.locator("table.sortable")
    number = table.locator("th").all_inner_texts().index(name)
    return table.locator(f"tbody td:nth-child({number + 1})").all_inner_texts()


def test_without_a_chromium_a_test_fails_and_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browser, "MAC", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(FileNotFoundError, match="apt-get install chromium, or set CHROMIUM=/"):
        browser.chromium()
    monkeypatch.setenv("CHROMIUM", "/nowhere/chrome")
    with pytest.raises(FileNotFoundError, match=r"CHROMIUM=/nowhere/chrome is no .*apt-get"):
        browser.chromium()
