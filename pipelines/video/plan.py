"""What a run will train on: the config checked against the videos, before Ray starts."""

from dataclasses import dataclass

from pipelines.config.run import ConfigError, RunConfig
from pipelines.video.index import VideoIndex
from pipelines.video.moved import find_indexed
from pipelines.video.schedule import Schedule

_VAL_SEED = 1_000_003
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The schedules of a run: pairs to train on, and pairs for validation."""

    train: Schedule
    val: Schedule | None
    digest: str

    def lines(self) -> list[str]:
        """What the plan uses and what it leaves out, in words."""
        index, config = self.train.index, self.train.config
        val = f", {len(self.val.index)} for validation" if self.val else ", none for validation"
        lines = [
            f"{len(index)} videos to train on{val}; a batch holds at most "
            f"{self.train.pairs_per_video} pairs of one video"
        ]
        left = self.train.left_out
        if left:
            shown = "; ".join(f"{v.path}: {v.reason}" for v in left[:_SHOWN])
            lines.append(f"{len(left)} videos too short for data.gap={config.gap}: {shown}")
        return lines


def plan(config: RunConfig) -> Plan:
    """Check the config against the videos of its index.

    Raises:
        ConfigError: if the index or its videos are missing, or cannot carry the batches.
    """
    index = find_indexed(config.data)
    videos = index.select(split="train")
    if not len(videos):
        raise ConfigError(
            f"{config.data.index} has no usable video to train on: " + index.describe()
        )
    batch = config.train.global_batch_size
    return Plan(
        train=Schedule(videos, config.data, seed=config.train.seed, global_batch_size=batch),
        val=_validation(index.select(split="val"), config),
        digest=index.digest(),
    )


def _validation(videos: VideoIndex, config: RunConfig) -> Schedule | None:
    """Pairs of validation videos, as many of each video as of any other; None if there are none."""
    batch, num_pairs = config.train.global_batch_size, config.train.val_pairs
    if not num_pairs:
        return None
    try:
        return Schedule(
            videos,
            config.data,
            seed=_VAL_SEED,
            global_batch_size=batch,
            pairs_per_visit=-(-num_pairs // batch),
        )
    except ConfigError:
        return None
