"""The Free Spoken Digit Dataset: single digits by several speakers, several takes of each.

FOLDER/recordings/7_jackson_32.wav     digit, speaker, take; also FOLDER/7_jackson_32.wav
"""

import re
from pathlib import Path

import pandas as pd

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import Listing, SourceError, files_below

TEST_TAKES, VAL_TAKES = range(5), range(5, 8)
"""The test split is that of its authors; all other takes are for training."""
_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)$")


def read_spoken_digits(folder: str | Path) -> Listing:
    """Recordings; x+ is the digit of x by any speaker, in another take or by another speaker.

    Raises:
        SourceError: if no file is named as the recordings of the set.
    """
    root = Path(folder).absolute()
    root = root / "recordings" if (root / "recordings").is_dir() else root
    rows, skipped = [], {}
    for parts in files_below(root, frozenset({".wav"})):
        file = root.joinpath(*parts)
        if match := _NAME.match(file.stem):
            rows.append({"item": str(file), **_described(match)})
        else:
            skipped[str(file)] = "not named as 7_jackson_32.wav"
    if not rows:
        raise SourceError(f"{root}: no recording named as 7_jackson_32.wav: digit, speaker, take")
    rule = PairingRule(kind="same", columns=("digit",))
    return Listing(rows=pd.DataFrame(rows), kinds={"item": "sound"}, rule=rule, skipped=skipped)


def _described(match: re.Match[str]) -> dict[str, str]:
    take = int(match["take"])
    split = "test" if take in TEST_TAKES else "val" if take in VAL_TAKES else "train"
    return {"digit": match["digit"], "speaker": match["speaker"], "split": split}
