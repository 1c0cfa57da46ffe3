"""The library as its users have it: by `from adassl import …`, with torch and jaxtyping alone."""

import json
import math
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import adassl
from adassl import MethodConfig, Objective, Views, build_method

ROOT = Path(__file__).parents[2]


def modules_of(*distributions: str) -> set[str]:
    """Top-level modules of distributions and of everything that they require."""
    tops: dict[str, set[str]] = {}
    for top, names in metadata.packages_distributions().items():
        for name in names:
            tops.setdefault(re.sub("[-_.]+", "-", name).lower(), set()).add(top)
    found, waiting = set(), list(distributions)
    while waiting:
        name = re.sub("[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[^\w.-]", r)[0] for r in required if "extra ==" not in r]
    return {top for name in found for top in tops.get(name, set())}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `library.py` prints."""
    allowed = json.dumps(sorted(modules_of("torch", "jaxtyping") | {"adassl", "__main__"}))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("library.py")), allowed],
        cwd=tmp_path_factory.mktemp("library"),
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_importing_changes_nothing_and_takes_torch_in_at_the_first_name(
    library: dict[str, Any],
) -> None:
    assert library["without_torch"]
    assert library["unchanged"]


def test_every_public_name_is_there_and_nothing_else_was_needed(library: dict[str, Any]) -> None:
    assert all(library["all"].values())
    assert not {"numpy", "pydantic", "ray", "pipelines"} & set(library["modules"])
    assert set(library["all"]) == set(adassl.__all__) <= set(dir(adassl))
    with pytest.raises(AttributeError, match="no attribute 'InfoMCE'"):
        _ = adassl.InfoMCE  # type: ignore[attr-defined]


def test_what_no_page_has_shown_to_help_is_not_public() -> None:
    assert not {"MixtureLatent", "rate_divergence", "free_bits"} & set(adassl.__all__)


def test_every_objective_takes_plain_tensors(library: dict[str, Any]) -> None:
    objectives = {name for name in adassl.__all__ if name in library["losses"]}
    assert len(objectives) == 15
    for values in library["losses"].values():
        assert all(map(math.isfinite, values))


def test_any_encoder_of_images_trains(library: dict[str, Any]) -> None:
    for values in library["trained"].values():
        assert all(map(math.isfinite, values))
    assert library["images"] == [2, 3, 8, 8]


def test_latents_draw_their_own_noise_unless_given_some(library: dict[str, Any]) -> None:
    assert library["drawn_noise"]


MESSAGES = {
    "target": ("target of shape (8, 4)", "must be [8, 6]", "give one embedding a pair"),
    "context": ("context of shape (5, 6)", "must be [8, 6]"),
    "maps": ("edited of shape (8, 6, 1)", "give one embedding a pair"),
    "group": ("group of shape (3,)", "must be [8]", "one video number a pair"),
    "weights": ("weights of shape (3, 6)", "must be [8, 6]", "a row of weights for each anchor"),
    "reverse": ("edited_target without context", "pass it as context="),
    "encoder-maps": ("output of shape (4, 20, 6, 6)", "must be [4, 20]", "pool and flatten"),
    "encoder-size": ("output of shape (4, 16)", "must be [4, 20]", "state its size as output_dim"),
    "views": ("target of shape (2, 3, 8, 9)", "must be [2, 3, 8, 8]", "cut and resize"),
    "views-batch": ("target of shape (3, 5)", "must be [2, 5]"),
    "latent": ("context_embedding of shape (8, 6)", "must be [batch, 8]", "as embedding_dim"),
    "latent-next": ("target_embedding of shape (2, 6)", "must be [8, 6]"),
    "editor": ("latent of shape (8, 4)", "must be [8, 3]", "as latent_dim"),
    "editor-without-r": ("latent=None", "latent_dim=3", "latent_dim=0"),
    "editor-embedding": ("embedding of shape (8, 6)", "must be [batch, 8]", "as embedding_dim"),
    "augment": ("clips of shape (8, 6)", "must be [batch, channels, height, width] or"),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_wrong_shape_is_named_with_the_remedy(case: str, library: dict[str, Any]) -> None:
    assert set(library["messages"]) == set(MESSAGES)
    for part in MESSAGES[case]:
        assert part in library["messages"][case]


class Distance(Objective):
    """A loss of a user's own, which names what it uses."""

    def forward(self, edited: torch.Tensor, target: torch.Tensor, **_: Any) -> torch.Tensor:
        return (edited - target).square().mean()


def test_an_objective_of_the_user_s_own_takes_the_place_of_the_config_s() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    config = MethodConfig(embedding_dim=8, latent_dim=2, beta=0.0)
    method = build_method(encoder, output_dim=10, config=config, objective=Distance()).eval()
    views = Views(context=torch.randn(4, 3, 2, 2), target=torch.randn(4, 3, 2, 2))
    output = method(views, step=0, generator=torch.Generator().manual_seed(0))
    target = method.encode(views.target).embedding
    assert output.latent is not None
    edited = method.edit(method.encode(views.context).embedding, output.latent.value)
    torch.testing.assert_close(output.loss, (edited - target).square().mean())


def python_blocks(text: str, heading: str) -> list[str]:
    """The Python code below a heading, up to the next of its level."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


def test_the_readme_s_loop_and_parts_run() -> None:
    loop, parts = python_blocks((ROOT / "README.md").read_text(), "As a library")
    lines = [line for line in loop.splitlines() if line and "import" not in line]
    assert len(lines) <= 10
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 512))
    pairs = torch.randn(4, 2, 8, 3, 6, 6)
    known: dict[str, Any] = {"encoder": encoder, "loader": [tuple(pair) for pair in pairs]}
    exec(compile(loop, "README.md", "exec"), known)
    assert known["h"].shape == (8, 512)
    assert math.isfinite(known["loss"].item())
    exec(
        compile(parts, "README.md", "exec"),
        known | {"z": torch.randn(8, 128), "z_next": torch.randn(8, 128)},
    )
