"""Metrics of a batch of pairs: collapse and spread of the embeddings, and the use of r."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from adassl import collectives, diagnostics
from adassl.forecaster import cross_fitted_futures
from adassl.latents import LatentSample
from adassl.method import Method
from adassl.next_clip import NUM_FUTURES, next_clip_nats
from pipelines.config.alarms import AlarmConfig

PER_DIMENSION = "latent_use/"
"""Begins the names of the metrics of each dimension of r, after their split."""
GAIN_WEIGHT = 8
"""Of what r tells and x does not in the score to sweep by (docs/criteria.md)."""
LEAST_FORETOLD = AlarmConfig().shortcut_share
"""As of the alarm `shortcut`, whatever a run has set there: scores of runs compare."""
RANKME_PAIRS = 1024
"""Most pairs of a global batch whose RankMe is taken: its cost grows with their number."""


def rankme_of_some(embeddings: Tensor) -> Tensor:
    """RankMe of a part of a global batch, computed by the first worker, for all."""
    own = torch.zeros((), device=embeddings.device)
    if collectives.rank() == 0:
        own = diagnostics.rankme(embeddings[:RANKME_PAIRS])
    return collectives.all_reduce_mean(own) * collectives.world_size()


def pair_metrics(
    context: Tensor, target: Tensor, *, rankme: Tensor | None = None
) -> dict[str, float]:
    """Collapse and spread of unit embeddings of pairs; RankMe of all of them unless given."""
    views = torch.stack([context, target])
    std = diagnostics.dimension_std(context)
    metrics = {
        "centre_norm": diagnostics.centre_norm(views.flatten(0, 1)),
        "sample_mean_norm": diagnostics.sample_mean_norm(views),
        "residual_norm": diagnostics.residual_norm(views),
        "residual_spread": diagnostics.residual_spread(views),
        "dimension_std_mean": std.mean(),
        "dimension_std_min": std.min(),
        "rankme": diagnostics.rankme(context) if rankme is None else rankme,
        "alignment": diagnostics.alignment(context, target),
        "uniformity": diagnostics.uniformity(context),
    }
    values = torch.stack(list(metrics.values())).tolist()  # one copy from the device
    return dict(zip(metrics, values, strict=True))


def spectrum_metrics(context: Tensor, target: Tensor) -> dict[str, float]:
    """LiDAR and alpha-ReQ of unit embeddings of many pairs: more of them than dimensions."""
    found = torch.stack([diagnostics.lidar(context, target), diagnostics.alpha_req(context)])
    return dict(zip(("lidar", "alpha_req"), found.tolist(), strict=True))


def next_clip_metrics(
    method: Method, rows: Mapping[str, Tensor], generator: torch.Generator
) -> dict[str, float]:
    """How well futures foretell the next clip, in nats above chance, and what to sweep by.

    Args:
        method: in evaluation mode.
        rows: of validation pairs: z of x (`embedding`), unit embeddings of x+ (`target`), sampled
            `futures` [pairs, samples, dim], the `prediction` by the r that has seen x+, `latent`
            where there is r, and `group` where it is known which video each pair is of.
        generator: source of the draws of the fitted prior.

    Returns:
        By the learnt prior (`next_clip_nats`), by one that is fitted to the pairs of other videos
        (`_fitted`), and by the r of the posterior (`_seen`: see alarms); the first two also among
        the pairs of a video (`within_video_nats`), unless no two pairs are of one; and
        `sweep_score`: the fitted one and `GAIN_WEIGHT` times what the posterior's r gains, which
        counts for nothing where r is a shortcut: where the learnt prior foretells less than
        `LEAST_FORETOLD` of what the posterior knows, r holds x+ itself.
    """
    target, group, embedding = rows["target"], rows.get("group"), rows["embedding"]
    video = torch.zeros_like(target[:, 0], dtype=torch.int64) if group is None else group
    fitted = cross_fitted_futures(
        method, embedding, target, rows.get("latent"), video, NUM_FUTURES, generator
    )
    metrics = {}
    for name, futures in (("", rows["futures"].transpose(0, 1)), ("_fitted", fitted)):
        metrics[f"next_clip_nats{name}"] = next_clip_nats(futures, target)
        within = math.nan if group is None else next_clip_nats(futures, target, group)
        if math.isfinite(within):
            metrics[f"within_video_nats{name}"] = within
    metrics["next_clip_nats_seen"] = next_clip_nats(rows["prediction"][None], target)
    foretold, seen = metrics["next_clip_nats"], metrics["next_clip_nats_seen"]
    gain = 0.0 if foretold < LEAST_FORETOLD * seen else seen - foretold
    metrics["sweep_score"] = metrics["next_clip_nats_fitted"] + GAIN_WEIGHT * gain
    return metrics


def latent_metrics(latent: LatentSample) -> dict[str, float]:
    """How r is used over a batch of pairs."""
    use = diagnostics.latent_use(latent)
    return {
        "latent_penalty_mean_dimension": float(use.per_dimension.mean()),
        "latent_active_dimensions": float(use.active_dimensions),
        "latent_mean_active": use.mean_active,
        "latent_use_entropy": use.entropy,
    }


def dimension_metrics(latent: LatentSample) -> dict[str, float]:
    """Use of each dimension of r: mean KL in nats, or the share of pairs in which it is active."""
    per_dimension = diagnostics.latent_use(latent).per_dimension
    return {f"{PER_DIMENSION}{i:02}": float(value) for i, value in enumerate(per_dimension)}


def without_dimensions(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics without those of each dimension of r, for whoever lists or compares them."""
    return {name: value for name, value in metrics.items() if f"/{PER_DIMENSION}" not in name}
