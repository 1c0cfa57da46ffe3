import math

import pytest

from pipelines.numbers import duration, number, plural


@pytest.mark.parametrize(
    ("value", "spec", "written"),
    [
        (-0.001, ".2f", "0.00"),
        (-0.0, ".2f", "0.00"),
        (-1e-9, "+.2f", "+0.00"),
        (0.5, "+.2f", "+0.50"),
        (-0.004, ".0%", "0%"),
        (2.314159, ".4g", "2.314"),
        (-0.0, ".4g", "0"),
        (None, ".2f", "–"),
        (math.nan, ".4g", "–"),
        (math.inf, ".2f", "∞"),
        (-math.inf, ".2f", "-∞"),
        (3, ".2f", "3.00"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, spec: str, written: str) -> None:
    assert number(value, spec) == written


def test_durations_have_hours_only_where_there_are_some() -> None:
    assert [duration(s) for s in (7, 750, 4210, None)] == ["0:07", "12:30", "1:10:10", "–"]


def test_a_count_has_its_noun() -> None:
    counts = [plural(count, "CPU") for count in (0, 0.5, 1, 1.0, 2)]
    assert counts == ["0 CPUs", "0.5 CPUs", "1 CPU", "1 CPU", "2 CPUs"]
