"""The experiments by name."""

from pathlib import Path

from pipelines.config.run import ConfigError
from pipelines.experiments.grid import Experiment
from pipelines.experiments.moving_digits import arms as moving_digits
from pipelines.experiments.numerical import arms as numerical
from pipelines.experiments.reuse import arms as reuse
from pipelines.experiments.stability import arms as stability


def load(name: str, *, quick: bool, videos: Path | None = None) -> Experiment:
    """An experiment, whole or quick, with labelled videos where it takes some.

    Raises:
        ConfigError: if it takes none.
    """
    if name == "reuse":
        return reuse.experiment(quick=quick, videos=videos)
    if videos is not None:
        raise ConfigError(f"--videos {videos}: {name} makes its own data; leave it out")
    makers = {
        "numerical": numerical.experiment,
        "moving-digits": moving_digits.experiment,
        "stability": stability.experiment,
    }
    return makers[name](quick=quick)
