import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from adassl.method import Method
from adassl.objectives.swav import SwAV, sinkhorn, swav
from adassl.optim import build_adamw
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_sinkhorn(scores: torch.Tensor, epsilon: float, iterations: int) -> NDArray[np.float64]:
    """Rows and columns scaled in turn to the marginals 1/K and 1/B, without logarithms."""
    q = np.exp(scores.double().numpy() / epsilon).T
    num_prototypes, batch = q.shape
    for _ in range(iterations):
        for k in range(num_prototypes):
            q[k] *= 1 / num_prototypes / q[k].sum()
        for b in range(batch):
            q[:, b] *= 1 / batch / q[:, b].sum()
    return np.asarray(q.T * batch)


def cosines(rows: int = 8, prototypes: int = 5) -> torch.Tensor:
    return normalize(torch.randn(rows, 4), dim=1) @ normalize(torch.randn(prototypes, 4), dim=1).T


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_codes_equal_the_slow_loop(epsilon: float, iterations: int) -> None:
    scores = cosines()
    codes = sinkhorn(scores, epsilon=epsilon, iterations=iterations)
    expected = torch.from_numpy(slow_sinkhorn(scores, epsilon, iterations)).float()
    torch.testing.assert_close(codes, expected, rtol=1e-4, atol=1e-6)


def test_codes_sum_to_one_and_use_every_prototype_alike() -> None:
    codes = sinkhorn(cosines(12, 4), epsilon=0.5, iterations=200)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(codes.sum(dim=0), torch.full((4,), 3.0))


def test_a_small_epsilon_does_not_overflow() -> None:
    codes = sinkhorn(cosines(), epsilon=1e-3, iterations=3)
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(8))


def test_the_swapped_prediction_equals_the_slow_loop() -> None:
    scores, codes = cosines(), torch.rand(8, 5).softmax(dim=1)
    total = 0.0
    for s, q in zip(scores.double().numpy() / 0.1, codes.double().numpy(), strict=True):
        total -= float(q @ np.log(np.exp(s) / np.exp(s).sum()))
    assert swav(scores, codes, temperature=0.1).item() == pytest.approx(total / 8, rel=1e-5)


def build(make_method: MakeMethod, **changes: Any) -> tuple[Method, SwAV]:
    method = make_method(objective="swav", **changes)
    assert isinstance(method.objective, SwAV)
    return method, method.objective


def slow_loss(method: Method, views: Views, queues: list[torch.Tensor], both: bool) -> float:
    """Every crop's scores against the codes of each other view, those balanced with its queue."""
    assert isinstance(method.objective, SwAV)
    crops = (views.context, views.target, *([] if views.local is None else views.local))
    z = [normalize(method.encode(x).embedding, dim=1) for x in crops]
    prototypes = normalize(method.objective.prototypes.weight, dim=1)
    losses = []
    for other in (0, 1) if both else (1,):
        rows = torch.cat([z[other], queues[other]])
        codes = slow_sinkhorn((rows @ prototypes.T).detach(), 0.05, 3)[: len(z[other])]
        for source in (v for v in range(len(z)) if v != other):
            scores = (z[source] @ prototypes.T / 0.1).detach().double().numpy()
            log = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
            losses.append(-(codes * log).sum(axis=1).mean())
    return float(np.mean(losses))


@pytest.mark.parametrize("crops", [0, 3])
@pytest.mark.parametrize("surrogate", [False, True])
def test_each_view_and_each_small_crop_predicts_the_other_s_code(
    surrogate: bool, crops: int, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, _ = build(make_method)
    views = make_views(surrogate=surrogate, crops=crops)
    none = [torch.zeros(0, 8)] * 2
    expected = slow_loss(method.eval(), views, none, both=not surrogate)
    assert method(views, step=0).loss.item() == pytest.approx(expected, rel=1e-4)


def test_no_gradient_goes_through_the_codes(make_method: MakeMethod, make_views: MakeViews) -> None:
    method, objective = build(make_method)
    views = make_views()
    z = method.eval().encoder(torch.cat([views.context, views.target])).embedding
    reverse = torch.cat(z.detach().chunk(2)[::-1])
    codes = torch.cat(
        [sinkhorn(objective.prototypes(c), epsilon=0.05, iterations=3) for c in reverse.chunk(2)]
    )
    expected = swav(objective.prototypes(z), codes, temperature=0.1)
    parameters = list(method.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(method(views, step=0).loss, parameters),
        torch.autograd.grad(expected, parameters),
    )


def test_the_queue_holds_the_latest_pairs_and_balances_the_codes(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, objective = build(make_method, queue_size=24)
    method.eval()
    objective.train()  # the queue moves, the BatchNorms do not
    assert objective.queue is not None
    assert not objective.queue.any()
    seen: list[list[torch.Tensor]] = [[], []]
    for step in range(3):
        views = make_views(seed=step)
        queues = [torch.cat([torch.zeros(0, 8), *rows])[:24] for rows in seen]
        expected = slow_loss(method, views, queues, both=True)
        assert method(views, step=step).loss.item() == pytest.approx(expected, rel=1e-4)
        for rows, clips in zip(seen, (views.context, views.target), strict=True):
            rows.insert(0, normalize(method.encode(clips).embedding.detach(), dim=1))
        latest = torch.stack([torch.cat(rows)[:24] for rows in seen])
        torch.testing.assert_close(objective.queue[:, : latest.shape[1]], latest)
        assert not objective.queue[:, latest.shape[1] :].any()


def test_validation_leaves_the_queue_alone(make_method: MakeMethod, make_views: MakeViews) -> None:
    method, objective = build(make_method, queue_size=24)
    method(make_views(), step=0)
    assert objective.queue is not None
    before = objective.queue.clone()
    assert before.any()
    method.eval()(make_views(seed=1), step=1)
    assert torch.equal(objective.queue, before)


def test_a_run_with_a_queue_is_resumed_exactly(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    def train(method: Method, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
        losses = []
        for step in steps:
            loss = method(make_views(seed=step), step=step).loss
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
        return losses

    straight, resumed = (build(make_method, seed=seed, queue_size=40)[0] for seed in (0, 1))
    first, second = (build_adamw(m, lr=0.01, weight_decay=0.0) for m in (straight, resumed))
    train(straight, first, range(2))
    saved = copy.deepcopy((straight.state_dict(), first.state_dict()))
    expected = train(straight, first, range(2, 5))
    resumed.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    assert train(resumed, second, range(2, 5)) == expected
    assert "objective.queue" in saved[0]


def test_without_a_queue_there_is_none_in_the_state(make_method: MakeMethod) -> None:
    assert "objective.queue" not in build(make_method)[0].state_dict()
