"""An objective of your own in the pipeline: videos, Ray, MLflow, evaluation, resume, all as usual.

The loss is a class in this script. `run_job` takes a function from the config to the method, which
Ray brings to its workers with the class, so that nothing of `adassl` or `pipelines` is edited. The
same script goes on with a stopped run.

    adassl data moving-digits set && adassl data index set --out videos.parquet
    python docs/examples/own_objective.py --index videos.parquet --steps 200
"""

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, pdist

from adassl import Method, Objective, build_backbone, build_method
from pipelines.config.run import RunConfig, with_overrides
from pipelines.job import run_job
from pipelines.recipes import recipe
from pipelines.storage.runs import RunFolder


class AlignUniform(Objective):
    """Alignment and uniformity of unit embeddings (Wang and Isola, arXiv 2005.10242).

    It names the arguments that it uses and takes the rest as `**_`; `adassl.Objective.forward` says
    what there is.
    """

    def forward(self, edited: Tensor, target: Tensor, **_: Any) -> Tensor:
        """Mean squared distance, plus the log of the mean Gaussian potential of the targets."""
        edited, target = normalize(edited.float(), dim=-1), normalize(target.float(), dim=-1)
        alignment = (edited - target).square().sum(dim=-1).mean()
        return alignment + pdist(target).square().mul(-2).exp().mean().log()


def build(config: RunConfig) -> Method:
    """The method that the config describes, with the loss above in the place of its objective."""
    backbone = build_backbone(
        config.backbone.name,
        input_shape=config.data.view_shape,
        hidden_dims=config.backbone.hidden_dims,
    )
    return build_method(
        backbone, output_dim=backbone.output_dim, config=config.method, objective=AlignUniform()
    )


def main() -> None:
    """Train on an index of videos and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", default="videos.parquet")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    overrides = {
        "data.index": arguments.index,
        "train.steps": arguments.steps,
        "train.checkpoint_every": arguments.steps,
        "train.global_batch_size": 32,
        "optim.warmup_steps": arguments.steps // 10,
    }
    config = with_overrides(recipe("moving-digits"), overrides)
    folder = RunFolder(f"{arguments.out}/align-uniform")
    result = run_job(config, folder, make_method=build)
    print(f"digit, accuracy (h) {result.metrics.get('test/probe/digit_accuracy', torch.nan):.2f}")


if __name__ == "__main__":
    main()
