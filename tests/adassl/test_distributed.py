"""Two gloo workers with different data against one process with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.distributed

ROOT = Path(__file__).parents[2]


def case(
    objective: str,
    latent: str,
    editor: str,
    *,
    surrogate: bool = False,
    crops: int = 0,
    chunks: int = 1,
    moments: int = 2,
    negative: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "objective": objective,
        "latent": latent,
        "editor": editor,
        **settings,
    }
    if objective != "byol":
        config["same_video_negative_weight"] = 0.3
    return {
        "config": config,
        "surrogate": surrogate,
        "crops": crops,
        "chunks": chunks,
        "moments": moments,
        "negative": negative,
    }


CASES = {
    "infonce": case("infonce", "none", "identity"),
    "infonce-variational": case("infonce", "variational", "mlp"),
    "infonce-variational-surrogate": case("infonce", "variational", "mlp", surrogate=True),
    "infonce-variational-parts": case("infonce", "variational", "mlp", chunks=3),
    "byol-variational-parts": case("byol", "variational", "mlp", chunks=2, surrogate=True),
    "infonce-variational-chains": case("infonce", "variational", "mlp", moments=4),
    "byol-sparse-chains": case("byol", "sparse", "low_rank", moments=3),
    "lejepa-variational-chains": case(
        "lejepa", "variational", "residual", moments=3, num_projections=32
    ),
    "triplet-negatives": case("triplet", "variational", "mlp", negative=True),
    "infonce-sparse": case("infonce", "sparse", "low_rank"),
    "infonce-latent-size": case("infonce", "variational", "mlp", latent_dim="auto"),
    "byol-sparse-latent-size": case(
        "byol", "sparse", "low_rank", surrogate=True, latent_dim="auto"
    ),
    "infonce-slots-latent-size": case("infonce", "variational", "slots", latent_dim="auto"),
    "infonce-slots-none": case("infonce", "none", "slots"),
    "byol-attention-surrogate": case("byol", "variational", "attention", surrogate=True),
    "infonce-attention-chains": case("infonce", "sparse", "attention", moments=3),
    "infonce-mixture": case("infonce", "variational", "mlp", prior_components=3),
    # No KL comes near this: DDP has to get its gradients of zero all the same.
    "infonce-free-nats": case("infonce", "variational", "mlp", free_nats=1000.0),
    "infonce-sparse-rate": case("infonce", "sparse", "low_rank", beta=2.0, active_rate=0.2),
    "infonce-given": case("infonce", "given", "mlp"),
    "byol-given-surrogate": case("byol", "given", "mlp", surrogate=True),
    "aninfonce-variational": case("aninfonce", "variational", "mlp"),
    "hinfonce-surrogate": case("hinfonce", "variational", "low_rank", surrogate=True),
    "hinfonce": case("hinfonce", "none", "identity"),
    "byol": case("byol", "none", "identity"),
    "byol-variational": case("byol", "variational", "low_rank"),
    "byol-sparse-surrogate": case("byol", "sparse", "mlp", surrogate=True),
    "byol-bare": case(
        "byol", "none", "mlp", ema_momentum=0.0, ema_schedule="constant", predictor=False
    ),
    "triplet": case("triplet", "none", "identity", triplet_margin=0.7),
    "triplet-sparse-surrogate": case("triplet", "sparse", "mlp", surrogate=True),
    "simsiam": case("simsiam", "none", "identity"),
    "simsiam-variational": case("simsiam", "variational", "mlp"),
    "simsiam-unstopped": case("simsiam", "none", "identity", stop_gradient=False),
    "swav": case("swav", "none", "identity"),
    # Twelve pairs a step: partly filled at first, then the oldest ones fall out.
    "swav-queue": case("swav", "none", "identity", queue_size=17),
    "swav-queue-surrogate": case("swav", "none", "identity", queue_size=17, surrogate=True),
    "swav-queue-crops": case("swav", "none", "identity", queue_size=17, crops=2),
    "dino-crops": case("dino", "none", "identity", crops=3),
    "dino": case("dino", "none", "identity"),
    "dino-surrogate": case("dino", "none", "identity", surrogate=True),
    "barlow-twins": case("barlow_twins", "none", "identity"),
    "barlow-twins-variational": case("barlow_twins", "variational", "mlp"),
    "vicreg": case("vicreg", "none", "identity"),
    "vicreg-sparse-surrogate": case("vicreg", "sparse", "low_rank", surrogate=True),
    "simple": case("simple", "none", "identity"),
    "simple-variational": case("simple", "variational", "mlp"),
    "lejepa": case("lejepa", "none", "identity", num_projections=32),
    "lejepa-variational": case("lejepa", "variational", "mlp", num_projections=32),
    "lejepa-sparse-surrogate": case("lejepa", "sparse", "low_rank", surrogate=True),
    "visreg": case("visreg", "none", "identity", num_projections=32),
    "visreg-variational": case("visreg", "variational", "mlp", num_projections=32),
    "frossl": case("frossl", "none", "identity"),
    "frossl-sparse-surrogate": case("frossl", "sparse", "low_rank", surrogate=True),
    "mmcr": case("mmcr", "none", "identity"),
    "mmcr-variational": case("mmcr", "variational", "mlp"),
    "mmcr-frobenius": case("mmcr", "none", "mlp", nuclear=False),
}

Results = dict[str, Any]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Results, Results]:
    """What both workers and the reference saved; each process's own traceback if one fails."""
    folder = tmp_path_factory.mktemp("workers")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    workers = {
        f"worker {rank} of {world}": subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("worker.py")),
                *(str(folder), str(rank), str(world), json.dumps(CASES)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for rank, world in ((0, 2), (1, 2), (0, 1))
    }
    failures = []
    for name, process in workers.items():
        try:
            output, _ = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            output += "\nkilled after 240 s"
        if process.returncode != 0:
            failures.append(f"--- {name}:\n{output}")
    assert not failures, "\n".join(failures)
    first, second, alone = (
        torch.load(folder / f"{name}.pt") for name in ("0-of-2", "1-of-2", "0-of-1")
    )
    return first, second, alone


@pytest.mark.parametrize("name", CASES)
def test_two_workers_are_one_process_with_the_global_batch(
    name: str, results: tuple[Results, Results, Results]
) -> None:
    first, second, alone = (result[name] for result in results)
    for what in ("losses", "gradients", "state"):
        # The absolute part is rounding of a gradient that is exactly zero, as that of a shift
        # which barlow_twins takes off again.
        torch.testing.assert_close(first[what], alone[what], rtol=1e-4, atol=5e-6)
        torch.testing.assert_close(first[what], second[what], rtol=0, atol=0)
    assert any(gradient.abs().max() > 1e-3 for gradient in alone["gradients"][1].values())


def test_a_gathered_row_gets_the_sum_of_its_gradients(
    results: tuple[Results, Results, Results],
) -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    for rank in (0, 1):
        result = results[rank]["gather"]
        assert torch.equal(result["gathered"], torch.cat([rows, rows + 10]))
        assert torch.equal(result["ids"], torch.tensor([0, 1, 0, 1]))
        # d/dx of 1 * x^2 on worker 0 and 2 * x^2 on worker 1.
        assert torch.equal(result["gradient"], 6 * (rows + 10 * rank))


def test_the_r_of_other_pairs_is_the_same_on_any_number_of_workers(
    results: tuple[Results, Results, Results],
) -> None:
    first, second, alone = (result["futures"] for result in results)
    torch.testing.assert_close(torch.stack([first, second], dim=1).flatten(0, 1), alone)
