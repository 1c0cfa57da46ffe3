"""`adassl doctor`: what this machine and cluster can run, and what is missing."""

import importlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

Verdict = Literal["ok", "note", "missing"]
PACKAGES = ("ray", "torch", "pyarrow", "decord2", "av", "mlflow", "scikit-learn", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    what: str
    verdict: Verdict
    text: str


def examine(address: str | None = None) -> list[Finding]:
    """Look at Python, the packages, the hardware and, where one is named, the cluster."""
    findings = [
        Finding(what="python", verdict="ok", text=platform.python_version()),
        *_packages(),
        _decord(),
        *_hardware(),
        _cluster(address or os.environ.get("RAY_ADDRESS")),
        _tracking(),
    ]
    return findings


def _packages() -> list[Finding]:
    findings = []
    for package in PACKAGES:
        try:
            findings.append(Finding(what=package, verdict="ok", text=version(package)))
        except PackageNotFoundError:
            text = f"not installed: pip install {package}"
            findings.append(Finding(what=package, verdict="missing", text=text))
    try:
        old = version("decord")
        text = f"decord {old} is installed too; both write the same files: pip uninstall decord, "
        findings.append(
            Finding(what="decord", verdict="missing", text=text + "then reinstall decord2")
        )
    except PackageNotFoundError:
        pass
    return findings


def _decord() -> Finding:
    try:
        importlib.import_module("pipelines.video.decode")
    except (ImportError, OSError) as error:
        return Finding(what="video decoding", verdict="missing", text=str(error))
    return Finding(what="video decoding", verdict="ok", text="decord loads")


def _hardware() -> list[Finding]:
    import psutil
    import torch

    memory = psutil.virtual_memory().total / 2**30
    cores = os.cpu_count() or 1
    findings = [Finding(what="machine", verdict="ok", text=f"{cores} cores, {memory:.0f} GiB")]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        findings.append(Finding(what="GPU", verdict="ok", text=", ".join(names)))
    else:
        text = f"none that torch {torch.__version__} can use: training runs on the CPU"
        findings.append(Finding(what="GPU", verdict="note", text=text))
        findings.append(_bfloat16())
    return findings


def _bfloat16() -> Finding:
    import torch

    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if known.get("avx512_bf16") or known.get("amx_bf16"):
        text = "in hardware: train.precision=bfloat16 trains faster than float32"
        return Finding(what="bfloat16", verdict="ok", text=text)
    text = "in software at best: train.precision=bfloat16 trains many times slower than float32"
    return Finding(what="bfloat16", verdict="note", text=text)


def _cluster(address: str | None) -> Finding:
    if not address:
        text = "no RAY_ADDRESS: runs start a Ray of their own on this machine"
        return Finding(what="cluster", verdict="ok", text=text)
    import ray

    from pipelines.cluster import connected, node_resources
    from pipelines.config.run import ClusterConfig, ConfigError

    try:
        with connected(ClusterConfig(address=address, cpus_per_worker=0.1)):
            totals = ray.cluster_resources()
            nodes = len(node_resources())
    except ConfigError as error:
        return Finding(what="cluster", verdict="missing", text=str(error))
    text = f"{address}: {nodes} nodes, {totals.get('CPU', 0):g} CPUs, {totals.get('GPU', 0):g} GPUs"
    return Finding(what="cluster", verdict="ok", text=text)


def _tracking() -> Finding:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    text = "MLFLOW_TRACKING_URI is set" if uri else "SQLite beside the runs"
    return Finding(what="tracking", verdict="ok", text=text)
