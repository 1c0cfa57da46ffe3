"""What is known of the next clip, and the score to sweep by."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from adassl.build import build_method
from adassl.config import MethodConfig
from adassl.method import Method
from pipelines.training.metrics import GAIN_WEIGHT, next_clip_metrics

PAIRS, DIM = 64, 16
VAGUE = normalize(torch.ones(PAIRS, DIM), dim=-1)


def method_of(latent: str) -> Method:
    torch.manual_seed(0)
    config = MethodConfig(latent=latent, latent_dim=2, embedding_dim=DIM)  # type: ignore[arg-type]
    return build_method(nn.Identity(), output_dim=DIM, config=config).eval()


def rows(foretold: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Pairs that sampled futures foretell so, and the posterior's r so."""
    torch.manual_seed(1)
    target = normalize(torch.randn(PAIRS, DIM), dim=-1)
    futures = normalize(foretold[:, None] * target + (1 - foretold[:, None]) * VAGUE, dim=-1)
    known = normalize(seen[:, None] * target + (1 - seen[:, None]) * VAGUE, dim=-1)
    return {
        "embedding": torch.randn(PAIRS, DIM),
        "target": target,
        "futures": futures[:, None].expand(-1, 4, -1),
        "prediction": known,
        "latent": torch.randn(PAIRS, 2),
        "group": torch.arange(PAIRS) // 4,
    }


def scored(method: Method, of: dict[str, Tensor]) -> dict[str, float]:
    return next_clip_metrics(method, of, torch.Generator().manual_seed(0))


def test_what_r_gains_counts_unless_it_is_a_shortcut() -> None:
    some, all_, none = torch.full((PAIRS,), 0.4), torch.ones(PAIRS), torch.zeros(PAIRS)
    method = method_of("variational")
    found = scored(method, rows(some, all_))
    gain = found["next_clip_nats_seen"] - found["next_clip_nats"]
    assert gain > 0.5
    expected = found["next_clip_nats_fitted"] + GAIN_WEIGHT * gain
    assert found["sweep_score"] == pytest.approx(expected)
    copied = scored(method, rows(none, all_))
    assert copied["next_clip_nats_seen"] > 3 > 0.1 > copied["next_clip_nats"]
    assert copied["sweep_score"] == pytest.approx(copied["next_clip_nats_fitted"])


def test_without_r_nothing_is_gained_and_without_videos_nothing_is_within_one() -> None:
    method = method_of("none")
    of = rows(torch.full((PAIRS,), 0.1), torch.full((PAIRS,), 0.1))
    del of["latent"], of["group"]
    found = scored(method, of)
    assert found["sweep_score"] == pytest.approx(found["next_clip_nats_fitted"], abs=1e-4)
    assert not any(name.startswith("within_video") for name in found)
    assert "within_video_nats_fitted" in scored(
        method_of("variational"), rows(VAGUE[:, 0], VAGUE[:, 0])
    )
