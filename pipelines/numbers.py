"""How numbers are written for people: never `-0.00`, `nan` or `<NA>`."""

import math

MISSING = "–"
"""Stands for a value that there is none of."""


def number(value: float | None, spec: str = ".2f") -> str:
    """A number in a format such as ".2f", ".4g", "+.2f" or ".0%"; `MISSING` for None and NaN.

    Infinity is ∞. What rounds to zero has no minus sign.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    sign = spec[:1] if spec[:1] in "+- " else ""
    return format(value, f"{sign}z{spec.removeprefix(sign)}")


def duration(seconds: float | None) -> str:
    """A time such as 0:07, 12:30 or 1:10:10; `MISSING` for None."""
    if seconds is None:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plural(count: float, noun: str) -> str:
    """A count with its noun, such as `1 worker`, `0.5 CPUs` or `2 entries`."""
    many = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{count:g} {noun if count == 1 else many}"
