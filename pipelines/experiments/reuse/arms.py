"""`adassl experiment reuse`: what it costs to use decoded frames again, and to mix them less.

On moving digits, and on labelled videos of one's own.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import Arm, Settings
from pipelines.experiments.digits import write_digits
from pipelines.experiments.grid import Experiment
from pipelines.experiments.reuse.page import FEWER, REUSE, page_of
from pipelines.experiments.reuse.trial import INDEX, run_reuse_trial
from pipelines.recipes import BARE, OBJECTIVES, recipe
from pipelines.storage.folder import Folder
from pipelines.video.indexer import build_index

NUM_VIDEOS, QUICK_VIDEOS = 300, 40
STEPS, QUICK_STEPS = {"digits": 152, "videos": 200}, 16
"""Steps of an arm of each group: multiples of the greatest re-use."""
LEAST_MEMORY = {"digits": 2, "videos": 32}
"""MiB of decoded frames that hold little more than a pair for each lane."""


def experiment(*, quick: bool, videos: Path | None = None) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works.

    Args:
        quick: whether small.
        videos: a folder of labelled videos, for the second half; None: digits alone.
    """
    groups = ["digits"] + ["videos"] * (videos is not None)
    arms = tuple(arm for group in groups for arm in _arms(group, quick))
    return Experiment(
        name="reuse",
        config=base_config(),
        arms=tuple(replace(arm, num_seeds=1) for arm in arms) if quick else arms,
        num_seeds=1 if quick else 3,
        metric="test/score",
        trial=run_reuse_trial,
        prepare=partial(_prepare, num_videos=QUICK_VIDEOS if quick else NUM_VIDEOS, videos=videos),
        report=page_of,
    )


def base_config() -> RunConfig:
    """What all arms have in common: InfoNCE as published, on batches of 64 pairs."""
    return with_overrides(
        recipe("digit-scenes"),
        {
            **BARE,
            **OBJECTIVES["infonce"],
            "train.global_batch_size": 64,
            "train.checkpoint_every": 1000,
            "optim.warmup_steps": 20,
            "tracking.experiment": "reuse",
        },
    )


def _arms(group: str, quick: bool) -> Iterator[Arm]:
    steps = QUICK_STEPS if quick else STEPS[group]
    common: Settings = {INDEX: group, "train.steps": steps}

    def arm(method: str, title: str, **changes: float) -> Arm:
        settings = {**common, **{key.replace("__", "."): v for key, v in changes.items()}}
        return Arm(group=group, method=method, title=title, settings=settings)

    for times in REUSE:
        yield arm(f"reuse-{times}", f"re-use {times}", data__reuse=times)
    for times in FEWER:
        title = f"re-use 1, 1/{times} of the steps"
        yield arm(f"fewer-{times}", title, train__steps=steps // times)
    yield arm("short", "shortest windows", data__shuffle_memory_mib=LEAST_MEMORY[group])
    for moments in (8, 32):
        title = f"{moments} moments a video, {64 // moments} windows at a time"
        yield arm(f"moments-{moments}", title, data__moments_per_video=moments)


def _prepare(
    config: RunConfig, folder: Folder, *, num_videos: int, videos: Path | None
) -> RunConfig:
    """Write the digits and index the videos; the config names the folder of both indices."""
    index = write_digits(folder, "digits", num_videos=num_videos)
    if videos is not None:
        build_index([videos], Path(index).with_name("videos.parquet"))
    return with_overrides(config, {"data.index": str(Path(index).parent / "{group}.parquet")})
