"""Small methods and batches for the tests of `adassl`, with run-time shape checks turned on."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest

# Before anything of adassl is imported: the hook rewrites modules as they load.
jaxtyping.install_import_hook("adassl", "beartype.beartype")

import torch  # noqa: E402

from adassl.backbones import build_backbone  # noqa: E402
from adassl.build import build_method  # noqa: E402
from adassl.config import MethodConfig  # noqa: E402
from adassl.method import Method  # noqa: E402
from adassl.views import Views  # noqa: E402

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


@pytest.fixture(autouse=True)
def _quiet_torch() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def make_views() -> MakeViews:
    """Correlated vector pairs of 12 numbers, several pairs to a video."""

    def make(batch: int = 16, *, surrogate: bool = False, crops: int = 0, seed: int = 0) -> Views:
        generator = torch.Generator().manual_seed(seed)
        context, *steps = (torch.randn(batch, 12, 1, 1, 1, generator=generator) for _ in range(3))
        target = context + 0.5 * steps[0]
        return Views(
            context=context,
            target=target,
            surrogate=target + 0.5 * steps[1] if surrogate else None,
            local=context + torch.randn(crops, *context.shape, generator=generator)
            if crops
            else None,
            group=torch.arange(batch) // 2,
        )

    return make


@pytest.fixture
def make_method() -> MakeMethod:
    """A method around a small MLP; the defaults are those of the smallest baseline."""

    def make(*, seed: int = 0, **changes: Any) -> Method:
        settings: dict[str, Any] = {
            "latent": "none",
            "editor": "identity",
            "latent_dim": 4,
            "embedding_dim": 8,
            "beta_warmup_steps": 0,
            "num_prototypes": 12,
            "projector_hidden_dims": (16,),
            "predictor_hidden_dims": (16,),
            "latent_hidden_dims": (16,),
            "editor_hidden_dims": (16,),
        } | changes
        if settings["editor"] == "additive":
            settings["latent_dim"] = settings["embedding_dim"]
        torch.manual_seed(seed)
        backbone = build_backbone("mlp", input_shape=(12, 1, 1, 1), hidden_dims=(16, 10))
        return build_method(
            backbone, output_dim=backbone.output_dim, config=MethodConfig(**settings)
        )

    return make
