"""What the driver shows of a training, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from pipelines.training.progress import ProgressDisplay, progress_line

METRICS = {
    "train/loss": 2.31,
    "train/kl": -0.0,
    "time/pairs_per_second": 512.4,
    "time/data_wait_share": 0.034,
    "time/step_seconds": 2.0,
}


def test_a_line_of_progress() -> None:
    assert progress_line(200, 2000, METRICS, seconds_left=4210) == (
        "step 200/2000  loss 2.31  kl 0  512 pairs/s  waiting for data 3%  left 1:10:10"
    )
    unknown = progress_line(1, 9, {"train/loss": float("nan")}, seconds_left=None)
    assert unknown == "step 1/9  loss –  – pairs/s  waiting for data –  left –"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_terminal_has_a_bar_and_a_file_has_lines(is_terminal: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=80)
    with ProgressDisplay(9, console) as display:
        display.show(3, METRICS)
        display.show(6, METRICS)
    printed = file.getvalue()
    assert ("\x1b[" in printed) == is_terminal
    assert "left 0:06" in printed
    if is_terminal:
        assert "6/9" in printed
        assert "512 pairs/s" in printed
    else:
        assert [line.split("  ")[0] for line in printed.splitlines()] == ["step 3/9", "step 6/9"]
