"""The import rule: who may import whom, and that nothing happens on import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    p for top in ("adassl", "pipelines", "tune_spaces") for p in (ROOT / top).rglob("*.py")
)

LAYERS = (
    {"pipelines.__main__"},
    {"pipelines.cli"},
    {"pipelines.sweep", "pipelines.experiments", "pipelines.library"},
    {"pipelines.trials"},
    {"pipelines.job"},
    {"pipelines.evaluation"},
    {"pipelines.training"},
    {"pipelines.recipes"},
    {"pipelines.pairs"},
    {"pipelines.video", "pipelines.sources"},
    {"pipelines.cluster"},
    {"pipelines.storage"},
    {"pipelines.config"},
    {"adassl"},
    {"pipelines.errors", "pipelines.numbers", "pipelines.progress", "pipelines.worker_setup"},
)
"""From the top down. A module imports from its own package and from the layers below it; packages
of one layer never import each other."""
LEAVES = {
    "pipelines.tracking": {"pipelines.errors"},
    "pipelines.figures": {"pipelines.errors", "pipelines.numbers"},
    "tune_spaces": set[str](),
}
"""Packages that any layer but `adassl` may use, and all that they may import themselves."""

ONLY_IN = {
    "decord": {"pipelines.video.decord_reader"},
    "mlflow": {"pipelines.tracking"},
    "ray.data": {"pipelines.video.stream", "pipelines.library.embed"},
    "ray.train": {"pipelines.training"},
    "ray.tune": {"pipelines.trials", "pipelines.sweep"},
}
ADASSL_MAY_IMPORT = {"adassl", "torch", "jaxtyping"}
LONGEST_FILE = 400


def module_of(path: Path) -> str:
    """Its dotted name."""
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


NAMES = {module_of(path) for path in MODULES}


def imports_of(path: Path) -> set[str]:
    """The modules that a module imports, those inside functions and type checks included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` is of the module, `from module import name` of the module
            found |= {name if name in NAMES else node.module for name in names}
    return found


def home_of(module: str) -> str:
    """The package of the rule that a module belongs to: `pipelines.video`, `adassl`."""
    top, _, rest = module.partition(".")
    return f"{top}.{rest.partition('.')[0]}" if top == "pipelines" and rest else top


def breaks_of(module: str, imports: set[str]) -> list[str]:
    """What is wrong with what a module imports."""
    level = {home: i for i, homes in enumerate(LAYERS) for home in homes}
    home = home_of(module)
    wrong = []
    for other in sorted(map(home_of, imports)):
        if other == home or other.partition(".")[0] not in ("adassl", "pipelines", "tune_spaces"):
            continue
        if home == "adassl":
            allowed = False
        elif home in LEAVES:
            allowed = other in LEAVES[home]
        elif other in LEAVES:
            allowed = True
        else:
            allowed = level[home] < level[other]
        if not allowed:
            wrong.append(f"{module} imports {other}")
    for package, places in ONLY_IN.items():
        if any(i == package or i.startswith(package + ".") for i in imports) and not any(
            module == place or module.startswith(place + ".") for place in places
        ):
            wrong.append(f"{module} imports {package}")
    return wrong


@pytest.mark.parametrize(
    ("module", "imports"),
    [
        ("pipelines.video.stream", {"pipelines.training.learner"}),
        ("pipelines.sweep.job", {"pipelines.experiments.job"}),
        ("pipelines.experiments.job", {"pipelines.sweep.job"}),
        ("pipelines.tracking.uri", {"pipelines.config.run"}),
        ("pipelines.figures.text", {"pipelines.sweep.report.axes"}),
        ("adassl.method", {"pipelines.errors"}),
        ("pipelines.job", {"ray.tune.schedulers"}),
    ],
)
def test_the_rule_refuses(module: str, imports: set[str]) -> None:
    assert breaks_of(module, imports)


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_run_one_way(path: Path) -> None:
    module, imports = module_of(path), imports_of(path)
    assert not breaks_of(module, imports)
    if home_of(module) == "adassl":
        tops = {name.partition(".")[0] for name in imports}
        assert tops - set(sys.stdlib_module_names) <= ADASSL_MAY_IMPORT
    assert path.name not in {"utils.py", "misc.py", "common.py", "helpers.py"}
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_no_import_runs_in_a_circle() -> None:
    graph = {
        module_of(path): {name for name in imports_of(path) if name in NAMES} for path in MODULES
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join([*above[above.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_importing_everything_starts_nothing(tmp_path: Path) -> None:
    names = sorted(name for name in NAMES if not name.endswith("__main__"))
    code = (
        "import importlib, threading\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "import ray; assert not ray.is_initialized()\n"
        "import torch.distributed as d; assert not d.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
