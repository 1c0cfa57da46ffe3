import dataclasses

import jaxtyping
import pytest
import torch

from adassl.views import Views


def test_a_batch_of_pairs_is_frozen_and_may_lack_a_surrogate() -> None:
    clips = torch.zeros(2, 1, 3, 8, 8)
    views = Views(context=clips, target=clips, group=torch.arange(2))
    assert views.surrogate is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        views.context = clips  # type: ignore[misc]


def test_views_of_different_batch_sizes_are_refused_under_shape_checks() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Views(
            context=torch.zeros(2, 1, 3, 8, 8),
            target=torch.zeros(3, 1, 3, 8, 8),
            group=torch.arange(2),
        )
