"""Alarms: rules from the papers that say, while a run trains, that it goes wrong.

Each reads the metrics of logged steps alone, which are the same on every worker, so that a run
that continues from a checkpoint raises again what it has raised before. None needs a label.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import get_args

from adassl.traits import TRAITS
from pipelines.config.alarms import AlarmName
from pipelines.config.run import RunConfig

PREFIX = "alarm/"
"""Begins the names of the metrics that are 1 from the step on at which an alarm was raised."""

ADVICE: dict[AlarmName, str] = {
    "collapse": (
        "all embeddings are nearly the same: the centre is as long as they are, the residuals are "
        "gone and RankMe is near 1. Something has to push from the centre: negatives, a predictor "
        "with a stop-gradient or an EMA target, centring, decorrelation or a centre penalty (arXiv "
        "2402.14957); check that none of it is switched off, or lower optim.learning_rate"
    ),
    "dimensional_collapse": (
        "RankMe has fallen to a fraction of what it was: the embeddings lie in ever fewer "
        "dimensions. Lower optim.learning_rate or raise the weight of what keeps them apart"
    ),
    "kl_collapse": (
        "r is not used: its posterior has become its prior, and the method is its own baseline. "
        "Lower method.beta, lengthen method.beta_warmup_steps or give it method.free_nats "
        "(arXiv 2602.02381)"
    ),
    "shortcut": (
        "r carries x+ itself: the next clip is predicted by an r that has seen it, and not by an "
        "r that has not. Raise method.beta or let r read another view (data.surrogate=true; "
        "arXiv 2602.02381)"
    ),
    "sparse_underused": (
        "the sparse r is hardly used: few dimensions are active, or always the same. Lower "
        "method.beta, ask for use by method.active_rate, or use latent=variational "
        "(arXiv 2602.02381)"
    ),
    "trivial_task": (
        "the loss is near zero, and yet the moments of a video are not told apart: to know which "
        "video it is solves the whole task. Put more moments of each video into a batch "
        "(data.moments_per_video), or augment both views (data.views=both; arXiv 2606.07770)"
    ),
}


def raised_in(metrics: Mapping[str, float], among: Collection[AlarmName]) -> list[AlarmName]:
    """Which of some alarms the metrics of a run say have been raised."""
    return [name for name in among if metrics.get(PREFIX + name)]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm, raised once."""

    name: AlarmName
    since: int
    """The first step of those in a row at which its rule held."""
    step: int
    """The step at which it was raised."""

    @property
    def words(self) -> str:
        """What, since when, and what the paper advises."""
        return f"{self.name.replace('_', ' ')} since step {self.since}: {ADVICE[self.name]}"


class AlarmMonitor:
    """The alarms of one run, fed with the metrics of each logged step in turn."""

    def __init__(self, config: RunConfig) -> None:
        """No alarm is raised yet."""
        self._config, self._method = config.alarms, config.method
        self._held: dict[AlarmName, list[int]] = {name: [] for name in get_args(AlarmName)}
        self._best_rank = 0.0
        self.raised: dict[AlarmName, Alarm] = {}

    @property
    def metrics(self) -> dict[str, float]:
        """Which alarms have been raised so far; empty while there are none."""
        return {PREFIX + name: 1.0 for name in self.raised}

    def update(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """The alarms that the metrics of this step raise."""
        new = []
        rules: dict[AlarmName, Callable[[Mapping[str, float]], bool | None]] = {
            "collapse": self._collapse,
            "dimensional_collapse": self._dimensional,
            "kl_collapse": self._kl,
            "shortcut": self._shortcut,
            "sparse_underused": self._sparse,
            "trivial_task": self._trivial,
        }
        for name, rule in rules.items():
            holds = rule(metrics) if step > self._config.from_step else None
            if holds is None:  # the rule has no metrics at this step
                continue
            held = self._held[name] = [*self._held[name], step] if holds else []
            if len(held) >= self._config.patience and name not in self.raised:
                self.raised[name] = Alarm(name=name, since=held[0], step=step)
                new.append(self.raised[name])
        return new

    def _collapse(self, metrics: Mapping[str, float]) -> bool | None:
        """All three: ‖s‖ near 1 alone is what an accurate encoder with a small temperature has."""
        if "train/centre_norm" not in metrics:
            return None
        power = self._config.collapse_rankme_power
        return (
            metrics["train/centre_norm"] > self._config.collapse_centre
            and metrics["train/residual_norm"] < self._config.collapse_residual
            and metrics["train/rankme"] < self._method.embedding_dim**power
        )

    def _dimensional(self, metrics: Mapping[str, float]) -> bool | None:
        rank = metrics.get("train/rankme")
        if rank is None:
            return None
        self._best_rank = max(self._best_rank, rank)
        return rank < self._config.dimensional_share * self._best_rank

    def _kl(self, metrics: Mapping[str, float]) -> bool | None:
        if "train/kl" not in metrics or self._warms_up(metrics):
            return None
        return metrics["train/kl"] < self._config.latent_nats

    def _shortcut(self, metrics: Mapping[str, float]) -> bool | None:
        """By validations, whose metrics only some logged steps have.

        A sparse r has no prior, and the r of other pairs predicts little even in good runs: it
        carries x+ itself only where nearly all its dimensions are active too.
        """
        if "val/next_clip_nats_seen" not in metrics or self._warms_up(metrics):
            return None
        if self._method.latent in ("none", "given"):  # no r, or one that is the truth
            return None
        seen = metrics["val/next_clip_nats_seen"]
        holds = seen > 1 and metrics["val/next_clip_nats"] < self._config.shortcut_share * seen
        if self._method.latent != "sparse":
            return holds
        most = self._config.shortcut_active_share * self._latent_dim(metrics)
        return holds and metrics["val/latent_mean_active"] > most

    def _sparse(self, metrics: Mapping[str, float]) -> bool | None:
        if "train/l0" not in metrics or self._warms_up(metrics):
            return None
        few = metrics["train/latent_mean_active"] < self._config.sparse_active
        most = math.log(self._latent_dim(metrics))
        alike = metrics["train/latent_use_entropy"] < self._config.sparse_entropy_share * most
        return few or alike

    def _trivial(self, metrics: Mapping[str, float]) -> bool | None:
        """By validations in which some videos have several pairs."""
        if "val/within_video_nats" not in metrics or not TRAITS[self._method.objective].negatives:
            return None
        solved = metrics["train/ssl"] < self._config.trivial_loss
        return solved and metrics["val/within_video_nats"] < self._config.trivial_nats

    def _latent_dim(self, metrics: Mapping[str, float]) -> float:
        """Dimensions of r; where they are found while it trains, those that are left."""
        return metrics.get("train/latent_dim", self._method.latent_size)

    def _warms_up(self, metrics: Mapping[str, float]) -> bool:
        return metrics.get("train/beta", self._method.beta) < self._method.beta
