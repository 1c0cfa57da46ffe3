"""A Ray cluster as people make one: a head and further nodes, each by a `ray start` of its own.

All on this machine, but nothing is shared: every node has an address on loopback and a folder of
its own. Two nodes in one folder would delete each other's copies of a job's code.
"""

import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

RAY = (sys.executable, "-m", "ray.scripts.scripts")
_STORE_BYTES = 200_000_000
_MARK = "ADASSL_TEST_NODE"
"""In the environment of every process of a node, with the node's folder."""


class Cluster:
    """Its nodes, and what a user of it needs to know."""

    def __init__(self, folder: Path) -> None:
        """Without nodes yet; the folder's path must be short, for Ray keeps sockets under it."""
        self.folder = folder
        self.token = folder / "token"
        self.token.write_text(secrets.token_hex(32))
        port, self._dashboard_port, self._client_port = _free_ports(3)
        self.address = f"127.0.0.2:{port}"
        self.dashboard = f"http://127.0.0.1:{self._dashboard_port}"
        self.head = folder / "2"
        self.workers: list[Path] = []
        """The folders of the nodes beside the head; a node is known by its folder."""
        self._nodes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """Of a user who has the token, and has activated the tests' own environment."""
        rest = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{rest.get('PATH', '')}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        as_tests = {"RAY_worker_niceness": "0"}  # else Ray's processes give way to the other tests
        return {**rest, **token, **as_tests, "RAY_API_SERVER_ADDRESS": self.dashboard, "PATH": path}

    def start_head(self) -> None:
        """The head: no CPUs, for nothing that computes is to run there, but places for drivers."""
        self._start(
            "--head",
            f"--port={self.address.rpartition(':')[2]}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self._dashboard_port}",
            f"--ray-client-server-port={self._client_port}",
            "--num-cpus=0",
            '--resources={"driver": 100}',
        )

    def add_node(self, num_cpus: int) -> None:
        """One more machine."""
        node = self._start(f"--address={self.address}", f"--num-cpus={num_cpus}")
        self.workers.append(node)

    def ray(
        self, *arguments: str, cwd: Path | None = None, changed: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A `ray` command, as a user gives it; what it says is all in stdout.

        `changed` variables of the environment are those of another user.
        """
        return subprocess.run(
            [*RAY, *arguments],
            cwd=cwd,
            env={**self.environment, **(changed or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def start_job(self, name: str, *arguments: str, folder: Path) -> None:
        """`adassl` as a job, with the code of a folder; not waited for."""
        options = ("--working-dir", ".", "--no-wait", f"--submission-id={name}")
        adassl = ("python", "-m", "pipelines", *arguments)
        done = self.ray("job", "submit", *options, "--", *adassl, cwd=folder)
        assert done.returncode == 0, done.stdout[-4000:]

    def job_output(self, name: str) -> str:
        """What a job printed to its good end."""
        printed = self.ray("job", "logs", "--follow", name).stdout
        status = self.ray("job", "status", name).stdout
        assert "SUCCEEDED" in status.upper(), printed[-4000:]
        return printed

    def processes(self, folder: Path | None = None) -> list[psutil.Process]:
        """What runs under a node's folder, or anywhere in the cluster, jobs' drivers included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, KeyError):
                if Path(process.environ()[_MARK]).is_relative_to(folder or self.folder):
                    found.append(process)
        return found

    def drivers(self) -> list[psutil.Process]:
        """The trainings and sweeps that jobs run on the head."""
        found = []
        for process in self.processes(self.head):
            with suppress(psutil.Error):
                found += [process] if process.cmdline()[1:3] == ["-m", "pipelines"] else []
        return found

    def titles(self, folder: Path) -> set[str]:
        """The kinds of Ray processes that a node runs, such as RayTrainWorker."""
        found = set()
        for process in self.processes(folder):
            with suppress(psutil.Error):
                kind = re.match(r"ray::(\w+)", " ".join(process.cmdline()))
                found |= {kind[1]} if kind else set()
        return found

    def with_process(self, kind: str) -> Path:
        """A node, beside the head, that runs a process of this kind."""
        return next(folder for folder in self.workers if kind in self.titles(folder))

    def kill(self, folder: Path | None = None) -> None:
        """End a node, or everything, at once and without a word, as when the power goes."""
        self.workers = [each for each in self.workers if folder not in (each, None)]
        deadline = time.monotonic() + 30
        while left := self.processes(folder):
            assert time.monotonic() < deadline, left
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
        for node in self._nodes:
            node.poll()

    def _start(self, *options: str) -> Path:
        number = 2 + len(self._nodes)
        ip, folder = f"127.0.0.{number}", self.folder / str(number)
        log = folder.with_suffix(".log")
        (agent_port,) = _free_ports(1)
        common = [
            f"--node-ip-address={ip}",
            f"--dashboard-agent-listen-port={agent_port}",
            f"--object-store-memory={_STORE_BYTES}",
            "--min-worker-port=0",  # any that is free
            "--max-worker-port=0",
            "--disable-usage-stats",
            f"--temp-dir={folder}",
            "--block",
        ]
        with log.open("w") as out:
            node = subprocess.Popen(
                [*RAY, "start", *options, *common],
                env={**self.environment, _MARK: str(folder)},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._nodes.append(node)
        deadline = time.monotonic() + 120
        while "--block" not in log.read_text() or not _answers(ip, agent_port):
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        return folder


@contextmanager
def cluster(num_cpus: int) -> Iterator[Cluster]:
    """A head and one more node, of which nothing is left afterwards."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        try:
            made.start_head()
            made.add_node(num_cpus)
            yield made
        finally:
            made.kill()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _answers(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
