import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from adassl.latents import SparseLatent, VariationalLatent
from adassl.method import Method
from adassl.objectives.infonce import info_nce
from adassl.step_output import StepOutput
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]

OBJECTIVES = ("infonce", "aninfonce", "hinfonce", "byol")
OTHERS = (
    *("triplet", "simsiam", "barlow_twins", "vicreg", "simple"),
    *("lejepa", "visreg", "frossl", "mmcr"),
)
LATENT_AND_EDITOR = [
    ("none", "identity"),
    ("none", "mlp"),
    ("none", "residual"),
    ("none", "low_rank"),
    ("none", "slots"),
    ("none", "attention"),
    *itertools.product(
        ("variational", "sparse"),
        ("mlp", "residual", "additive", "low_rank", "slots", "attention"),
    ),
]
FEWER = [("none", "identity"), ("none", "mlp"), ("variational", "mlp"), ("sparse", "low_rank")]
ALL_METHODS: list[dict[str, Any]] = [
    {"objective": objective, "latent": latent, "editor": editor}
    for objectives, pairs in ((OBJECTIVES, LATENT_AND_EDITOR), (OTHERS, FEWER))
    for objective in objectives
    for latent, editor in pairs
] + [
    {"objective": "swav", "latent": "none", "editor": "identity"},
    {"objective": "swav", "latent": "none", "editor": "identity", "queue_size": 24},
    {"objective": "dino", "latent": "none", "editor": "identity"},
    # Ablations: what is switched off must leave no parameter behind.
    {"objective": "byol", "latent": "none", "editor": "identity", "predictor": False},
    {"objective": "simsiam", "latent": "none", "editor": "identity", "predictor": False},
    {"objective": "simsiam", "latent": "variational", "editor": "mlp", "stop_gradient": False},
    {"objective": "dino", "latent": "none", "editor": "identity", "centring": False},
    {"objective": "simple", "latent": "none", "editor": "identity", "centre_weight": 0.0},
    {"objective": "mmcr", "latent": "none", "editor": "identity", "nuclear": False},
]
WITH_LATENT = [m for m in ALL_METHODS if m["latent"] != "none"]


def name(settings: Any) -> str:
    return "-".join(map(str, settings.values())) if isinstance(settings, dict) else str(settings)


def run(method: Method, views: Views, step: int = 10, seed: int = 0) -> StepOutput:
    output: StepOutput = method(views, step=step, generator=torch.Generator().manual_seed(seed))
    return output


def gradients(method: Method) -> dict[str, torch.Tensor | None]:
    return {n: p.grad for n, p in method.named_parameters() if p.requires_grad}


def wake_zero_weights(method: Method) -> None:
    """Moves what starts at zero off it: behind a zero weight the gradient is zero too."""
    for parameter in method.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)


@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.parametrize("settings", ALL_METHODS, ids=name)
def test_the_gradient_reaches_every_trainable_parameter(
    settings: dict[str, Any], surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(**settings)
    wake_zero_weights(method)
    torch.autograd.backward(run(method, make_views(surrogate=surrogate)).loss)
    # Means are taken off: without an editor a shift of all embeddings alike changes nothing.
    shift_free = settings["objective"] in ("barlow_twins", "vicreg")
    for parameter_name, gradient in gradients(method).items():
        assert gradient is not None, parameter_name
        if not (shift_free and parameter_name == "encoder.projector.3.bias"):
            assert gradient.abs().max() > 0, parameter_name


@pytest.mark.parametrize("settings", ALL_METHODS, ids=name)
def test_validation_changes_nothing(
    settings: dict[str, Any], make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(**settings)
    run(method, make_views())
    before = copy.deepcopy(method.state_dict())
    run(method.eval(), make_views(seed=1))
    for entry, value in method.state_dict().items():
        assert torch.equal(value, before[entry]), entry


@pytest.mark.parametrize("settings", WITH_LATENT, ids=name)
def test_at_beta_zero_too_no_parameter_is_left_out(
    settings: dict[str, Any], make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(**settings, beta_warmup_steps=100)
    output = run(method, make_views(), step=0)
    assert output.terms["beta"] == 0
    assert torch.equal(output.terms["loss"], output.terms["ssl"])
    torch.autograd.backward(output.loss)
    assert all(gradient is not None for gradient in gradients(method).values())


@pytest.mark.parametrize("latent", ["variational", "sparse", "none"])
def test_a_fresh_low_rank_editor_at_beta_zero_is_simclr(
    latent: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(latent=latent, editor="low_rank", beta=0.0)
    baseline = make_method()
    baseline.encoder.load_state_dict(method.encoder.state_dict())
    views = make_views()
    output, plain = run(method, views), run(baseline, views)
    assert torch.equal(output.loss, plain.loss)
    torch.autograd.backward(output.loss)
    torch.autograd.backward(plain.loss)
    for parameter_name, gradient in gradients(baseline).items():
        torch.testing.assert_close(gradients(method)[parameter_name], gradient)


def test_the_baseline_is_the_plain_loss_of_its_embeddings(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(temperature=0.2, same_video_negative_weight=0.5).eval()
    views = make_views()
    context, target = (method.encode(x).embedding for x in (views.context, views.target))
    expected = info_nce(
        edited=context,
        edited_target=target,
        context=context,
        target=target,
        group=views.group,
        temperature=0.2,
        same_video_negative_weight=0.5,
    )
    torch.testing.assert_close(run(method, views).loss, expected)


@pytest.mark.parametrize("settings", ALL_METHODS, ids=name)
def test_permuting_the_batch_changes_nothing(
    settings: dict[str, Any],
    make_method: MakeMethod,
    make_views: MakeViews,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, views = make_method(**settings, same_video_negative_weight=0.5), make_views()
    wake_zero_weights(method)
    order = torch.randperm(16)
    assert views.group is not None
    shuffled = Views(
        context=views.context[order], target=views.target[order], group=views.group[order]
    )
    expected = run(copy.deepcopy(method), views)  # a copy: queue and centre move
    if isinstance(method.latent, VariationalLatent | SparseLatent):
        draw = method.latent.draw_noise
        monkeypatch.setattr(method.latent, "draw_noise", lambda *a, **k: draw(*a, **k)[:, order])
    output = run(method, shuffled)
    torch.testing.assert_close(output.loss, expected.loss)
    torch.testing.assert_close(output.edited, expected.edited[order])


@pytest.mark.parametrize("settings", WITH_LATENT, ids=name)
def test_the_loss_is_made_of_its_terms(
    settings: dict[str, Any], make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(**settings, beta=0.3, beta_warmup_steps=20)
    output = run(method, make_views(), step=10)
    penalty = output.terms["kl" if settings["latent"] == "variational" else "l0"]
    assert output.terms["beta"].item() == pytest.approx(0.15)
    torch.testing.assert_close(output.loss.detach(), output.terms["ssl"] + 0.15 * penalty)
    for term in output.terms.values():
        assert term.dtype == torch.float32
        assert term.shape == ()
        assert not term.requires_grad
    assert output.latent is not None
    assert output.latent.value.shape[0] == 16
    assert not output.latent.value.requires_grad
    for embedding in (output.context, output.target, output.edited, output.prediction):
        assert not embedding.requires_grad
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(16))


@pytest.mark.parametrize("settings", ALL_METHODS, ids=name)
def test_bfloat16_autocast_is_finite_and_near_float32(
    settings: dict[str, Any], make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, views = make_method(**settings, temperature=0.2), make_views(64)
    exact = run(copy.deepcopy(method), views)  # a copy: queue and centre move
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(method, views)
    torch.autograd.backward(output.loss)
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact.loss.item(), rel=0.03, abs=1e-3)
    assert {term.dtype for term in output.terms.values()} == {torch.float32}
    if output.latent is not None:
        assert output.latent.value.dtype == torch.float32
        assert output.latent.penalty_per_dimension.dtype == torch.float32
    for parameter_name, gradient in gradients(method).items():
        assert gradient is not None, parameter_name
        assert torch.isfinite(gradient).all(), parameter_name


@pytest.mark.parametrize("objective", OBJECTIVES + OTHERS)
def test_encoding_the_surrogate_leaves_the_encoder_its_gradient_under_autocast(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    # Autocast caches cast weights; cast first without a gradient, they would never get one.
    method = make_method(objective=objective, latent="variational", editor="mlp")
    wake_zero_weights(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = run(method, make_views(surrogate=True)).loss
    torch.autograd.backward(loss)
    assert all(g is not None and g.abs().max() > 0 for g in gradients(method).values())


@pytest.mark.parametrize("objective", OBJECTIVES + OTHERS)
def test_the_surrogate_is_evidence_for_r_and_nothing_else(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective=objective, latent="variational", editor="mlp").eval()
    views = make_views(surrogate=True)
    assert views.surrogate is not None
    surrogate = views.surrogate.requires_grad_()
    output = run(method, views)
    torch.autograd.backward(output.loss)
    assert surrogate.grad is None
    other = Views(
        context=views.context,
        target=views.target,
        surrogate=surrogate.detach() + 1,
        group=views.group,
    )
    changed = run(method, other)
    assert output.latent is not None
    assert changed.latent is not None
    assert not torch.allclose(changed.latent.value, output.latent.value)
    assert torch.equal(changed.target, output.target)


def test_noise_comes_from_the_generator_alone(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, views = make_method(latent="variational", editor="mlp").eval(), make_views()
    before = torch.get_rng_state()
    first, again, other = (run(method, views, seed=seed).loss for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
