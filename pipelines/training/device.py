"""What a training on a GPU needs around its steps: fast kernels, and batches copied ahead."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from pipelines.training.inputs import Batch
from pipelines.training.learner import Learner


@contextmanager
def fast_kernels(device: torch.device, precision: str) -> Iterator[None]:
    """Let cuDNN time its kernels for the shapes it meets, and TF32 multiply matrices.

    Only on a GPU, TF32 not where float32 was asked for, and as before once the block is left.
    """
    if device.type != "cuda":
        yield
        return
    benchmark = torch.backends.cudnn.benchmark
    matmul = torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = True
    if precision != "float32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(matmul)


def copied_ahead(learner: Learner, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches as views on the learner's GPU, each copied while the step before is computed.

    The copy runs on a stream of its own, from pinned memory. A step does not make the host wait, so
    that the copy of the next batch is queued while the GPU still computes. Without a GPU the
    batches themselves.
    """
    if learner.device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(learner.device)
    for batch in batches:
        with torch.cuda.stream(stream):
            views = learner.views(batch)
        computing = torch.cuda.current_stream(learner.device)
        computing.wait_stream(stream)
        for field in dataclasses.fields(views):
            tensor = getattr(views, field.name)
            if tensor is not None:
                tensor.record_stream(computing)  # its memory is not used again before the step ends
        yield views
