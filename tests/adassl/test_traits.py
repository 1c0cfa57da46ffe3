from collections.abc import Callable
from typing import get_args

import pytest

from adassl.config import ObjectiveName
from adassl.method import Method
from adassl.traits import TRAITS

MakeMethod = Callable[..., Method]


def test_every_objective_has_its_traits() -> None:
    assert tuple(TRAITS) == get_args(ObjectiveName)


@pytest.mark.parametrize("objective", TRAITS)
def test_a_method_is_built_as_its_traits_say(objective: str, make_method: MakeMethod) -> None:
    method, traits = make_method(objective=objective), TRAITS[objective]
    assert (method.target_encoder is not None) == (traits.target == "network")
    assert bool(list(method.predictor.parameters())) == traits.predictor
    assert method.objective.traits == traits


@pytest.mark.parametrize(
    "objective", [n for n in TRAITS if n not in ("swav", "dino", "aninfonce", "hinfonce")]
)
def test_only_prototypes_and_weights_add_to_the_state(
    objective: str, make_method: MakeMethod
) -> None:
    assert not make_method(objective=objective).objective.state_dict()
