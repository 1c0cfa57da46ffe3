"""A picture of some pairs of a table, as a training at 64 pixels would see them."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import figures
from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.pairs.rows import PairRows
from pipelines.pairs.stream import rows_here
from pipelines.pairs.table import PairTable
from pipelines.storage.folder import parent_and_name
from pipelines.video.pairs import TooManyFailuresError
from pipelines.video.stream import Share

NUM_PAIRS = 8


def draw_preview(table: PairTable, out: str) -> str | None:
    """Draw some training pairs, or others where there are none, beside the table.

    Returns:
        Where; None for a table with texts, or of which no pair can be made.
    """
    if "text" in table.about.kinds.values():
        return None
    usable = table.select()
    split = next((s for s in ("train", "val", "test") if len(table.select(split=s))), None)
    rows = usable if split is None else table.select(split=split)
    config = DataConfig(frames_per_clip=1, max_failed_share=1.0)
    try:
        pairs = PairRows(rows, config, seed=0, global_batch_size=min(NUM_PAIRS, len(rows)))
        batch = rows_here(pairs, range(1), Share())[0]
    except (ConfigError, TooManyFailuresError):
        return None
    folder, name = parent_and_name(out)
    target = f"{name.removesuffix('.parquet')}.preview.png"
    with TemporaryDirectory(prefix="adassl-") as staging:
        captions = [str(pairs.index.path[group]) for group in batch.video]
        drawn = figures.pairs_sheet(
            batch.context, batch.target, None, captions, Path(staging) / target
        )
        folder.put(drawn, target)
    return f"{str(folder).partition('?')[0]}/{target}"
