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
    schedules: dict[str, Schedule] = {}
    for split, seed in (("train", config.train.seed), ("val", _VAL_SEED)):
        videos = index.select(split=split)
        if not len(videos) and split == "train":
            raise ConfigError(
                f"{config.data.index} has no usable video to train on: " + index.describe()
            )
        try:
            schedules[split] = schedule(videos, config, seed=seed, capped=split == "train")
        except ConfigError:
            if split == "train":
                raise
    use_val = config.train.val_pairs > 0
    return Plan(
        train=schedules["train"],
        val=schedules.get("val") if use_val else None,
        digest=index.digest(),
    )


def schedule(videos: VideoIndex, config: RunConfig, *, seed: int, capped: bool = True) -> Schedule:
    """The rows of some videos under a run's config."""
    data = config.data if capped else config.data.model_copy(update={"max_pairs_per_video": None})
    return Schedule(videos, data, seed=seed, global_batch_size=config.train.global_batch_size)
