"""One worker's training state and step: torch and `adassl` alone, no Ray, so it runs anywhere.

The state is a pure function of the config and the batches seen: the noise of a step is drawn from
a generator seeded by (seed, step), and every schedule is a function of the step, so a
checkpoint needs no counters and no generator states beside the step.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function
from torch.utils._pytree import tree_map

from adassl import collectives
from adassl.backbones import Backbone, load_weights
from adassl.latent_size import is_round, num_kept, switch_off_idle
from adassl.method import Method
from adassl.next_clip import sample_futures
from adassl.optim import build_adamw, set_learning_rate
from adassl.schedules import cosine_with_warmup
from adassl.step_output import StepOutput
from adassl.views import Views
from pipelines.config.run import RunConfig
from pipelines.errors import UserError
from pipelines.training.build import build, multipliers
from pipelines.training.inputs import Batch, Inputs
from pipelines.training.metrics import (
    dimension_metrics,
    latent_metrics,
    next_clip_metrics,
    pair_metrics,
    rankme_of_some,
    spectrum_metrics,
)

MakeMethod = Callable[[RunConfig], Method]
"""A user's own function from the config to the method, such as one with a loss of their own."""
_TRAINING, _VALIDATION = 0, 1


class DivergedError(UserError, RuntimeError):
    """The loss is no longer a number."""


class Learner:
    """A method with its optimiser, on one device, as one of the workers where there are several."""

    def __init__(
        self, config: RunConfig, device: torch.device, make_method: MakeMethod | None = None
    ) -> None:
        """Build everything from the config's seed, the same on every worker."""
        self._fingerprint = config.fingerprint()
        if make_method is not None:  # another loss than the config names, so another training
            self._fingerprint += f"+{make_method.__qualname__}"
        self.config, self.device, self.step = config, device, 0
        torch.manual_seed(config.train.seed)
        method = (make_method or build)(config)
        method.freeze(*config.train.frozen)
        method.encoding = dataclasses.replace(method.encoding, chunks=config.train.accumulate)
        if collectives.world_size() > 1 and syncs_batchnorm(config, device):
            method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
        self.method: Method = method.to(device)
        reads_evidence = self.method.encoding.reads_evidence
        self._inputs = Inputs(config.data, device, reads_evidence=reads_evidence)
        self.optimizer = build_adamw(
            self.method,
            lr=config.optim.learning_rate,
            weight_decay=config.optim.weight_decay,
            multipliers=multipliers(config, self.method),
        )
        if config.train.compile:
            self.method.encoder.compile()
            if self.method.target_encoder is not None:
                self.method.target_encoder.compile()
            if self.method.second_encoder is not None:
                self.method.second_encoder.compile()
        self._forward: nn.Module = self.method
        if collectives.world_size() > 1:
            ids = [device.index] if device.type == "cuda" else None
            self._forward = DistributedDataParallel(self.method, device_ids=ids)
        self._norm = torch.zeros((), device=device)
        """The greatest gradient norm since the last check."""
        self._kept: dict[str, Any] = {}
        """The state at the last check; empty before the first step."""
        self._end_of_step: torch.cuda.Event | None = None

    def train_step(self, batch: Batch) -> StepOutput:
        """Update the parameters on this worker's share of one global batch.

        The host does not wait for the device: `check` says whether the steps since the last check
        were sound.
        """
        if not self._kept:
            self._keep()
        self.method.train()
        optim = self.config.optim
        learning_rate = cosine_with_warmup(
            self.step, optim.learning_rate, optim.warmup_steps, self.config.train.steps
        )
        set_learning_rate(self.optimizer, learning_rate)
        with record_function("step/copy"):
            views = self.views(batch)
        with record_function("step/augment"):
            views = self._augmented(views, _TRAINING)
        if self.config.backbone.dropout or self.config.second_backbone.dropout:
            # Layers draw from torch's own source: of each step and worker anew, so a resume is
            # exact, though not the same on another number of workers.
            torch.manual_seed(self._noise_seed(_TRAINING, f"dropout {collectives.rank()}"))
        with record_function("step/forward"), self._autocast():
            output: StepOutput = self._forward(
                views, step=self.step, generator=self._noise(_TRAINING)
            )
        with record_function("step/backward"):
            self.optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
        with record_function("step/clip"):
            norm = nn.utils.clip_grad_norm_(self._trained(), optim.clip_norm).detach()
            self._norm = torch.maximum(self._norm, norm)  # a NaN stays
        with record_function("step/optimiser"):
            self.optimizer.step()
        with record_function("step/ema"):
            self.method.after_step(self.step, total_steps=self.config.train.steps)
        self.step += 1
        if self.config.method.latent_dim == "auto" and is_round(self.step, self.config.train.steps):
            with record_function("step/latent size"), self._autocast():
                switch_off_idle(self.method, views, step=self.step)
        if self.device.type == "cuda":
            self._end_of_step = torch.cuda.Event()
            self._end_of_step.record()
        rate = torch.full_like(norm, learning_rate)
        output.terms.update(grad_norm=norm, learning_rate=rate)
        return output

    @property
    def is_computing(self) -> bool:
        """Whether the device is still busy with the last step."""
        return self._end_of_step is not None and not self._end_of_step.query()

    def check(self) -> None:
        """Read from the device whether all steps since the last check were sound.

        Raises:
            DivergedError: if a loss or gradient was not finite. Parameters, optimiser, running
                statistics, target network and step are then those of the last check.
        """
        norm = float(self._norm)
        if math.isfinite(norm):
            self._keep()
            return
        diverged = self.step
        self.load_state_dict(self._kept)
        raise DivergedError(
            f"the loss is not finite between steps {self.step} and {diverged} (gradient norm "
            f"{norm:g}); lower optim.learning_rate, raise method.temperature or train in float32"
        )

    def _keep(self) -> None:
        """Hold a copy of the state, on the device, for `check` to go back to."""
        self._norm = torch.zeros_like(self._norm)
        copied = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, self.state_dict())
        self._kept = dict(copied)

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Loss, diagnostics, use of each dimension of r, and next-clip log-likelihoods.

        Of validation pairs, reduced over workers; LiDAR and alpha-ReQ are of all of them at once.
        The log-likelihood within videos is missing where no two pairs are of one video.
        """
        self.method.eval()
        totals: dict[str, list[float]] = {}
        rows: dict[str, list[Tensor]] = {}
        for batch in batches:
            views = self._augmented(self.views(batch), _VALIDATION)
            noise = self._noise(_VALIDATION)
            with self._autocast():
                output = self.method(views, step=self.step, generator=noise)
                embedding = self.method.encode(views.context).embedding.float()
                sampled = sample_futures(self.method, embedding, output, noise)
            found = self.metrics(output)
            own = {"embedding": embedding, "futures": sampled, "prediction": output.prediction}
            own |= {"context": output.context, "target": output.target}
            if output.latent is not None:
                found |= dimension_metrics(output.latent.map(collectives.all_gather))
                own["latent"] = output.latent.value
            if views.group is not None:
                own["group"] = views.group
            for name, value in found.items():
                totals.setdefault(name, []).append(value)
            for name, part in own.items():
                gathered = collectives.all_gather(part.contiguous())
                rows.setdefault(name, []).append(collectives.dealt_order(gathered))
        means = {name: float(np.mean(values)) for name, values in totals.items()}
        if rows:
            every = {name: torch.cat(parts) for name, parts in rows.items()}
            means |= next_clip_metrics(self.method, every, self._noise(_VALIDATION, "fitted"))
            means |= spectrum_metrics(every["context"], every["target"])
        return means

    @torch.no_grad()
    def metrics(self, output: StepOutput) -> dict[str, float]:
        """Loss terms and diagnostics of one step over the global batch, alike on every worker."""
        names, terms = list(output.terms), torch.stack(list(output.terms.values()))
        metrics = dict(zip(names, collectives.all_reduce_mean(terms).tolist(), strict=True))
        context, target = (collectives.all_gather(z) for z in (output.context, output.target))
        metrics |= pair_metrics(context, target, rankme=rankme_of_some(context))
        if output.latent is not None:
            metrics |= latent_metrics(output.latent.map(collectives.all_gather))
        if self.config.method.latent_dim == "auto":
            metrics["latent_dim"] = float(num_kept(self.method.latent))
        return metrics

    def views(self, batch: Batch) -> Views:
        """A batch as the method's input; see `Inputs.views`."""
        return self._inputs.views(batch)

    def to_input(self, frames: NDArray[Any]) -> Tensor:
        """Frames or token ids as an encoder's input; see `Inputs.to_input`."""
        return self._inputs.to_input(frames)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resume needs, of tensors, numbers and strings alone."""
        return {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "fingerprint": self._fingerprint,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: if it was saved under another config.
        """
        if state["fingerprint"] != self._fingerprint:
            raise ValueError(
                f"this checkpoint was made under another config ({state['fingerprint']}, not "
                f"{self._fingerprint}); give the run another name"
            )
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(self._on_this_device(state["optimizer"]))
        self.step = int(state["step"])
        self._kept, self._norm = {}, torch.zeros_like(self._norm)

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Give the backbone, and that of a target network, the weights of another training.

        Raises:
            ValueError: if they are of another backbone.
        """
        encoders = (self.method.encoder, self.method.target_encoder)
        for encoder in encoders:
            if encoder is not None:
                assert isinstance(encoder.backbone, Backbone)
                load_weights(encoder.backbone, weights)

    def start_second_from(self, weights: Mapping[str, Tensor]) -> None:
        """Give the backbone of the second encoder the weights of another training.

        Raises:
            ValueError: if they are of another backbone.
        """
        second = self.method.second_encoder
        assert second is not None
        assert isinstance(second.backbone, Backbone)
        load_weights(second.backbone, weights)

    def _on_this_device(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """An optimiser's state with the kernels of this device, not of the one it was saved on."""
        groups = zip(saved["param_groups"], self.optimizer.param_groups, strict=True)
        own = [{**group, "fused": here["fused"]} for group, here in groups]
        return {**saved, "param_groups": own}

    def _trained(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _autocast(self) -> AbstractContextManager[Any]:
        precision = self.config.train.precision
        if precision == "float32" or (precision == "auto" and self.device.type != "cuda"):
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _augmented(self, views: Views, purpose: int) -> Views:
        return self._inputs.augmented(views, self._noise(purpose, "augmentation"))

    def _noise(self, purpose: int, use: str = "") -> torch.Generator:
        return self.generator(self._noise_seed(purpose, use))

    def _noise_seed(self, purpose: int, use: str) -> int:
        step = self.step if purpose == _TRAINING else 0  # validation: the same noise every time
        key = f"{self.config.train.seed} {purpose} {step}{use}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big")

    def generator(self, seed: int) -> torch.Generator:
        """A source of noise on the device."""
        return torch.Generator(self.device).manual_seed(seed)


def syncs_batchnorm(config: RunConfig, device: torch.device) -> bool:
    """Whether several workers share their BatchNorm statistics: unset, where they have GPUs."""
    chosen = config.train.sync_batchnorm
    return device.type == "cuda" if chosen is None else chosen
