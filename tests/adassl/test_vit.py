import math

import pytest
import torch

from adassl.backbones import build_backbone
from adassl.vit import TransformerBlock, VideoTransformer, kept_tokens, sine_positions


def small(token_drop: float = 0.0) -> VideoTransformer:
    shape = (1, 4, 16, 16)
    return VideoTransformer(
        shape, width=12, depth=2, num_heads=3, tubelet=(2, 8), token_drop=token_drop
    )


def test_a_block_is_attention_and_an_mlp_around_residuals() -> None:
    block, tokens = TransformerBlock(8, 2).double(), torch.randn(3, 5, 8, dtype=torch.float64)
    query, key, value = block.qkv(block.norm_1(tokens)).chunk(3, dim=2)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[..., head] @ key[..., head].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(dim=2) @ value[..., head])
    middle = tokens + block.project(torch.cat(heads, dim=2))
    expected = middle + block.mlp(block.norm_2(middle))
    torch.testing.assert_close(block(tokens), expected)


def test_positions_tell_every_token_apart() -> None:
    positions = sine_positions((3, 4, 5), 20)
    assert positions.shape == (60, 20)
    assert torch.cdist(positions, positions).fill_diagonal_(1).min() > 0.1


def test_tokens_are_left_out_in_training_alone() -> None:
    network, clips = small(token_drop=0.75), torch.randn(2, 1, 4, 16, 16)
    assert network.train().tokens(clips).shape == (2, 2, 12)
    assert network.eval().tokens(clips).shape == (2, 8, 12)
    whole = small().train()
    whole.load_state_dict(network.state_dict())
    torch.testing.assert_close(whole(clips), network(clips))


def test_which_tokens_stay_depends_on_the_clip_alone() -> None:
    clips = torch.rand(200, 3, 2, 8, 8) * 2 - 1
    kept = kept_tokens(clips, 16, 8)
    assert kept.shape == (200, 8)
    assert (kept.diff(dim=1) > 0).all()
    torch.testing.assert_close(kept_tokens(clips[50:53], 16, 8), kept[50:53])
    assert len(kept.unique(dim=0)) > 190
    share = kept.flatten().bincount(minlength=16) / 200
    assert share.min() > 0.35
    assert share.max() < 0.65


@pytest.mark.parametrize(
    ("name", "millions"), [("vit_ti", 5.6), ("vit_s", 21.7), ("vit_b", 86.5), ("r2plus1d_18", 33.2)]
)
def test_the_sizes_are_the_published_ones(name: str, millions: float) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, input_shape=(3, 16, 224, 224))  # type: ignore[arg-type]
    count = sum(p.numel() for p in backbone.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tubelet": (3, 8)}, "do not divide"),
        ({"tubelet": (2, 5)}, "do not divide"),
        ({"tubelet": (2, 8), "token_drop": 0.99}, "leaves 0 of 8 tokens"),
    ],
)
def test_what_cannot_be_cut_into_tokens_is_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VideoTransformer((1, 4, 16, 16), width=12, depth=1, num_heads=3, **arguments)  # type: ignore[arg-type]
