"""Search spaces, as data.

A new space is a new file in this folder with a `SPACE`; `adassl sweep --space FILE` finds it by its
name. A module of many spaces names them in `SPACES`.
"""

import importlib
import itertools
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Value = bool | int | float | str
Params = Mapping[str, Value]
"""Values at dotted keys of the config."""


@dataclass(frozen=True)
class Choice:
    """One of some values, each as likely as the others."""

    values: tuple[Value, ...]
    why: str

    def __post_init__(self) -> None:
        if len(set(self.values)) < max(1, len(self.values)):
            raise ValueError(f"Choice({self.values}): give at least one value, each once")

    @property
    def grid(self) -> tuple[Value, ...]:
        """The values of a grid search."""
        return self.values

    def holds(self, value: Value) -> bool:
        """Whether this range has the value."""
        return value in self.values


@dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform between two limits."""

    low: float
    high: float
    why: str
    num_grid: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high or self.num_grid < 2:
            raise ValueError(f"LogUniform({self.low}, {self.high}): 0 < low < high, num_grid ≥ 2")

    @property
    def grid(self) -> tuple[Value, ...]:
        """Points at equal ratios, both limits among them, for a grid search."""
        ratio = math.log(self.high / self.low) / (self.num_grid - 1)
        points = [self.low * math.exp(i * ratio) for i in range(self.num_grid)]
        return tuple(float(f"{point:.3g}") for point in points)

    def holds(self, value: Value) -> bool:
        """Whether this range has the value."""
        return isinstance(value, int | float) and self.low <= value <= self.high


Range = Choice | LogUniform


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a sweep varies, around which recipe, and by what it judges."""

    title: str
    recipe: str
    """Where the settings begin, as for `adassl train --recipe`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of every trial, beside the recipe's."""
    sampled: Mapping[str, Range]
    metric: str
    """A metric that every trial ends with; ASHA needs one of every validation (`val/…`)."""
    mode: Literal["min", "max"] = "max"
    first: tuple[Params, ...] = ()
    """Settings to try before any other, such as a paper's."""
    baseline: Params | None = None
    """What makes the recipe the method to compare with; it runs on the same seeds."""

    def __post_init__(self) -> None:
        for point in self.first:
            if set(point) != set(self.sampled):
                raise ValueError(f"{self.title}: the point {point} must set {list(self.sampled)}")
            for key, value in point.items():
                if not self.sampled[key].holds(value):
                    raise ValueError(f"{self.title}: {key}={value} is out of its range")

    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the ranges' grids."""
        values = [range_.grid for range_ in self.sampled.values()]
        return [dict(zip(self.sampled, point, strict=True)) for point in itertools.product(*values)]


def names() -> list[str]:
    """The spaces there are."""
    return sorted(_all())


def load(name: str) -> Space:
    """A space by its name.

    Raises:
        KeyError: naming the spaces there are.
    """
    if name not in (spaces := _all()):
        raise KeyError(f"no search space {name!r}; there are {', '.join(sorted(spaces))}")
    return spaces[name]


def _all() -> dict[str, Space]:
    """Each module's `SPACE` under the module's name, and its `SPACES` under their own."""
    found: dict[str, Space] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        found |= getattr(module, "SPACES", None) or {name: module.SPACE}
    return found
