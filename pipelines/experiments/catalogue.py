"""The experiments by name."""

from pipelines.experiments.grid import Experiment
from pipelines.experiments.moving_digits import arms as moving_digits
from pipelines.experiments.numerical import arms as numerical
from pipelines.experiments.stability import arms as stability


def load(name: str, *, quick: bool) -> Experiment:
    """An experiment, whole or quick."""
    makers = {
        "numerical": numerical.experiment,
        "moving-digits": moving_digits.experiment,
        "stability": stability.experiment,
    }
    return makers[name](quick=quick)
