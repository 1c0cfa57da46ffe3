"""What the parts of a training step take: `python -m tests.benchmarks.profile`."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from pipelines.cli.options import parse_assignment
from pipelines.config.run import with_overrides
from pipelines.numbers import number
from pipelines.recipes import recipe
from pipelines.training.device import copied_ahead, fast_kernels
from pipelines.training.learner import Learner
from tests.benchmarks.step import batch_of

WARM_UP = 5
PARTS = {
    "step/copy": "frames to the device, as floats",
    "step/augment": "crops and gains",
    "step/encode": "backbone and projector, of the target network too",
    "step/latent": "r, the editor and the predictor",
    "step/loss": "the objective",
    "step/backward": "gradients",
    "step/clip": "norm of the gradient",
    "step/optimiser": "AdamW",
    "step/ema": "the target network's average",
    "step/metrics": "metrics of a logged step, divided by train.log_every",
}


def profiled(learner: Learner, steps: int) -> dict[str, float]:
    """Milliseconds a step of each part, on the device that does the work."""
    config = learner.config
    batch = batch_of(config, config.train.global_batch_size)
    on_gpu = learner.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with ExitStack() as stack:
        stack.enter_context(fast_kernels(learner.device, config.train.precision))
        stack.callback(_name_parts(learner))
        for ready in copied_ahead(learner, [batch] * WARM_UP):
            learner.metrics(learner.train_step(ready))
        with profile(activities=activities) as found:
            for ready in copied_ahead(learner, [batch] * steps):
                output = learner.train_step(ready)
            for _ in range(steps):
                with record_function("step/metrics"):
                    learner.metrics(output)
    microseconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for event in found.key_averages():
        if event.key in PARTS:
            microseconds[event.key] += event.device_time_total if on_gpu else event.cpu_time_total
    microseconds["step/metrics"] /= config.train.log_every
    return {part: total / steps / 1000 for part, total in microseconds.items()}


class _Range:
    """A name for what a module's forward pass does."""

    def __init__(self, name: str) -> None:
        self._name, self._open = name, record_function(name)

    def begin(self, *_: Any) -> None:
        self._open = record_function(self._name)
        self._open.__enter__()

    def end(self, *_: Any) -> None:
        self._open.__exit__(None, None, None)


def _name_parts(learner: Learner) -> Callable[[], None]:
    """Let the profiler see the parts of the forward pass; returns what takes the names off."""
    method, handles = learner.method, []
    named: dict[str, list[nn.Module | None]] = {
        "step/encode": [method.encoder, method.target_encoder],
        "step/latent": [method.latent, method.editor, method.predictor],
        "step/loss": [method.objective],
    }
    for name, modules in named.items():
        for module in modules:
            if module is not None:
                named_range = _Range(name)
                handles.append(module.register_forward_pre_hook(named_range.begin))
                handles.append(module.register_forward_hook(named_range.end))

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove


def main(
    name: Annotated[str, typer.Option("--recipe", help="Whose step.")] = "videos",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value.")] = None,
    steps: Annotated[int, typer.Option(help="Steps that are measured.")] = 20,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
) -> None:
    """Print what each part of a training step takes."""
    torch.set_num_threads(1)
    config = with_overrides(recipe(name), dict(map(parse_assignment, set_ or [])))
    parts = profiled(Learner(config, torch.device(device)), steps)
    total = sum(parts.values())
    title = f"{name}: {number(total)} ms a step, {device}"
    table = Table("part", "ms", "share", "what", title=title)
    for part, milliseconds in parts.items():
        share = number(milliseconds / total, ".1%")
        table.add_row(part.removeprefix("step/"), number(milliseconds), share, PARTS[part])
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
