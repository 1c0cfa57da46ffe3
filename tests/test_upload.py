"""What `ray job submit --working-dir .` uploads: the code, within a mebibyte."""

import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).parent.parent
PACKAGES = ("adassl", "pipelines", "tune_spaces")
MIB = 2**20

DECOYS = (
    ".git/objects/pack/pack-1.pack",
    ".venv/lib/python3.12/site-packages/torch/lib/libtorch.so",
    "env/bin/python",
    "runs/first/checkpoint_000001/state.pt",
    "demo/videos/0001.mp4",
    "holiday.mp4",
    "footage/walk.mkv",
    "pipelines/clip.mov",
    "bench/clip.mp4",
    "videos.parquet",
    "mlflow.db",
    "mlartifacts/1/model.pt",
    "adassl/__pycache__/heads.cpython-312.pyc",
    ".mypy_cache/3.12/cache.db",
    "weights.ckpt",
    ".env",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is or would be committed, and what gathers around it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in DECOYS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * MIB)
    return folder


def tracked() -> list[str]:
    """The files of the checkout that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:  # no checkout, but an archive of one
        code = [path for top in PACKAGES for path in (ROOT / top).rglob("*.py")]
        files = [*code, *ROOT.glob("*.*"), *ROOT.glob(".*ignore")]
        return [path.relative_to(ROOT).as_posix() for path in files if path.is_file()]
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def uploaded(folder: Path, out: Path) -> set[str]:
    """The names in the package that the job client makes of a folder."""
    create_package(
        str(folder), out, include_gitignore=True, excludes=get_runtime_env_default_excludes()
    )
    with ZipFile(out) as package:
        return set(package.namelist())


def test_the_code_goes_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    names = uploaded(checkout, tmp_path / "package.zip")
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, "pyproject.toml"}
    assert not names & set(DECOYS)
    ours = {name for name in tracked() if name.partition("/")[0] in PACKAGES}
    assert ours <= names
    assert (tmp_path / "package.zip").stat().st_size <= 2 * MIB


def test_without_the_list_it_would_not_hold(checkout: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(checkout, tmp_path / "bare")
    (bare / ".rayignore").unlink()
    names = uploaded(bare, tmp_path / "package.zip")
    assert {"weights.ckpt", ".env"} <= names
    assert any(name.startswith("tests/") for name in names)
