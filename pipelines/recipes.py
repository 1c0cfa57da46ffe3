"""Complete configs with a name: what `adassl train --recipe` starts from, and `--set` changes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from adassl.config import MethodConfig, ObjectiveName
from pipelines.config.backbone import BackboneConfig
from pipelines.config.data import AugmentConfig, DataConfig
from pipelines.config.run import ConfigError, OptimConfig, RunConfig, TrainConfig, with_overrides
from pipelines.sources.digit_motion import SEGMENT_FRAMES

SCENES = 16
"""Of the videos that the recipe `digit-scenes` is for."""


AUGMENT = AugmentConfig(
    area=(0.6, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, greyscale=0.1
)
"""Of real videos: what noise, light and camera give away no longer tells two moments apart."""
WHOLE_FRAMES = AugmentConfig(
    area=(0.85, 1.0), brightness=0.7, contrast=0.7, saturation=0.4, hue=0.1, greyscale=0.3
)
"""Of videos that show one thing throughout, known by its parts' places; not by its light."""


def settings_of(augment: AugmentConfig) -> dict[str, Any]:
    """An augmentation as changes of a config."""
    return {f"data.augment.{name}": value for name, value in augment.model_dump().items()}


def videos() -> RunConfig:
    """Any folder of videos: clips of 3 frames, x+ 0.2 to 1 s after x, AdaSSL-V over InfoNCE.

    Whole frames, and several moments of each video in a batch: where all negatives are of other
    videos, telling videos apart is the whole task, and what changes within one is not learnt. Each
    clip is augmented in its own way, and r reads both clips augmented once more: from the very
    pixels of x+ it would learn their noise. docs/real-video.md says what this is worth.
    """
    return RunConfig(
        data=DataConfig(
            gap=(0.2, 1.0),
            gap_unit="seconds",
            crop="none",
            moments_per_video=8,
            views="both",
            augment=AUGMENT,
            surrogate=True,
            context_surrogate=True,
        ),
        backbone=BackboneConfig(hidden_dims=(16, 32, 64, 128, 1024)),
        method=MethodConfig(surrogate_form="both", beta=0.01, beta_warmup_steps=200),
    )


def video_classes() -> RunConfig:
    """Videos that each show one thing, such as a traffic sign: InfoNCE, without r.

    What tells videos apart is what is asked for, so negatives are of other videos. On such videos r
    costs accuracy, as docs/real-video.md shows.
    """
    return with_overrides(
        videos(),
        {
            "data.moments_per_video": 1,
            **settings_of(WHOLE_FRAMES),
            "data.surrogate": False,
            "data.context_surrogate": False,
            "method.latent": "none",
            "method.editor": "identity",
            "method.surrogate_form": "target_only",
        },
    )


def video_frames() -> RunConfig:
    """Any folder of videos: pairs of single frames through a ResNet-18 at 96 pixels; for a GPU."""
    return RunConfig(
        data=DataConfig(
            frames_per_clip=1,
            gap=(0.2, 2.0),
            gap_unit="seconds",
            frame_size=96,
            crop="none",
            moments_per_video=8,
        ),
        backbone=BackboneConfig(name="resnet18"),
        optim=OptimConfig(learning_rate=2e-4, warmup_steps=1000),
        train=TrainConfig(steps=50_000, global_batch_size=256, checkpoint_every=2000),
    )


def images() -> RunConfig:
    """A table of pairs of images, `adassl data pairs`: AdaSSL-V over InfoNCE, at 64 pixels."""
    return RunConfig(
        data=DataConfig(frames_per_clip=1),
        method=MethodConfig(beta=0.01, beta_warmup_steps=200),
    )


def texts() -> RunConfig:
    """A table of pairs of texts: a transformer of four blocks from nothing."""
    return with_overrides(
        images(),
        {
            "backbone.name": "text_transformer",
            "data.max_tokens": 64,
            "optim.learning_rate": 5e-4,
        },
    )


def sounds() -> RunConfig:
    """A table of pairs of sounds, each its log-mel spectrogram of a second."""
    return with_overrides(images(), {"data.grayscale": True})


def image_text() -> RunConfig:
    """A table of images and their captions: an encoder for each."""
    return with_overrides(
        images(), {"method.encoders": "separate", "second_backbone.name": "text_transformer"}
    )


def moving_digits() -> RunConfig:
    """Stochastic moving digits: x, x+ and the surrogate x++ are successive clips of 3 frames."""
    return RunConfig(
        data=DataConfig(grayscale=True, surrogate=True, start_multiple=6),
        backbone=BackboneConfig(name="conv3d_pooled"),
        method=MethodConfig(
            editor="residual",
            latent_dim=32,
            beta=0.01,
            beta_warmup_steps=50,
            free_nats=25.0,
            temperature=0.05,
        ),
        optim=OptimConfig(warmup_steps=50),
        train=TrainConfig(steps=200, global_batch_size=256, checkpoint_every=50),
    )


def digit_scenes() -> RunConfig:
    """Moving digits in videos of sixteen scenes, `adassl data moving-digits --scenes 16`.

    A window holds a whole video, opened once for a pair of each scene.
    """
    return with_overrides(moving_digits(), {"data.start_multiple": SEGMENT_FRAMES})


BARE = {
    "method.latent": "none",
    "method.editor": "identity",
    "data.surrogate": False,
    "train.steps": 150,
    "train.global_batch_size": 128,
    "optim.learning_rate": 2e-3,
}
"""An objective as published, without editor or r; trains in half a minute on one core."""
OBJECTIVES: dict[ObjectiveName, Mapping[str, Any]] = {
    "infonce": {"method.temperature": 0.1},
    "aninfonce": {"method.temperature": 0.1},
    "hinfonce": {"method.temperature": 0.1},
    "triplet": {"method.triplet_margin": 0.5},
    "byol": {"method.ema_momentum": 0.9},
    "simsiam": {"optim.learning_rate": 5e-3},
    "swav": {"method.num_prototypes": 300, "method.temperature": 0.1},
    "dino": {
        "method.num_prototypes": 1000,
        "method.temperature": 0.1,
        "method.ema_momentum": 0.97,
        "method.teacher_temperature": 0.04,
        "method.teacher_temperature_warmup_steps": 0,
    },
    "barlow_twins": {"method.off_diagonal_weight": 0.02},
    "vicreg": {"method.covariance_weight": 10.0},
    "simple": {"method.centre_weight": 10.0},
    "lejepa": {"method.sigreg_weight": 0.05},
    "visreg": {"method.shape_weight": 1.0},
    "frossl": {"method.frobenius_weight": 0.2},
    "mmcr": {"optim.learning_rate": 5e-3},
}
"""Settings that each objective trains well with on moving digits; the protocol by which they were
found is in `pipelines/experiments/stability/page.py`."""


def digits_by(objective: ObjectiveName) -> RunConfig:
    """Moving digits by an objective as published: `digits-byol` and so on."""
    changes = {**BARE, **OBJECTIVES[objective], "method.objective": objective}
    return with_overrides(moving_digits(), changes)


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "videos": videos,
    "video-classes": video_classes,
    "video-frames": video_frames,
    "images": images,
    "sounds": sounds,
    "texts": texts,
    "image-text": image_text,
    "moving-digits": moving_digits,
    "digit-scenes": digit_scenes,
    **{f"digits-{name.replace('_', '-')}": partial(digits_by, name) for name in OBJECTIVES},
}


def recipe(name: str) -> RunConfig:
    """The config of a recipe.

    Raises:
        ConfigError: naming the recipes there are.
    """
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]()
