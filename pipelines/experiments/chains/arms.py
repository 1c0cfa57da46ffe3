"""`adassl experiment chains`: futures of two and three steps, by chains and by pairs used again."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import NO_R, Arm, Settings
from pipelines.experiments.chains.page import page_of
from pipelines.experiments.chains.trial import NUM_FRAMES, run_chain_trial
from pipelines.experiments.digits import write_digits
from pipelines.experiments.grid import Experiment
from pipelines.experiments.tuning import Tuning
from pipelines.recipes import recipe
from pipelines.sources.digit_motion import CHANGE_EVERY
from pipelines.storage.folder import Folder

NUM_VIDEOS, QUICK_VIDEOS = 500, 60
CANVAS = 96
"""Pixels, of which few digits have left after 21 frames; trained on at half of it."""
CLIPS, QUICK_CLIPS = 600, 60
"""Encoded by a method for each place in a batch: its steps times its moments."""
GROUP = "A"

PAIRS: Settings = {"data.start_multiple": NUM_FRAMES // 2}
"""From the first moment of a scene, and from frame 11 after its second change."""
METHODS: dict[str, tuple[str, int, Settings]] = {
    "pairs-no-r": ("pairs, editor without r", 2, {**PAIRS, **NO_R}),
    "pairs-v": ("pairs, AdaSSL-V", 2, PAIRS),
    "chains-3-no-r": ("chains of 3, editor without r", 3, NO_R),
    "chains-3-v": ("chains of 3, AdaSSL-V", 3, {}),
    "chains-4-v": ("chains of 4, AdaSSL-V", 4, {}),
}
"""Title, moments of a row, and what else is changed."""
QUICK = ("pairs-v", "chains-3-no-r", "chains-3-v")
_V: Sequence[Settings] = [
    {"method.beta": 0.01, "method.free_nats": 25.0},
    {"method.beta": 0.01, "method.free_nats": 0.0},
    {"method.beta": 0.1, "method.free_nats": 0.0},
]
_WITHOUT: Sequence[Settings] = [{"method.temperature": each} for each in (0.05, 0.1, 0.2)]
TUNING = Tuning(
    alternatives={name: _WITHOUT if "no-r" in name else _V for name in METHODS},
    shorter=2,
    metric="val/score",
)


def experiment(*, quick: bool) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works."""
    config, clips = base_config(), QUICK_CLIPS if quick else CLIPS
    if quick:
        config = with_overrides(config, {"train.global_batch_size": 64})
    arms = tuple(
        Arm(
            group=GROUP,
            method=method,
            title=title,
            settings={
                "data.moments_per_chain": moments,
                **settings,
                "train.steps": clips // moments,
            },
        )
        for method, (title, moments, settings) in METHODS.items()
        if not quick or method in QUICK
    )
    few = {arm.method: TUNING.alternatives[arm.method][: 1 if quick else None] for arm in arms}
    return Experiment(
        name="chains",
        config=config,
        arms=arms,
        num_seeds=1 if quick else 3,
        metric="test/score",
        trial=run_chain_trial,
        prepare=partial(_prepare, num_videos=QUICK_VIDEOS if quick else NUM_VIDEOS),
        report=page_of,
        tuning=replace(TUNING, alternatives=few),
    )


def base_config() -> RunConfig:
    """What all arms have in common: forward only, and a change of velocity in every gap."""
    return with_overrides(
        recipe("digit-scenes"),
        {
            "data.frame_size": CANVAS // 2,
            "data.gap": (CHANGE_EVERY, CHANGE_EVERY),
            "data.start_multiple": NUM_FRAMES,
            "data.surrogate": False,
            "data.reuse": 4,
            "method.reverse": False,
            "train.checkpoint_every": 1000,
            "tracking.experiment": "chains",
        },
    )


def _prepare(config: RunConfig, folder: Folder, *, num_videos: int) -> RunConfig:
    index = write_digits(
        folder, "digits", num_videos=num_videos, num_frames=NUM_FRAMES, canvas=CANVAS
    )
    return with_overrides(config, {"data.index": index})
