"""What a run trains on, whether an index of videos or a table of pairs: which it is, the file says.

Everything above this asks here, and treats both alike.
"""

from dataclasses import dataclass

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, RunConfig
from pipelines.numbers import plural
from pipelines.pairs.rows import PairRows
from pipelines.pairs.stream import TableStream, rows_here
from pipelines.pairs.table import PairTable, about_of, find_table
from pipelines.pairs.text import num_ids
from pipelines.video.batch import PairBatch
from pipelines.video.index import VideoIndex
from pipelines.video.moved import find_indexed
from pipelines.video.schedule import Schedule
from pipelines.video.stream import PairStream, Share, pairs_here

_VAL_SEED = 1_000_003
_SHOWN = 5

Index = VideoIndex | PairTable
Rows = Schedule | PairRows


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows of a run: pairs to train on, and pairs for validation."""

    train: Rows
    val: Rows | None
    digest: str

    def lines(self) -> list[str]:
        """What the plan uses and what it leaves out, in words."""
        index, config = self.train.index, self.train.config
        what, of_one = "videos", "video"
        why = f"videos too short for data.gap={config.gap}"
        if isinstance(index, PairTable):
            what = "pairs" if index.rule is None else f"items (x⁺: {index.rule.describe()})"
            of_one, why = "group", "rows without a partner"
        val = f", {len(self.val.index)} for validation" if self.val else ", none for validation"
        most = plural(self.train.pairs_per_video, "pair")
        lines = [
            f"{len(index)} {what} to train on{val}; a batch holds at most {most} of one {of_one}"
        ]
        left = self.train.left_out
        if left:
            shown = "; ".join(f"{v.path}: {v.reason}" for v in left[:_SHOWN])
            lines.append(f"{len(left)} {why}: {shown}")
        return lines


def plan(config: RunConfig) -> Plan:
    """Check the config against the videos or the pairs of its index.

    Raises:
        ConfigError: if the index or its files are missing, or cannot carry the batches.
    """
    index = find(config.data)
    if isinstance(index, PairTable):
        check_kinds(config, index)
    rows = index.select(split="train")
    if not len(rows):
        what = "pair" if isinstance(index, PairTable) else "video"
        raise ConfigError(
            f"{config.data.index} has no usable {what} to train on: " + index.describe()
        )
    batch = config.train.global_batch_size
    train = rows_of(rows, config.data, seed=config.train.seed, global_batch_size=batch)
    if isinstance(train, PairRows) and train.num_starts < batch:
        raise ConfigError(
            f"train.global_batch_size={batch}: the table has {train.num_starts} pairs to train on, "
            "and a batch must not hold one twice; use a smaller batch"
        )
    return Plan(
        train=train, val=_validation(index.select(split="val"), config), digest=index.digest()
    )


def _validation(rows: Index, config: RunConfig) -> Rows | None:
    """Pairs for validation, as many of each video as of any other; None if there are none."""
    batch, num_pairs = config.train.global_batch_size, config.train.val_pairs
    if not num_pairs:
        return None
    try:
        return rows_of(
            rows,
            config.data,
            seed=_VAL_SEED,
            global_batch_size=batch,
            pairs_per_visit=-(-num_pairs // batch),
        )
    except ConfigError:
        return None


def find(data: DataConfig) -> Index:
    """Read the index and find its videos, or the table and find its files.

    Raises:
        ConfigError: if too many of them are missing.
        UserError: if it cannot be read.
    """
    return find_indexed(data) if about_of(data.index) is None else find_table(data)


def rows_of(
    index: Index,
    data: DataConfig,
    *,
    seed: int,
    global_batch_size: int,
    pairs_per_visit: int | None = None,
) -> Rows:
    """The schedule of videos, or the rows of a table, in which visits mean nothing."""
    if isinstance(index, PairTable):
        return PairRows(index, data, seed=seed, global_batch_size=global_batch_size)
    return Schedule(
        index,
        data,
        seed=seed,
        global_batch_size=global_batch_size,
        pairs_per_visit=pairs_per_visit,
    )


def stream_of(rows: Rows, batches: range, share: Share) -> PairStream | TableStream:
    """One worker's batches, decoded by actors of the Ray cluster."""
    if isinstance(rows, PairRows):
        return TableStream(rows, batches, share)
    return PairStream(rows, batches, share)


def decoded_here(rows: Rows, batches: range, share: Share) -> list[PairBatch]:
    """All of a few small batches, decoded in this process."""
    if isinstance(rows, PairRows):
        return rows_here(rows, batches, share)
    return pairs_here(rows, batches, share)


def check_kinds(config: RunConfig, table: PairTable) -> None:
    """See that the encoders read what the table has.

    Raises:
        ConfigError: if they read something else, or know too few tokens.
    """
    separate = config.method.encoders == "separate"
    second = config.second_backbone if separate else config.backbone
    backbones = {"context": ("backbone", config.backbone)}
    for view in table.views[1:]:
        backbones[view] = ("second_backbone" if separate else "backbone", second)
    for view, (group, backbone) in backbones.items():
        is_text = table.kind(view) == "text"
        if is_text != backbone.reads_text:
            wanted = "text_transformer" if is_text else "conv3d, or another one of images"
            raise ConfigError(
                f"{group}.name={backbone.name}, and {view} is {table.kind(view)}: set "
                f"{group}.name={wanted}; where context and target differ, method.encoders=separate "
                "with a backbone and a second_backbone"
            )
        if is_text and table.tokenizer and num_ids(table.tokenizer) > backbone.vocabulary:
            raise ConfigError(
                f"{group}.vocabulary={backbone.vocabulary}: the tokenizer of the table has "
                f"{num_ids(table.tokenizer)} ids; set {group}.vocabulary to at least that"
            )
