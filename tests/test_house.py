"""Who may import whom, and that nothing happens on import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    p for top in ("adassl", "pipelines", "tune_spaces") for p in (ROOT / top).rglob("*.py")
)

ONLY_IN = {
    "decord": {"pipelines/video/decode.py"},
    "mlflow": {"pipelines/tracking/service.py", "pipelines/tracking/encoder.py"},
    "ray.data": {"pipelines/video/stream.py"},
    "ray.train": {"pipelines/train.py"},
    "ray.tune": {
        f"pipelines/sweep/{name}.py" for name in ("conductor", "job", "pruning", "search", "trial")
    },
}
METHOD_MAY_IMPORT = {"adassl", "torch", "jaxtyping"}


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_are_modules() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_to_the_house(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    imports = imports_of(path)
    tops = {i.partition(".")[0] for i in imports}
    if name.startswith("adassl/"):
        assert tops - set(sys.stdlib_module_names) <= METHOD_MAY_IMPORT
    if name.startswith("tune_spaces/"):
        assert "adassl" not in tops
    for package, places in ONLY_IN.items():
        if any(i == package or i.startswith(package + ".") for i in imports):
            assert name in places, f"{name} imports {package}"
    assert path.name not in {"utils.py", "misc.py", "common.py", "helpers.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_importing_everything_starts_nothing(tmp_path: Path) -> None:
    names = [
        p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for p in MODULES
        if p.name != "__main__.py"
    ]
    code = (
        "import importlib, threading\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "import ray; assert not ray.is_initialized()\n"
        "import torch.distributed as d; assert not d.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
