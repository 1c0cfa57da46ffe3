"""Made-up sweeps: records as the real ones leave them, with known answers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.sweep.report.results import Results, collect
from pipelines.trials.records import BASELINE, SweepRecord, TrialRecord, TrialState, Value

BETA: dict[str, Any] = {
    "kind": "log_uniform",
    "low": 0.01,
    "high": 1.0,
    "why": "the paper's 0.1–0.8 <and> around",
    "num_grid": 5,
}
LATENT_DIM: dict[str, Any] = {"kind": "choice", "values": [2, 4, 8, 16], "why": "the paper's"}
WARMUP: dict[str, Any] = {"kind": "choice", "values": [0, 500, 2000], "why": "none to long"}
SAMPLED = {
    "method.beta": BETA,
    "method.latent_dim": LATENT_DIM,
    "method.beta_warmup_steps": WARMUP,
}


def sweep(**changes: Any) -> SweepRecord:
    fields: dict[str, Any] = {
        "space": "adassl_v",
        "metric": "val/r2",
        "mode": "max",
        "sampled": SAMPLED,
        "baseline": {"method.latent": "none"},
        "search": "random",
        "scheduler": "asha",
        "num_settings": 18,
        "num_seeds": 2,
        "config": {"tracking": {"uri": "http://me:secret@host:5000"}, "train": {"steps": 1000}},
        "data_digest": "0123abcd",
        "tracking_uri": "http://me:secret@host:5000",
    }
    return SweepRecord(**{**fields, **changes})


def trial(
    setting: int,
    seed: int,
    params: Mapping[str, Value],
    value: float | None,
    state: TrialState = "finished",
    *,
    metric: str = "val/r2",
    reason: str = "",
) -> TrialRecord:
    stem = "base" if setting == BASELINE else f"{setting:03d}"
    last = 1000 if state == "finished" else 400
    shown = 0.0 if value is None else value
    return TrialRecord(
        name=f"{stem}-s{seed}",
        setting=setting,
        seed=seed,
        params=params,
        state=state,
        reason=reason,
        step=last,
        num_steps=1000,
        validations={s: shown * (1 - math.exp(-s / 300)) for s in range(200, last + 1, 200)},
        metrics={} if value is None else {metric: value, "val/loss": 3 - value},
    )


def settings(
    values: Sequence[tuple[Mapping[str, Value], Sequence[float]]],
    baseline: Sequence[float] = (),
    *,
    metric: str = "val/r2",
) -> list[TrialRecord]:
    """A finished trial for each seed's value of each setting."""
    made = [
        trial(BASELINE, seed, {"method.latent": "none"}, value, metric=metric)
        for seed, value in enumerate(baseline)
    ]
    return made + [
        trial(i, seed, params, value, metric=metric)
        for i, (params, seeds) in enumerate(values)
        for seed, value in enumerate(seeds)
    ]


def results(record: SweepRecord, trials: Sequence[TrialRecord]) -> Results:
    return collect(record, trials, name="made")


def drawn(
    num_settings: int,
    truth: Callable[[Mapping[str, Any]], float],
    *,
    noise: float = 0.01,
    num_seeds: int = 2,
    seed: int = 0,
    metric: str = "val/r2",
    sampled: Mapping[str, Any] = SAMPLED,
) -> list[TrialRecord]:
    """Settings drawn at random, with a truth and the noise of seeds on it."""
    random = np.random.default_rng(seed)
    values = []
    for _ in range(num_settings):
        params: dict[str, Value] = {}
        for key, content in sampled.items():
            if content["kind"] == "choice":
                params[key] = content["values"][random.integers(len(content["values"]))]
            else:
                params[key] = float(
                    content["low"] * (content["high"] / content["low"]) ** random.uniform()
                )
        value = truth(params)
        values.append((params, [value + noise * random.normal() for _ in range(num_seeds)]))
    return settings(values, metric=metric)


def hill(params: Mapping[str, Any]) -> float:
    """Best at β = 0.1, better with warm-up; d_r does nothing."""
    away = math.log10(float(params["method.beta"]) / 0.1)
    warm = int(params["method.beta_warmup_steps"]) > 0
    return 0.7 - 0.2 * away**2 + 0.03 * warm


def usual() -> tuple[SweepRecord, list[TrialRecord]]:
    """Eighteen settings with two seeds, some of them pruned, one failed, and a baseline."""
    made = []
    for t in drawn(18, hill, seed=3):
        if t.setting in (4, 9, 13):
            t = trial(t.setting, t.seed, t.params, 0.1, "pruned", reason="below 2/3 at step 400")
        elif t.name == "011-s1":
            t = trial(11, 1, t.params, None, "failed", reason="DivergedError: <loss> & co")
        made.append(t)
    return sweep(), settings([], [0.60, 0.62]) + made
