"""Runs on a cluster that starts with no node for them, with Ray's own autoscaler.

Its nodes are processes here: the node provider that Ray tests its autoscaler with.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines import cluster
from pipelines.cluster import (
    ClusterTooSmallError,
    connected,
    demand_of,
    node_resources,
    wait_for_nodes,
)
from pipelines.config.run import ClusterConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STORE_BYTES = 100_000_000
HEAD = {"CPU": 0, "driver": 3}


def autoscaling(port: int) -> dict[str, object]:
    """A head without CPUs, as in cluster.yaml, and up to two nodes of 4 CPUs."""
    worker = {"CPU": 4, "object_store_memory": STORE_BYTES}
    commands = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    config = {
        "cluster_name": "test",
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": f"127.0.0.1:{port}",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": HEAD, "node_config": {}, "max_workers": 0},
            "cpu": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        **{f"{which}_commands": [] for which in commands},
        "cluster_synced_files": [],
        "file_mounts": {},
    }
    validate_config(prepare_config(config))
    return config


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Such a cluster, ended with all of its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A short path: Ray keeps sockets in it.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        config = Path(folder, "autoscaling.json")
        config.write_text(json.dumps(autoscaling(port)))
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": auth_mode(),
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--port={port}", f"--temp-dir={folder}", f"--autoscaling-config={config}"]
        command += ["--include-dashboard=false", f"--object-store-memory={STORE_BYTES}"]
        command += ["--num-cpus=0", "--resources", json.dumps({"driver": HEAD["driver"]})]
        log = Path(folder, "head.log")
        with log.open("w") as out:
            head = subprocess.Popen(
                command, env=environment, stdout=out, stderr=out, start_new_session=True
            )
        try:
            wait_until_up(head, log)
            yield f"127.0.0.1:{port}"
        finally:
            end(head)


@pytest.fixture(autouse=True)
def _in_step_with_a_quick_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS_HELD", 2.0)


def auth_mode() -> str:
    """As in this process, where an earlier Ray may have turned it on."""
    return os.environ.get("RAY_AUTH_MODE", "disabled")


def wait_until_up(head: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while "--block" not in log.read_text():
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def end(head: "subprocess.Popen[bytes]") -> None:
    """End the head and everything that came of it, by their ids."""
    processes = psutil.Process(head.pid).children(recursive=True)
    head.kill()
    head.wait()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def test_a_run_waits_until_the_autoscaler_has_brought_its_nodes(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # 2 × (2.5 + 1 + 0.1) CPUs, more than one node has.
    config = ClusterConfig(address=address, cpus_per_worker=2.5, num_workers=2, use_gpu=False)
    with (
        pytest.raises(ClusterTooSmallError, match=r"has 0 CPU\. No place for"),
        connected(config),
    ):
        pass
    patient = config.model_copy(update={"wait_minutes": 1.0})
    with connected(patient) as demand:
        assert demand == demand_of(config, use_gpu=False)
        assert sorted(n["CPU"] for n in node_resources()) == [0, 4, 4]
        assert ray.cluster_resources()["driver"] == HEAD["driver"]
        # Nothing is held by the wait itself.
        assert ray.available_resources()["CPU"] == 8
    assert "waiting for nodes, 1 of 60 s: no place for 2 × (2.5 CPU)" in capsys.readouterr().out


def test_what_others_use_is_not_counted_as_free(address: str) -> None:
    config = ClusterConfig(address=address, cpus_per_worker=2.5, use_gpu=False, wait_minutes=1.0)
    with connected(config) as demand:
        somebody: Any = ray.remote(num_cpus=4)(Somebody).remote()
        ray.get(somebody.ready.remote())
        wait_for_nodes([demand], minutes=1.0)
        assert len([n for n in node_resources() if n["CPU"]]) == 2
        with pytest.raises(ClusterTooSmallError, match=r"2 runs at once need .* others use"):
            wait_for_nodes([demand, demand], minutes=0.05)


def test_what_no_autoscaler_brings_is_refused_at_the_deadline(address: str) -> None:
    config = ClusterConfig(address=address, use_gpu=True, wait_minutes=0.05)
    words = r"Waited 0.05 minutes \(cluster.wait_minutes\).* no place for 1 × \(1 CPU, 1 GPU\)"
    with pytest.raises(ClusterTooSmallError, match=words), connected(config):
        pass


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_wish_for_nodes_with_it(address: str) -> None:
    """Else a cloud would go on paying for it."""
    code = (
        "from pipelines.cluster import connected; from pipelines.config.run import ClusterConfig\n"
        f"config = ClusterConfig(address={address!r}, use_gpu=True, wait_minutes=9)\n"
        "with connected(config): pass"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "RAY_AUTH_MODE": auth_mode()},
    )
    assert waiting.stdout is not None
    assert any(b"waiting for nodes" in line for line in waiting.stdout)
    waiting.kill()
    waiting.wait()
    with connected(
        ClusterConfig(address=address, cpus_per_worker=0.1, use_gpu=False, wait_minutes=1)
    ):
        deadline = time.monotonic() + 30
        while any(group["state"] == "PENDING" for group in groups()):
            assert time.monotonic() < deadline
            time.sleep(0.5)


def groups() -> list[dict[str, str]]:
    return list(ray.util.placement_group_table().values())


class Somebody:
    """A process of others."""

    def ready(self) -> bool:
        return True
