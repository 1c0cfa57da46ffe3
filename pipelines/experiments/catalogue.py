"""The experiments by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipelines.config.run import ConfigError
from pipelines.experiments.chains import arms as chains
from pipelines.experiments.criteria import arms as criteria
from pipelines.experiments.grid import Experiment
from pipelines.experiments.moving_digits import arms as moving_digits
from pipelines.experiments.numerical import arms as numerical
from pipelines.experiments.pairs import images, sounds, texts
from pipelines.experiments.real_video import arms as real_video
from pipelines.experiments.reuse import arms as reuse
from pipelines.experiments.several_digits import arms as several_digits
from pipelines.experiments.stability import arms as stability

MAKERS: Mapping[str, Callable[..., Experiment]] = {
    "numerical": numerical.experiment,
    "moving-digits": moving_digits.experiment,
    "stability": stability.experiment,
    "reuse": reuse.experiment,
    "real-video": real_video.experiment,
    "criteria": criteria.experiment,
    "chains": chains.experiment,
    "several-digits": several_digits.experiment,
    "images": images.experiment,
    "text": texts.experiment,
    "sound": sounds.experiment,
}
TAKES: Mapping[str, Sequence[str]] = {
    "reuse": ("videos",),
    "real-video": ("robot", "signs"),
    "criteria": ("robot",),
    "images": ("solids", "turntable"),
    "text": ("captions", "sts", "sick"),
    "sound": ("digits",),
}
"""The folders that an experiment takes, by the names of their options."""


def load(name: str, *, quick: bool, **folders: Path | None) -> Experiment:
    """An experiment, whole or quick, with the data that it takes.

    Args:
        name: which.
        quick: whether small.
        folders: of its data, by the names in `TAKES`.

    Raises:
        ConfigError: if it does not take one of them, or lacks those that it needs.
    """
    takes = TAKES.get(name, ())
    given = {option: folder for option, folder in folders.items() if folder is not None}
    for option, folder in given.items():
        if option not in takes:
            its = (
                f"takes {' and '.join(f'--{t}' for t in takes)}" if takes else "makes its own data"
            )
            raise ConfigError(f"--{option} {folder}: {name} {its}; leave it out")
    return MAKERS[name](quick=quick, **given)
