import pytest

from pipelines.cluster import ClusterTooSmallError, Demand, check_fits


def demand(workers: int = 2, cpus: float = 1.0, gpus: int = 0, decoders: int = 2) -> Demand:
    return Demand(
        num_workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus, num_decoders=decoders
    )


def node(cpu: float, gpu: float = 0.0) -> dict[str, float]:
    return {"CPU": cpu, "GPU": gpu}


def test_what_fits_is_let_through() -> None:
    check_fits(demand(), [node(4.2)])
    check_fits(demand(), [node(3), node(2)])
    check_fits(demand(gpus=1), [node(4), node(4, gpu=2)])
    check_fits(demand(workers=1, cpus=0.4, decoders=1), [node(2)])


@pytest.mark.parametrize(
    ("asked", "nodes", "words"),
    [
        (demand(), [node(3)], r"No place for 1 × \(1 CPU\)"),
        (demand(), [node(2)], r"2 × \(1 CPU\)"),
        (demand(gpus=1), [node(16, gpu=1)], r"1 × \(1 CPU, 1 GPU\)"),
        (demand(cpus=4), [node(3), node(3), node(3)], r"2 × \(4 CPU\)"),
        (demand(), [], "has no node"),
    ],
)
def test_what_does_not_fit_is_named(
    asked: Demand, nodes: list[dict[str, float]], words: str
) -> None:
    with pytest.raises(ClusterTooSmallError, match=words):
        check_fits(asked, nodes)


def test_totals_that_would_do_are_not_enough_when_no_node_holds_a_worker() -> None:
    with pytest.raises(ClusterTooSmallError):
        check_fits(demand(workers=1, cpus=3, decoders=1), [node(2), node(2), node(2)])


def test_several_runs_at_once_are_placed_together() -> None:
    pair = [demand(workers=1, decoders=1), demand(workers=1, decoders=1, gpus=1)]
    check_fits(pair, [node(3), node(2, gpu=1)])
    with pytest.raises(
        ClusterTooSmallError, match=r"2 runs at once need .*No place for 1 × \(1 CPU"
    ):
        check_fits(pair, [node(1), node(2, gpu=1)])
    with pytest.raises(ClusterTooSmallError, match=r"3 × \(1 workers of 1 CPUs"):
        check_fits([demand(workers=1, decoders=1)] * 3, [])
