"""How a numerical training is evaluated: right where the answer is known, changing nothing."""

import numpy as np
import pytest
import torch

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.numerical import arms as numerical
from pipelines.experiments.numerical import trial as numerical_trial
from pipelines.experiments.numerical.trial import fresh_pairs, judge
from pipelines.sources.numerical import NumericalSettings, batches
from pipelines.training.learner import Learner

SETTINGS = NumericalSettings(conditional="complex", seed=3)


def learner(method: str, steps: int = 5) -> Learner:
    """A learner of the experiment after a few steps."""
    overrides = {**numerical.BASE, **numerical.METHODS[method][1], "train.seed": 3}
    made = Learner(with_overrides(RunConfig(), overrides), torch.device("cpu"))
    for views in batches(SETTINGS, 3, 256, 0, steps, method == "true-r"):
        made.train_step(views)
    return made


@pytest.fixture(autouse=True)
def _few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerical_trial, "NUM_PAIRS", 300)


@pytest.mark.parametrize("method", ["infonce", "v", "s", "true-r", "lejepa-v"])
def test_metrics_are_reproducible_and_evaluation_changes_nothing(method: str) -> None:
    trained = learner(method)
    before = {name: value.clone() for name, value in trained.method.state_dict().items()}
    metrics = judge(trained, SETTINGS)
    assert judge(learner(method), SETTINGS) == metrics
    after = trained.method.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert np.isfinite(list(metrics.values())).all()
    for name in ("test/penalty", "test/change_latent"):
        assert (name in metrics) == (method in ("v", "s", "lejepa-v"))


def test_fitting_choosing_and_scoring_see_different_pairs() -> None:
    trained = learner("infonce", steps=1)
    seen = [fresh_pairs(trained, SETTINGS, 1.0, purpose).factors for purpose in (1, 2, 3)]
    assert all(not np.array_equal(a, b) for a, b in ((seen[0], seen[1]), (seen[1], seen[2])))
    far = fresh_pairs(trained, SETTINGS, numerical_trial.OUT_OF_DISTRIBUTION, 1).factors
    assert far.var() == pytest.approx(5, rel=0.2)


def test_what_is_linear_in_the_embedding_has_an_r2_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = learner("true-r", steps=1)
    real = fresh_pairs(trained, SETTINGS, 1.0, 1)
    turned = np.hstack([real.factors @ np.random.default_rng(0).normal(size=(4, 4)), real.change])

    def known(_: Learner, settings: NumericalSettings, variance: float, purpose: int) -> object:
        return numerical_trial.Seen(
            factors=real.factors,
            change=real.change,
            embedding=turned.astype(np.float32),
            unscaled=turned.astype(np.float32),
            target=turned.astype(np.float32),
            edited=real.change,
            latent=None,
        )

    monkeypatch.setattr(numerical_trial, "fresh_pairs", known)
    metrics = judge(trained, SETTINGS)
    for name in ("c/id", "c/unscaled", "c/ood", "c/refit", "change"):
        assert metrics[f"test/{name}"] == pytest.approx(1, abs=1e-4)
