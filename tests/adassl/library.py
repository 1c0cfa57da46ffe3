"""What a user of the library does, in a process with torch and jaxtyping alone: `test_api.py`.

Prints one JSON object: what importing changed, the losses of short trainings, and error messages.
"""

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from typing import Any

ALLOWED = set(json.loads(sys.argv[1]))


class OnlyAllowed(PathFinder):
    """Finds only what Python or the allowed distributions bring."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        top = fullname.partition(".")[0]
        of_python = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        if top not in ALLOWED and not of_python:
            return None
        return super().find_spec(fullname, path, target)


def state_of_process() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "threads": threading.active_count(),
        "handlers": len(logging.getLogger().handlers),
        "warnings": len(warnings.filters),
        "folder": sorted(os.listdir()),
    }


sys.meta_path[:] = [BuiltinImporter, FrozenImporter, OnlyAllowed]
before = state_of_process()
import adassl  # noqa: E402

without_torch = "torch" not in sys.modules
unchanged = state_of_process() == before

import torch  # noqa: E402
from torch import nn  # noqa: E402

from adassl.collectives import world_size  # noqa: E402

BATCH, DIM = 8, 6
EMBEDDINGS = torch.randn(4, BATCH, DIM, generator=torch.Generator().manual_seed(0))
Z, NEXT, EDITED, EDITED_NEXT = EMBEDDINGS
OBJECTIVES = {
    "InfoNCE": adassl.InfoNCE(temperature=0.2, same_video_negative_weight=0.5),
    "AnInfoNCE": adassl.AnInfoNCE(DIM, temperature=0.2),
    "HInfoNCE": adassl.HInfoNCE(DIM, hidden_dims=(5,), temperature=0.2),
    "Triplet": adassl.Triplet(margin=0.3),
    "BYOL": adassl.BYOL(),
    "SimSiam": adassl.SimSiam(),
    "SwAV": adassl.SwAV(DIM, num_prototypes=5),
    "DINO": adassl.DINO(DIM, num_prototypes=5),
    "BarlowTwins": adassl.BarlowTwins(off_diagonal_weight=0.01),
    "VICReg": adassl.VICReg(variance_weight=2.0),
    "Simple": adassl.Simple(centre_weight=0.5),
    "LeJEPA": adassl.LeJEPA(sigreg_weight=0.1, num_projections=7),
    "VISReg": adassl.VISReg(shape_weight=2.0, num_projections=7),
    "FroSSL": adassl.FroSSL(frobenius_weight=0.5),
    "MMCR": adassl.MMCR(),
}


def losses(objective: nn.Module) -> list[float]:
    """Forward alone, then both directions; the embeddings get a gradient."""
    edited = EDITED.clone().requires_grad_()
    forward = objective(edited, NEXT, context=Z)
    both = objective(
        edited, NEXT, context=Z, edited_target=EDITED_NEXT, group=torch.arange(BATCH), step=3
    )
    torch.autograd.backward(forward + both)
    assert edited.grad is not None
    assert edited.grad.any()
    return [forward.item(), both.item()]


def train(**settings: Any) -> list[float]:
    """A few steps on images of a network of the user's own."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 20))
    config = adassl.MethodConfig(
        latent_dim=4, embedding_dim=8, num_prototypes=5, beta_warmup_steps=2, **settings
    )
    method = adassl.build_method(encoder, output_dim=20, config=config)
    optimizer = adassl.build_adamw(method, lr=1e-2, weight_decay=1e-4)
    found = []
    for step in range(3):
        x = torch.randn(BATCH, 3, 8, 8)
        output = method(adassl.Views(context=x, target=x + 0.1 * torch.randn_like(x)), step=step)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step, total_steps=3)
        found.append(output.loss.item())
    assert method.embed(x).shape == (BATCH, 20)
    return found


def message(act: Callable[[], object]) -> str:
    """Of the error that the action raises."""
    try:
        act()
    except ValueError as error:
        return str(error)
    return "no error"


def encode_with(network: nn.Module, output_dim: int = 20) -> object:
    config = adassl.MethodConfig(latent="none", editor="identity")
    method = adassl.build_method(network, output_dim=output_dim, config=config)
    images = torch.zeros(2, 3, 8, 8)
    return method(adassl.Views(context=images, target=images), step=0)


WRONG: dict[str, Callable[[], object]] = {
    "target": lambda: adassl.InfoNCE()(Z, NEXT[:, :4]),
    "context": lambda: adassl.simple(Z, NEXT, context=Z[:5]),
    "maps": lambda: adassl.BYOL()(Z[..., None], NEXT[..., None]),
    "group": lambda: adassl.InfoNCE()(Z, NEXT, group=torch.arange(3)),
    "weights": lambda: adassl.an_info_nce(Z, NEXT, torch.ones(3, DIM)),
    "reverse": lambda: adassl.simsiam(Z, NEXT, edited_target=NEXT),
    "encoder-maps": lambda: encode_with(nn.Conv2d(3, 20, 3)),
    "encoder-size": lambda: encode_with(nn.Sequential(nn.Flatten(), nn.Linear(192, 16))),
    "views": lambda: adassl.Views(context=torch.zeros(2, 3, 8, 8), target=torch.zeros(2, 3, 8, 9)),
    "views-batch": lambda: adassl.Views(context=torch.zeros(2, 5), target=torch.zeros(3, 5)),
    "latent": lambda: adassl.VariationalLatent(8, 3)(Z, NEXT),
    "latent-next": lambda: adassl.SparseLatent(DIM, 3)(Z, NEXT[:2]),
    "editor": lambda: adassl.MLPEditor(DIM, 3)(Z, torch.zeros(BATCH, 4)),
    "editor-without-r": lambda: adassl.MLPEditor(DIM, 3)(Z, None),
    "editor-embedding": lambda: adassl.LowRankEditor(8, 3)(Z, torch.zeros(BATCH, 3)),
    "augment": lambda: adassl.augment(Z),
}


def drawn_noise() -> bool:
    """Whether latents draw their own noise, from a generator too, and take the caller's."""
    for kind in (adassl.VariationalLatent, adassl.SparseLatent):
        latent = kind(DIM, 3)
        latent.eval()
        again = [latent(Z, NEXT, generator=torch.Generator().manual_seed(1)).value for _ in "ab"]
        noise = latent.draw_noise((BATCH,), generator=torch.Generator().manual_seed(1))
        if not (torch.equal(*again) and torch.equal(latent(Z, NEXT, noise).value, again[0])):
            return False
        if torch.equal(latent(Z, NEXT).value, again[0]):
            return False
    return True


if __name__ == "__main__":
    torch.set_num_threads(1)
    PLAIN = {"latent": "none", "editor": "identity"}
    found = {
        "without_torch": without_torch,
        "unchanged": unchanged,
        "all": {name: hasattr(adassl, name) for name in adassl.__all__},
        "losses": {name: losses(objective) for name, objective in OBJECTIVES.items()},
        "trained": {
            "variational": train(latent="variational", editor="mlp"),
            "sparse": train(latent="sparse", editor="low_rank", objective="byol"),
            "dino": train(objective="dino", **PLAIN),
        },
        "drawn_noise": drawn_noise(),
        "images": list(adassl.augment(torch.zeros(2, 3, 8, 8)).shape),
        "world_size": world_size(),
        "messages": {name: message(act) for name, act in WRONG.items()},
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    }
    print(json.dumps(found))
