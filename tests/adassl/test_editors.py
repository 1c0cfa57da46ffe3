import pytest
import torch

from adassl.editors import (
    AdditiveEditor,
    IdentityEditor,
    LowRankEditor,
    MLPEditor,
    ResidualEditor,
)


def test_the_identity_returns_its_input_and_refuses_a_latent() -> None:
    embedding = torch.randn(4, 6)
    assert IdentityEditor()(embedding, None) is embedding
    with pytest.raises(ValueError, match="ignores r"):
        IdentityEditor()(embedding, torch.randn(4, 2))


def test_the_mlp_reads_embedding_and_latent() -> None:
    editor = MLPEditor(6, 2, (16,)).eval()
    embedding, latent = torch.randn(4, 6), torch.randn(4, 2)
    edited = editor(embedding, latent)
    assert edited.shape == (4, 6)
    assert not torch.allclose(edited, editor(embedding, latent + 1))
    assert not torch.allclose(edited, editor(embedding + 1, latent))


@pytest.mark.parametrize(
    "editor", [MLPEditor(6, 0, (16,)), ResidualEditor(6, 0, (16,)), LowRankEditor(6, 2)]
)
def test_the_controls_work_without_r(editor: MLPEditor | ResidualEditor | LowRankEditor) -> None:
    assert editor(torch.randn(4, 6), None).shape == (4, 6)


def test_the_additive_editor_adds_and_insists_on_its_size() -> None:
    embedding, latent = torch.randn(4, 6), torch.randn(4, 6)
    assert torch.equal(AdditiveEditor(6, 6)(embedding, latent), embedding + latent)
    with pytest.raises(ValueError, match=r"latent_dim=2.*embedding_dim=6"):
        AdditiveEditor(6, 2)
    with pytest.raises(ValueError, match="needs r"):
        AdditiveEditor(6, 6)(embedding, None)


@pytest.mark.parametrize("latent", [torch.randn(4, 2), None])
def test_a_fresh_low_rank_editor_is_the_identity(latent: torch.Tensor | None) -> None:
    embedding = torch.randn(4, 6)
    assert torch.equal(LowRankEditor(6, 2)(embedding, latent), embedding)


@pytest.mark.parametrize("latent_dim", [2, 0])
def test_the_residual_editor_starts_as_the_identity_and_adds_what_its_mlp_says(
    latent_dim: int,
) -> None:
    embedding = torch.randn(4, 6)
    latent = torch.randn(4, latent_dim) if latent_dim else None
    editor = ResidualEditor(6, latent_dim, (16,)).eval()
    assert torch.equal(editor(embedding, latent), embedding)
    torch.nn.init.normal_(editor.mlp[-1].weight)  # type: ignore[arg-type]
    inputs = embedding if latent is None else torch.cat([embedding, latent], dim=-1)
    torch.testing.assert_close(editor(embedding, latent), embedding + editor.mlp(inputs))
    if latent is not None:
        assert not torch.allclose(editor(embedding, latent), editor(embedding, latent + 1))


def test_the_low_rank_editor_is_a_sum_of_rank_one_modules() -> None:
    editor = LowRankEditor(6, 3)
    torch.nn.init.normal_(editor.write.weight)
    embedding, latent = torch.randn(4, 6), torch.randn(4, 3)
    expected = embedding.clone()
    for i in range(3):
        reading = embedding @ editor.read.weight[i] + editor.read.bias[i]
        strength = torch.tanh(latent[:, i]) * reading
        expected = expected + strength[:, None] * editor.write.weight[:, i]
    torch.testing.assert_close(editor(embedding, latent), expected)
    # A dimension that r switches off leaves the embedding alone.
    torch.testing.assert_close(editor(embedding, torch.zeros(4, 3)), embedding)
