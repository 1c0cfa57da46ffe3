"""The experiments by name."""

from pipelines.experiments import moving_digits, numerical, stability
from pipelines.experiments.grid import Experiment


def load(name: str, *, quick: bool) -> Experiment:
    """An experiment, whole or quick."""
    makers = {
        "numerical": numerical.experiment,
        "moving-digits": moving_digits.experiment,
        "stability": stability.experiment,
    }
    return makers[name](quick=quick)
