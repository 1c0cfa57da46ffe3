"""Pairs of two augmentations: of x alone, each pair's own, whatever the number of workers."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from adassl.augmentations import NUM_DRAWS, Augmentation, augment
from pipelines.config.run import ConfigError
from pipelines.training.learner import Learner
from pipelines.video.batch import PairBatch
from tests.pipelines.training.test_learner import batch_of, config_of

MULTI_CROP = {
    "data.views": "augmentation",
    "data.local_crops": 2,
    "method.objective": "swav",
    "method.latent": "none",
    "method.editor": "identity",
}


def test_augmented_views_are_two_of_x_and_each_pair_has_its_own() -> None:
    config = config_of(**{"data.views": "augmentation", "data.surrogate": True})
    one, other = Learner(config, torch.device("cpu")), Learner(config, torch.device("cpu"))
    batch = batch_of(0, surrogate=True)
    swapped = dataclasses.replace(batch, target=batch_of(1).target)
    losses = [loss_of(one, batch), loss_of(other, swapped)]
    assert losses[0] == losses[1], "x+ plays no part"
    by_time = Learner(config_of(**{"data.surrogate": True}), torch.device("cpu"))
    assert loss_of(by_time, batch) != losses[0]
    same = dataclasses.replace(batch, context=batch.context[:1].repeat(8, axis=0))
    seen = one._augmented(one.views(same), 0)
    assert seen.surrogate is not None
    assert len({float(view.double().sum()) for view in (*seen.context, *seen.target)}) == 16
    assert one.validate([batch]) == one.validate([batch])


def test_of_two_moments_each_is_augmented_in_its_own_way() -> None:
    extra = {"data.surrogate": True, "data.context_surrogate": True}
    settings = {"data.views": "both", "data.augment.flip": 0.5, "method.surrogate_form": "both"}
    learner = Learner(config_of(**settings, **extra), torch.device("cpu"))
    views = learner.views(batch_of(0))
    assert views.surrogate is views.target, "x++ is x+, augmented once more"
    assert views.context_surrogate is views.context
    seen = learner._augmented(views, 0)
    noise = torch.rand(4, 8, NUM_DRAWS, generator=learner._noise(0, "augmentation"))
    chosen = Augmentation(flip=0.5)
    names = ("context", "target", "surrogate", "context_surrogate")
    for name, draws in zip(names, noise, strict=True):
        assert torch.equal(getattr(seen, name), augment(getattr(views, name), draws, chosen)), name
    assert loss_of(learner, batch_of(0)) > 0


def test_the_augmentation_of_a_pair_does_not_depend_on_the_number_of_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = Learner(config_of(**MULTI_CROP), torch.device("cpu"))
    full = learner._augmented(learner.views(batch_of(0)), 0)
    monkeypatch.setattr("pipelines.training.learner.collectives.world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("pipelines.training.learner.collectives.rank", lambda rank=rank: rank)
        mine = learner._augmented(learner.views(dealt(batch_of(0), rank)), 0)
        assert torch.equal(mine.context, full.context[rank::2])
        assert torch.equal(mine.target, full.target[rank::2])
        assert mine.local is not None
        assert full.local is not None
        assert torch.equal(mine.local, full.local[:, rank::2])


def test_small_crops_are_crops_of_x_of_their_own_that_are_trained_on() -> None:
    learner = Learner(config_of(**MULTI_CROP), torch.device("cpu"))
    seen = learner._augmented(learner.views(batch_of(0)), 0)
    assert seen.local is not None
    assert seen.local.shape == (2, *seen.context.shape)
    each = [seen.context, seen.target, *seen.local]
    assert len({float(clips.double().sum()) for clips in each}) == 4
    without = Learner(config_of(**{**MULTI_CROP, "data.local_crops": 0}), torch.device("cpu"))
    assert loss_of(learner, batch_of(0)) != loss_of(without, batch_of(0))


def test_two_views_of_a_text_differ_by_dropout_which_a_resume_repeats() -> None:
    texts = {
        "data.views": "augmentation",
        "data.max_tokens": 8,
        "backbone.name": "text_transformer",
        "backbone.hidden_dims": [16],
        "backbone.vocabulary": 50,
        "backbone.dropout": 0.2,
        "method.latent": "none",
        "method.editor": "identity",
    }
    ids: Any = np.random.default_rng(0).integers(2, 50, (8, 8)).astype(np.int32)
    frames = batch_of(0)
    batch = dataclasses.replace(frames, context=ids, target=ids)
    config = config_of(**texts)
    straight = Learner(config, torch.device("cpu"))
    first = straight.train_step(batch)
    assert not torch.allclose(first.context, first.target), "other dropout"
    state = copy.deepcopy(straight.state_dict())
    expected = straight.train_step(batch).loss
    torch.manual_seed(99)
    resumed = Learner(config, torch.device("cpu"))
    resumed.load_state_dict(state)
    assert torch.equal(resumed.train_step(batch).loss, expected)
    assert straight.validate([batch])["alignment"] == pytest.approx(0, abs=1e-6), "none in it"
    for changes in (
        {"backbone.dropout": 0.0},
        {"data.views": "both"},
        {"data.surrogate": True, "method.latent": "variational", "method.editor": "mlp"},
    ):
        with pytest.raises(ConfigError, match=r"texts are not augmented; set data\.views=time, or"):
            config_of(**{**texts, **changes})
    with pytest.raises(ConfigError, match=r"backbone\.dropout=0\.1: only text_transformer"):
        config_of(**{"backbone.dropout": 0.1})


def loss_of(learner: Learner, batch: PairBatch) -> float:
    return float(learner.train_step(batch).terms["loss"])


def dealt(batch: PairBatch, rank: int) -> PairBatch:
    """The rows of one of two workers."""
    mine = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    mine = {name: rows[rank::2] for name, rows in mine.items() if rows is not None}
    return dataclasses.replace(batch, **mine)
