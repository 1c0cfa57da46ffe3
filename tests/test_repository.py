"""The files that a repository is expected to have, held against what they speak of."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_library_needs_torch_and_jaxtyping_alone() -> None:
    names = {line.partition(">")[0] for line in PROJECT["dependencies"]}
    assert names == {"jaxtyping", "torch"}


def test_what_installs_the_commands_installs_the_extra() -> None:
    assert "'.[pipelines]'" in (ROOT / "Dockerfile").read_text()
    assert "'.[pipelines]'" in (ROOT / "docs" / "cluster.md").read_text()
    setup = "\n".join(yaml.safe_load((ROOT / "cluster.yaml").read_text())["setup_commands"])
    assert "--requirement ~/adassl/pyproject.toml --extra pipelines" in setup


def test_the_image_copies_files_that_are_there_and_not_ignored() -> None:
    copied = [
        name
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY")
        for name in line.split()[1:-1]
    ]
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_version_is_the_packages() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "pipelines", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"adassl {version('adassl')}\n"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert len(citation["references"]) == 2


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n"
    )
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    refused = subprocess.run(
        [sys.executable, "-m", "pipelines", "--version"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert refused.returncode == 1
    assert refused.stderr == ("adassl: typer is not installed; pip install 'adassl[pipelines]'\n")


def test_ci_runs_what_developers_run() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["test"]["steps"]
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_page_is_in_the_navigation() -> None:
    navigation = str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    pages = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")]
    assert [str(p) for p in pages if str(p) not in navigation] == []
