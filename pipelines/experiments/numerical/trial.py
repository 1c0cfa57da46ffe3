"""One training on numerical pairs, evaluated against the factors that are known."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from adassl.latents import LatentSample
from adassl.views import Views
from pipelines.evaluation import probes
from pipelines.evaluation.disentanglement import (
    dci_of_importance,
    lasso_importance,
    linear_importance,
)
from pipelines.evaluation.embed import joined
from pipelines.experiments.trained import trained
from pipelines.sources.numerical import (
    Conditional,
    Mixing,
    NumericalSettings,
    as_clips,
    batches,
    draw_pairs,
)
from pipelines.tracking import Tracker
from pipelines.training import loop
from pipelines.training.learner import Learner
from pipelines.training.metrics import latent_metrics, pair_metrics
from pipelines.training.worker import Batches, work
from pipelines.trials.trial import TrialJob, TrialRun, run_trial

Array = NDArray[Any]

NUM_PAIRS = 3000
"""Pairs for each of fitting, choosing the regularisation, and scoring."""
PAIRS_AT_ONCE = 500
"""The loss, which is computed too, takes memory by its square."""
OUT_OF_DISTRIBUTION = 5.0
"""Variance of the factors there."""
_FIT, _CHOOSE, _JUDGE = 1, 2, 3
TUNING_SEED = 100
"""Added to the seed of a trial that tunes: its mixing and pairs are none that are reported."""


def run_numerical_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs."""
    run_trial(trial, job=job, body=train_on_numbers)


def train_on_numbers(trial: TrialRun) -> dict[str, float]:
    """The training of `adassl train` on pairs that are drawn, not decoded; returns its metrics."""
    config, folder = trial.config, trial.folder
    torch.set_num_threads(1)
    settings = NumericalSettings(
        conditional=cast(Conditional, trial.task["conditional"]),
        dim=config.data.frames_per_clip,
        seed=config.train.seed + (0 if trial.split == "test" else TUNING_SEED),
    )
    folder.register(config, repr(settings))

    def fit(tracker: Tracker) -> loop.History:
        newest = folder.checkpoints.step()
        pairs = batches(
            settings,
            settings.seed,
            config.train.global_batch_size,
            newest or 0,
            config.train.steps - (newest or 0),
            config.method.latent == "given",
        )
        numbers = Batches(newest=newest, train=pairs)
        cpu = torch.device("cpu")
        return work(config, folder, numbers, cpu, tracker=tracker, report=trial.report)

    def evaluate(trial: TrialRun) -> dict[str, float]:
        learner, state = trained(trial)
        learner.load_state_dict(state)
        return judge(learner, settings, trial.split)

    return trial.train_and_evaluate(nullcontext(fit), evaluate)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Fresh pairs as the trained method sees them; all arrays [pairs, …]."""

    factors: Array
    change: Array
    embedding: Array
    unscaled: Array
    target: Array
    edited: Array
    latent: LatentSample | None

    def features(self, *names: str) -> Array:
        """Some of the arrays side by side; `latent` is r."""
        parts = [
            self.latent.value.numpy()
            if name == "latent" and self.latent is not None
            else getattr(self, name)
            for name in names
        ]
        return np.concatenate(parts, axis=1)


def judge(learner: Learner, settings: NumericalSettings, split: str = "test") -> dict[str, float]:
    """Linear R² of the factors from unit z: in distribution, and with covariance 5I both ways.

    `c/unscaled` is of z before it is made a unit vector, of which theorems of LeJEPA speak; `c/ood`
    keeps the regression fitted in distribution, `c/refit` fits it anew, `c/unscaled_refit` too and
    before z is made a unit vector: by it settings are chosen. `change` is c+ - c from the edited
    embedding alone, `change_pair` from z and z+, `change_latent` from z and r.
    """
    near = [fresh_pairs(learner, settings, 1.0, purpose) for purpose in (_FIT, _CHOOSE, _JUDGE)]
    far = [
        fresh_pairs(learner, settings, OUT_OF_DISTRIBUTION, purpose)
        for purpose in (_FIT, _CHOOSE, _JUDGE)
    ]
    fit, _, test = near
    metrics = {
        "c/id": _r2(near, "factors", "embedding"),
        "c/unscaled": _r2(near, "factors", "unscaled"),
        "c/ood": _r2([*near[:2], far[2]], "factors", "embedding"),
        "c/refit": _r2(far, "factors", "embedding"),
        "c/unscaled_refit": _r2(far, "factors", "unscaled"),
        "change": _r2(near, "change", "edited"),
        "change_pair": _r2(near, "change", "embedding", "target"),
    }
    for name, importance in (("", linear_importance), ("_lasso", lasso_importance)):
        dci = dci_of_importance(importance(fit.embedding, fit.factors))
        metrics[f"disentanglement{name}"] = dci.disentanglement
    metrics |= pair_metrics(torch.from_numpy(test.embedding), torch.from_numpy(test.target))
    if test.latent is not None and learner.config.method.latent != "given":
        metrics |= latent_metrics(test.latent)
        metrics["penalty"] = float(test.latent.penalty.mean())
        metrics["change_latent"] = _r2(near, "change", "embedding", "latent")
    return {f"{split}/{name}": value for name, value in metrics.items()}


@torch.no_grad()
def fresh_pairs(
    learner: Learner, settings: NumericalSettings, variance: float, purpose: int
) -> Seen:
    """Pairs that were not trained on, a different set for each purpose."""
    learner.method.eval()
    seed = 7_000_000 + 10 * settings.seed + purpose
    factors, changed = draw_pairs(
        settings, NUM_PAIRS, torch.Generator().manual_seed(seed), variance=variance
    )
    mixing, noise = Mixing(settings), torch.Generator().manual_seed(seed)
    given = learner.config.method.latent == "given"
    parts = list(zip(factors.split(PAIRS_AT_ONCE), changed.split(PAIRS_AT_ONCE), strict=True))
    outputs = [
        learner.method(
            Views(
                context=as_clips(mixing(some)),
                target=as_clips(mixing(then)),
                group=torch.arange(len(some)),
                latent=then - some if given else None,
            ),
            step=learner.step,
            generator=noise,
        )
        for some, then in parts
    ]
    encoded = [learner.method.encode(as_clips(mixing(some))) for some, _ in parts]
    return Seen(
        factors=factors.numpy(),
        change=(changed - factors).numpy(),
        embedding=torch.cat([output.context for output in outputs]).numpy(),
        unscaled=torch.cat([found.embedding for found in encoded]).numpy(),
        target=torch.cat([output.target for output in outputs]).numpy(),
        edited=torch.cat([output.edited for output in outputs]).numpy(),
        latent=joined([output.latent for output in outputs if output.latent is not None]),
    )


def _r2(parts: list[Seen], asked: str, *sources: str) -> float:
    """R², the mean over the columns, of a ridge fitted, regularised and scored on three sets."""
    (x_fit, y_fit), chosen, (x_test, y_test) = (
        (part.features(*sources), getattr(part, asked)) for part in parts
    )
    return probes.linear_probe(x_fit, y_fit, x_test, y_test, kind="value", validation=chosen).score
