from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.dino import DINO, dino
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_dino(
    student: torch.Tensor, teacher: torch.Tensor, centre: torch.Tensor, hot: float, cold: float
) -> float:
    """The cross-entropy of one row at a time."""

    def softmax(scores: Any) -> Any:
        powers = np.exp(scores - scores.max())
        return powers / powers.sum()

    rows = zip(student.double().numpy(), teacher.double().numpy(), strict=True)
    c = centre.double().numpy()
    losses = [-np.sum(softmax((t - c) / cold) * np.log(softmax(s / hot))) for s, t in rows]
    return float(np.mean(losses))


@pytest.mark.parametrize("cold", [0.04, 0.5])
def test_it_equals_the_slow_loop(cold: float) -> None:
    student, teacher, centre = torch.rand(6, 5), torch.rand(6, 5), torch.rand(5)
    loss = dino(
        student,
        teacher,
        centre=centre,
        student_temperature=0.1,
        teacher_temperature=cold,
    )
    assert loss.item() == pytest.approx(slow_dino(student, teacher, centre, 0.1, cold), rel=1e-5)


def test_no_gradient_reaches_the_teacher_and_half_precision_is_left() -> None:
    student, teacher = (
        torch.rand(6, 5, dtype=torch.bfloat16, requires_grad=True) for _ in range(2)
    )
    loss = dino(
        student,
        teacher,
        centre=torch.zeros(5),
        student_temperature=0.1,
        teacher_temperature=0.04,
    )
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert student.grad is not None
    assert teacher.grad is None


def build(make_method: MakeMethod, **changes: Any) -> tuple[Method, DINO]:
    method = make_method(objective="dino", **changes)
    assert isinstance(method.objective, DINO)
    return method, method.objective


def teacher_scores(method: Method, objective: DINO, views: Views) -> list[torch.Tensor]:
    return [
        objective.teacher_prototypes(method.encode_target(x)) for x in (views.context, views.target)
    ]


@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.parametrize(("step", "cold"), [(0, 0.04), (5, 0.055), (10, 0.07), (99, 0.07)])
def test_each_view_follows_the_teacher_s_other_with_a_temperature_of_the_step(
    step: int, cold: float, surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, objective = build(make_method, teacher_temperature_warmup_steps=10)
    method.eval()
    for module in (objective.teacher_prototypes, method.target_encoder):
        assert module is not None
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
    torch.nn.init.normal_(objective.centre, std=0.1)
    views = make_views(surrogate=surrogate)
    student = [
        objective.prototypes(method.encode(x).embedding).detach()
        for x in (views.context, views.target)
    ]
    teacher = teacher_scores(method, objective, views)
    losses = [slow_dino(student[i], teacher[1 - i], objective.centre, 0.1, cold) for i in (0, 1)]
    expected = losses[0] if surrogate else np.mean(losses)
    assert method(views, step=step).loss.item() == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("surrogate", [False, True])
def test_each_small_crop_follows_the_teacher_s_every_view(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, objective = build(make_method)
    method.eval()
    torch.nn.init.normal_(objective.teacher_prototypes.weight)
    views = make_views(surrogate=surrogate, crops=3)
    assert views.local is not None
    student = [
        objective.prototypes(method.encode(x).embedding).detach()
        for x in (views.context, views.target, *views.local)
    ]
    teacher = teacher_scores(method, objective, views)
    aims = (1,) if surrogate else (0, 1)  # of the forward direction the aim is x+ alone
    losses = [
        slow_dino(student[i], teacher[aim], objective.centre, 0.1, 0.04)
        for aim in aims
        for i in range(5)
        if i != aim
    ]
    assert len(losses) == (4 if surrogate else 8)
    assert method(views, step=0).loss.item() == pytest.approx(float(np.mean(losses)), rel=1e-4)


def test_the_centre_is_a_moving_average_of_the_teacher_s_scores(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, objective = build(make_method, centre_momentum=0.8)
    method.eval()
    objective.train()  # the centre moves, the BatchNorms do not
    expected = torch.zeros(12)
    for step in range(3):
        views = make_views(seed=step)
        mean = torch.cat(teacher_scores(method, objective, views)).mean(dim=0)
        expected = 0.8 * expected + 0.2 * mean
        method(views, step=step)
        torch.testing.assert_close(objective.centre, expected)
    assert "objective.centre" in method.state_dict()


def test_validation_leaves_the_centre_alone_and_without_centring_it_stays_at_zero(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, objective = build(make_method)
    method.eval()(make_views(), step=0)
    assert not objective.centre.any()
    method.train()(make_views(), step=0)
    assert objective.centre.any()
    method, objective = build(make_method, centring=False)
    method.train()(make_views(), step=0)
    assert not objective.centre.any()


@pytest.mark.parametrize(("schedule", "momentum"), [("cosine", 0.95), ("constant", 0.9)])
def test_the_teacher_follows_by_the_momentum(
    schedule: str, momentum: float, make_method: MakeMethod
) -> None:
    method, objective = build(make_method, ema_momentum=0.9, ema_schedule=schedule)
    teacher, student = objective.teacher_prototypes.weight, objective.prototypes.weight
    assert torch.equal(teacher, student)
    assert not teacher.requires_grad
    assert method.target_encoder is not None
    before = teacher.clone()
    torch.nn.init.normal_(student)
    method.after_step(50, total_steps=100)
    torch.testing.assert_close(teacher, momentum * before + (1 - momentum) * student)
