"""47 real files that break video tools; the table says what the index makes of each.

The files are not part of the repository: name their folder by ADASSL_ODD_VIDEOS. Without it the
table itself is checked, and `test_index` covers the same kinds with files written here.
"""

import csv
import os
from pathlib import Path
from typing import get_args

from pipelines.video.frames import Decoder
from pipelines.video.killable import Done, Lost, run_killable
from pipelines.video.probe import Probe, Unusable, probe_video

TABLE = Path(__file__).with_name("odd_files.csv")
FOLDER = os.environ.get("ADASSL_ODD_VIDEOS", "")


def expected() -> dict[str, dict[str, str]]:
    with TABLE.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_every_file_is_usable_or_has_a_reason() -> None:
    table = expected()
    assert len(table) == 47
    for row in table.values():
        assert bool(row["reason"]) != bool(row["num_frames"])
        assert row["reason"] or row["decoder"] in get_args(Decoder)


if FOLDER:

    def test_the_files_are_what_the_table_says() -> None:
        table = expected()
        paths = [str(Path(FOLDER) / name) for name in table]
        found: dict[str, object] = {}
        for event in run_killable(probe_video, paths, num_workers=2, timeout_seconds=120):
            if isinstance(event, Done | Lost):
                found[Path(event.item).name] = event
        for name, row in table.items():
            end = found[name]
            assert isinstance(end, Done), end
            probe = end.result
            if row["reason"]:
                assert isinstance(probe, Unusable), name
                assert probe.reason == row["reason"]
            else:
                assert isinstance(probe, Probe), (name, probe)
                for column in ("num_frames", "decoder", "width", "height", "rotation"):
                    assert str(getattr(probe, column)) == row[column], (name, column)
