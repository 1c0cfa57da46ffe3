"""One worker of `test_distributed.py`: python worker.py FOLDER RANK WORLD_SIZE CASES_AS_JSON.

Trains every case for two steps on its rows of a global batch and saves losses, gradients and state.
A world of one is the reference: no process group, no DDP, the whole batch.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from adassl.backbones import build_backbone
from adassl.build import build_method
from adassl.collectives import all_gather, all_reduce_mean
from adassl.config import MethodConfig
from adassl.latent_size import switch_off_idle
from adassl.next_clip import sample_futures
from adassl.views import Views

GLOBAL_BATCH = 12


def rows_of(batch: int, case: dict[str, Any], seed: int, rows: slice) -> Views:
    generator = torch.Generator().manual_seed(seed)
    context, first, second, *local = torch.randn(
        3 + case["crops"] + 3, batch, 12, 1, 1, 1, generator=generator
    )
    *local, third, fourth, away = local
    target = context + 0.5 * first
    later = [target + 0.5 * third, target + 0.5 * fourth][: case["moments"] - 2]
    # Videos 0 to 4: several of them have pairs on both workers.
    group = torch.arange(batch) % 5
    return Views(
        context=context[rows],
        target=target[rows],
        surrogate=(target + 0.5 * second)[rows] if case["surrogate"] else None,
        further=torch.stack(later)[:, rows] if later else None,
        negative=(target + away)[rows] if case["negative"] else None,
        local=torch.stack(local)[:, rows] if local else None,
        latent=first[rows, :4].flatten(1) if case["config"]["latent"] == "given" else None,
        group=group[rows],
    )


def train(case: dict[str, Any], rank: int, world: int) -> dict[str, Any]:
    settings = {
        "latent_dim": 4,
        "embedding_dim": 8,
        "beta_warmup_steps": 2,
        "ema_momentum": 0.9,
        "num_prototypes": 12,
        "projector_hidden_dims": (16,),
        "predictor_hidden_dims": (16,),
        "latent_hidden_dims": (16,),
        "editor_hidden_dims": (16,),
    } | case["config"]
    torch.manual_seed(rank)  # DDP has to bring the workers' weights together
    backbone = build_backbone("mlp", input_shape=(12, 1, 1, 1), hidden_dims=(16, 10))
    method = build_method(backbone, output_dim=10, config=MethodConfig(**settings))
    # A batch and its parts differ in their statistics, and SyncBatchNorm needs a GPU: hold them.
    method.eval()
    method.objective.training = True  # its own buffers have to move, alike on both
    method.encoding = replace(method.encoding, chunks=case["chunks"])
    module: torch.nn.Module = DistributedDataParallel(method) if world > 1 else method
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    generator = torch.Generator().manual_seed(7)
    losses, gradients = [], []
    for step in (1, 2):
        views = rows_of(GLOBAL_BATCH, case, step, slice(rank, None, world))
        output = module(views, step=step, generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(output.loss)
        losses.append(all_reduce_mean(output.terms["loss"]))
        gradients.append(
            {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
        )
        optimizer.step()
        method.after_step(step, total_steps=10)
        switch_off_idle(method, views, step=step)
    return {"losses": losses, "gradients": gradients, "state": method.state_dict()}


def futures(rank: int, world: int) -> torch.Tensor:
    """Futures of a sparse method for this worker's rows."""
    torch.manual_seed(0)
    config = MethodConfig(latent="sparse", editor="low_rank", latent_dim=4, embedding_dim=8)
    method = build_method(nn.Flatten(), output_dim=12, config=config).eval()
    nn.init.normal_(method.editor.get_parameter("write.weight"))
    case: dict[str, Any] = {"surrogate": False, "crops": 0, "moments": 2, "negative": False}
    case["config"] = {"latent": "sparse"}
    views = rows_of(GLOBAL_BATCH, case, 3, slice(rank, None, world))
    generator = torch.Generator().manual_seed(5)
    output = method(views, step=0, generator=generator)
    return sample_futures(method, method.encode(views.context).embedding, output, generator)


def gather(rank: int) -> dict[str, torch.Tensor]:
    rows = torch.arange(6.0).reshape(3, 2) + 10 * rank
    rows.requires_grad_()
    gathered = all_gather(rows)
    torch.autograd.backward(((rank + 1) * gathered.square()).sum())
    assert rows.grad is not None
    return {
        "gathered": gathered.detach(),
        "gradient": rows.grad,
        "ids": all_gather(torch.arange(2)),
    }


def main() -> None:
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    if world > 1:
        store = f"file://{folder / 'store'}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    results: dict[str, Any] = {
        name: train(case, rank, world) for name, case in json.loads(sys.argv[4]).items()
    }
    results["gather"] = gather(rank)
    results["futures"] = futures(rank, world)
    torch.save(results, folder / f"{rank}-of-{world}.pt")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
