"""The experiments by name."""

from pathlib import Path

from pipelines.config.run import ConfigError
from pipelines.experiments.chains import arms as chains
from pipelines.experiments.grid import Experiment
from pipelines.experiments.moving_digits import arms as moving_digits
from pipelines.experiments.numerical import arms as numerical
from pipelines.experiments.real_video import arms as real_video
from pipelines.experiments.reuse import arms as reuse
from pipelines.experiments.stability import arms as stability


def load(
    name: str,
    *,
    quick: bool,
    videos: Path | None = None,
    robot: Path | None = None,
    signs: Path | None = None,
) -> Experiment:
    """An experiment, whole or quick, with labelled videos where it takes some.

    Raises:
        ConfigError: if it takes none, or lacks those that it needs.
    """
    given = {"--videos": videos, "--robot": robot, "--signs": signs}
    takes = {"reuse": ("--videos",), "real-video": ("--robot", "--signs")}.get(name, ())
    for option, folder in given.items():
        if folder is not None and option not in takes:
            its = f"takes {' and '.join(takes)}" if takes else "makes its own data"
            raise ConfigError(f"{option} {folder}: {name} {its}; leave it out")
    if name == "reuse":
        return reuse.experiment(quick=quick, videos=videos)
    if name == "real-video":
        return real_video.experiment(quick=quick, robot=robot, signs=signs)
    makers = {
        "numerical": numerical.experiment,
        "moving-digits": moving_digits.experiment,
        "stability": stability.experiment,
        "chains": chains.experiment,
    }
    return makers[name](quick=quick)
