"""Labels of pairs: from tables, folders and lists, and changes over each pair's own gap."""

import os
from typing import Any

import pandas as pd

from pipelines.evaluation.embed import Moments
from pipelines.pairs.plan import Index
from pipelines.pairs.table import SCORE, PairTable
from pipelines.video.index import VideoIndex
from pipelines.video.labels import VideoNames, read_table

CLASS = "class"
"""The column of classes that folders and split lists give."""
CHANGE = "_change"
"""Ends the names of derived columns: the value at the first frame of x+ less that of x."""
_KEYS = ["path", "frame"]


def factors_of(pairs: Moments, videos: Index) -> pd.DataFrame:
    """Labels and factors of each pair: those of videos, or the columns of a table of pairs."""
    if isinstance(videos, PairTable):
        return _of_table(pairs, videos)
    return _of_videos(pairs, videos)


def _of_table(pairs: Moments, table: PairTable) -> pd.DataFrame:
    """The columns at x, and the changes of fractions where x+ is another row.

    What a pairing rule says of a value's period holds for its change.
    """
    known = table.factors.drop(columns=SCORE, errors="ignore").set_index(table.number)
    at_x = known.loc[pairs.start].reset_index(drop=True)
    if table.rule is None:
        return at_x
    at_target = known.loc[pairs.start + pairs.gap].reset_index(drop=True)
    found = at_x.copy()
    for name in [str(n) for n in at_x if is_value(at_x[n])]:
        change = at_target[name] - at_x[name]
        if table.rule.period and name in table.rule.columns:
            half = table.rule.period / 2
            change = (change + half) % table.rule.period - half
        found[name + CHANGE] = change.where(pairs.gap != 0)
    return found


def of_targets(pairs: Moments, table: PairTable) -> pd.DataFrame:
    """The columns at x+ of the pairs of a table of items; none where its rows are the pairs.

    Missing for a pair that stands in for another, of which x+ is not known.
    """
    if table.rule is None:
        return pd.DataFrame(index=range(len(pairs)))
    known = table.factors.set_index(table.number)
    found = known.loc[pairs.start + pairs.gap].reset_index(drop=True)
    stands_in = pairs.gap == 0
    for name in found.columns if stands_in.any() else ():
        if found[name].dtype.kind in "iub":  # a missing class must not become a fraction
            found[name] = found[name].astype("Int64")
        found[name] = found[name].mask(stands_in)
    return found


def _of_videos(pairs: Moments, videos: VideoIndex) -> pd.DataFrame:
    """Labels and factors of each pair, by its video and, where a table has frames, its first frame.

    Copies go by the names of their originals.
    A table without a `frame` column holds for all frames of a video; of tables with the same column
    the nearest to the video counts. For each fraction of a table with frames there is also its
    change over the pair's own gap, where the table has both frames. Without any label there are no
    columns.
    """
    names = dict(zip(videos.path, videos.named, strict=True))
    of_pairs = [names[path] for path in pairs.path]
    moments = [
        pd.DataFrame({"path": of_pairs, "frame": frame})
        for frame in (pairs.start, pairs.start + pairs.gap)
    ]
    found: dict[str, pd.Series[Any]] = {}
    classes = dict(zip(videos.path, videos.column("label"), strict=True))
    if any(classes.values()):
        found[CLASS] = pd.Series([classes[path] for path in pairs.path], dtype=object)
    named: dict[str, list[str]] = {}
    for name, tables in zip(videos.named, videos.factors, strict=True):
        for table in tables:
            named.setdefault(table, []).append(str(name))
    for table, paths in named.items():
        known = _read(table, paths)
        columns, later = (_at(known, moment) for moment in moments)
        changes: dict[str, pd.Series[Any]] = {}
        if "frame" in known:
            for name in [str(n) for n in columns if is_value(columns[n])]:
                changes[name + CHANGE] = (later[name] - columns[name]).where(pairs.gap > 0)
        own = {str(name): columns[name] for name in columns}
        for name, column in (own | changes).items():
            found[name] = column.combine_first(found[name]) if name in found else column
    return pd.DataFrame(found, index=range(len(pairs.path)))


def _read(table: str, paths: list[str]) -> pd.DataFrame:
    """A table's rows of some videos, which go by their paths."""
    known = read_table(table).drop(columns="split", errors="ignore")
    videos, folder = VideoNames(paths), os.path.dirname(table)
    names = {name: videos.meant_by(name, folder, below=False) for name in known["path"].unique()}
    known["path"] = known["path"].map(names)
    known = known.explode("path").dropna(subset="path")
    return known.drop_duplicates([key for key in _KEYS if key in known])


def _at(known: pd.DataFrame, moment: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table at the videos and frames of `moment`."""
    keys = [key for key in _KEYS if key in known]
    found = moment.merge(known, on=keys, how="left", validate="m:1").drop(columns=_KEYS)
    for name in found.columns:  # a missing label must not turn whole numbers into fractions
        if known[name].dtype.kind in "iub" and found[name].isna().any():
            found[name] = found[name].astype("boolean" if known[name].dtype == bool else "Int64")
    return found


def is_value(column: "pd.Series[Any]") -> bool:
    """Whether a column is of values: fractions; whole numbers and words are classes."""
    return bool(pd.api.types.is_float_dtype(column))
