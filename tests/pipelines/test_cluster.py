import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cluster import (
    ClusterTooSmallError,
    Demand,
    check_fits,
    connected,
    demand_of,
    fair_share,
)
from pipelines.config.run import ClusterConfig, ConfigError


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
    with pytest.raises(ClusterTooSmallError, match=r"3 × \(1 worker of 1 CPU"):
        check_fits([demand(workers=1, decoders=1)] * 3, [])


@pytest.mark.parametrize(
    ("at_once", "nodes", "most"),
    [(1, [node(2)] * 4, 4), (2, [node(2)] * 4, 2), (2, [node(2)] * 3, 0), (1, [node(2)], 0)],
)
def test_trials_whose_groups_grow_share_the_nodes(
    at_once: int, nodes: list[dict[str, float]], most: int
) -> None:
    elastic = demand_of(ClusterConfig(num_workers=(1, 4)), use_gpu=False)
    assert elastic.is_elastic
    assert str(elastic).startswith("at least 1 worker of 1 CPU, 1 decoder")
    shared = fair_share(elastic, nodes, at_once=at_once)
    assert (shared.num_workers, shared.most_workers) == (1, most)
    assert shared.is_group == (most > 1)
    assert fair_share(demand(), nodes, at_once=1).num_workers == 2


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:8265", "an address of the dashboard"),
        ("ray://127.0.0.1:10001", "an address of Ray Client"),
        ("127.0.0.1:9", "Connection refused"),
    ],
)
def test_an_address_where_no_head_listens_is_refused_without_a_wait(
    address: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # whatever other tests have started
    monkeypatch.setenv("RAY_ADDRESS", address)
    refusal = f"cannot join a Ray cluster at {address}: .*{words}"
    with pytest.raises(ConfigError, match=refusal), connected(ClusterConfig()):
        pass


def refusal(before: str, **env: str) -> str:
    """What a process that starts a Ray of its own says, after these statements."""
    code = (
        f"import sys; {before or 'pass'}; from pipelines.cluster import connected\n"
        "from pipelines.config.run import ClusterConfig, ConfigError\n"
        "try:\n    connected(ClusterConfig()).__enter__()\n"
        "except ConfigError as error:\n    print(error)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, **env},
    ).stdout


def test_a_place_where_ray_cannot_start_is_refused(tmp_path: Path) -> None:
    assert "path length" in (said := refusal("", RAY_TMPDIR=str(tmp_path / ("long" * 20))))
    assert "Set RAY_TMPDIR to a folder" in said
    said = refusal("sys.executable = '/home/a user/python'")
    assert "cannot start workers with the Python at '/home/a user/python'" in said
