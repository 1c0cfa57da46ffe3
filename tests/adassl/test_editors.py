import pytest
import torch

from adassl.editors import (
    AdditiveEditor,
    AttentionEditor,
    IdentityEditor,
    LowRankEditor,
    MLPEditor,
    ResidualEditor,
    SlotsEditor,
)

PARTS = (SlotsEditor, AttentionEditor)
"""The editors that cut z and r into parts."""


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
    "editor",
    [
        MLPEditor(6, 0, (16,)),
        ResidualEditor(6, 0, (16,)),
        LowRankEditor(6, 2),
        SlotsEditor(6, 0, 3, (16,)),
        AttentionEditor(6, 0, 3, (16,)),
    ],
    ids=lambda editor: type(editor).__name__,
)
def test_the_controls_work_without_r(editor: torch.nn.Module) -> None:
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


def awake(kind: type[SlotsEditor | AttentionEditor], latent_dim: int = 4) -> torch.nn.Module:
    """An editor of four parts of six that edits."""
    editor = kind(24, latent_dim, 4, (16,))
    torch.nn.init.normal_(editor.mlp[-1].weight)  # type: ignore[arg-type]
    return editor.eval()


@pytest.mark.parametrize("latent_dim", [4, 0])
@pytest.mark.parametrize("kind", PARTS)
def test_a_fresh_editor_of_parts_is_the_identity(
    kind: type[SlotsEditor | AttentionEditor], latent_dim: int
) -> None:
    embedding = torch.randn(5, 24)
    latent = torch.randn(5, latent_dim) if latent_dim else None
    assert torch.equal(kind(24, latent_dim, 4, (16,))(embedding, latent), embedding)
    assert not torch.allclose(awake(kind, latent_dim)(embedding, latent), embedding)


def test_slots_edits_each_part_by_one_mlp_from_that_part_alone() -> None:
    editor = awake(SlotsEditor)
    embedding, latent = torch.randn(5, 24), torch.randn(5, 4)
    edited = editor(embedding, latent)
    for i in range(4):
        part = embedding[:, 6 * i : 6 * i + 6]
        own = editor.get_submodule("mlp")(torch.cat([part, latent[:, i : i + 1]], dim=1))
        torch.testing.assert_close(edited[:, 6 * i : 6 * i + 6], part + own)


@pytest.mark.parametrize(("kind", "moved"), [(SlotsEditor, [2]), (AttentionEditor, [0, 1, 2, 3])])
def test_a_part_of_r_moves_its_own_part_of_z_or_what_attends_to_it(
    kind: type[SlotsEditor | AttentionEditor], moved: list[int]
) -> None:
    editor = awake(kind)
    embedding, latent, other = torch.randn(5, 24), torch.randn(5, 4), torch.randn(5, 4)
    other[:, [0, 1, 3]] = latent[:, [0, 1, 3]]
    difference = (editor(embedding, latent) - editor(embedding, other)).reshape(5, 4, 6)
    differs = (difference.abs().amax(dim=(0, 2)) > 1e-6).nonzero().flatten().tolist()
    assert differs == moved


def test_attention_knows_the_places_of_its_parts() -> None:
    editor = awake(AttentionEditor)
    embedding, latent = torch.randn(5, 24), torch.randn(5, 4)
    turned = embedding.reshape(5, 4, 6).flip(1).flatten(1)
    back = editor(turned, latent.flip(1)).reshape(5, 4, 6).flip(1).flatten(1)
    assert not torch.allclose(back, editor(embedding, latent), atol=1e-3)


@pytest.mark.parametrize("kind", PARTS)
def test_editors_of_parts_refuse_what_does_not_fit(
    kind: type[SlotsEditor | AttentionEditor],
) -> None:
    with pytest.raises(ValueError, match=r"embedding_dim=10 with num_slots=4.*another num_slots"):
        kind(10, 4, 4)
    with pytest.raises(ValueError, match=r"latent_dim=6 with num_slots=4"):
        kind(8, 6, 4)
    with pytest.raises(ValueError, match="built for an r of latent_dim=4"):
        kind(8, 4, 4)(torch.randn(2, 8), None)
