"""The configuration of a run: one typed, frozen tree, checked before any work starts.

Every field says its unit. `with_overrides` is the one way in which single values are changed, by
`--set` on the command line and by a sweep alike. The limits that involve the videos themselves
(are they long enough, are there enough of them) are checked by the schedule.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from adassl.config import MethodConfig
from adassl.traits import TRAITS
from pipelines.config.alarms import AlarmConfig
from pipelines.config.backbone import BackboneConfig
from pipelines.config.data import DataConfig
from pipelines.config.fields import (
    Amount,
    NonNegative,
    Positive,
    PositiveAmount,
    Record,
    Seed,
)
from pipelines.errors import UserError

MAY_CHANGE = (
    "data.index",  # of which the digest stays the same
    "data.videos_root",
    "train.log_every",
    "train.compile",
    "alarms.",
    "cluster.",
    "tracking.",
)
"""Settings, or groups of them, that may change when a run, a sweep or an experiment goes on: where
it runs and what it writes, and nothing that changes the training."""


class ConfigError(UserError, ValueError):
    """A setting that cannot work; the message names the value, the rule and the remedy."""


Multiplier = Annotated[float, Field(gt=0, le=1000)]


class Multipliers(Record):
    """Of the learning rate, for each part of the method."""

    backbone: Multiplier = 1.0
    projector: Multiplier = 1.0
    editor: Multiplier = 1.0
    latent: Multiplier = 1.0
    predictor: Multiplier = 1.0
    objective: Multiplier = 1.0
    """Weights of aninfonce and hinfonce, prototypes of swav and dino."""


class OptimConfig(Record):
    """AdamW with linear warm-up and cosine decay to zero."""

    learning_rate: PositiveAmount = 1e-3
    weight_decay: Amount = 1e-4
    """On weight matrices only: never on biases, norms or scalars."""
    warmup_steps: NonNegative = 100
    clip_norm: PositiveAmount = 1.0
    """Greatest norm of the gradient over all trained parameters."""
    multipliers: Multipliers = Multipliers()


FrozenPart = Literal["backbone", "projector", "editor", "latent", "predictor"]


class TrainConfig(Record):
    """How long, on how much, and how often things are written down."""

    steps: Positive = 2000
    global_batch_size: Positive = 64
    """Pairs per step over all workers."""
    seed: Seed = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on a GPU, float32 on a CPU."""
    compile: bool = False
    sync_batchnorm: bool | None = None
    """BatchNorm statistics of the global batch; unset: where several workers have GPUs."""
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    """Parts in which each worker encodes its batch, for the memory of a part: the gradient is that
    of the whole batch, negatives included, but BatchNorms of the encoder see one part at a time.
    Every part is encoded once more in the backward pass."""
    frozen: tuple[FrozenPart, ...] = ()
    """Parts that are not trained and stay in evaluation mode."""
    log_every: Positive = 20
    """Steps between logged metrics."""
    checkpoint_every: Positive = 500
    """Steps between checkpoints, and between validations."""
    val_pairs: NonNegative = 256
    """Pairs of validation videos that each validation uses; 0 turns it off."""
    best_metric: str = "max:val/next_clip_nats"
    """The metric by which the best checkpoint is kept, after `max:` where higher is better and
    `min:`, or nothing, where lower is. Without validation it is min:train/loss."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        mode, name = self.best
        if mode not in ("min", "max") or not name:
            raise ValueError(
                f"best_metric={self.best_metric!r}: write it as max:val/next_clip_nats, where "
                "higher is better, or as min:val/loss"
            )
        return self

    @property
    def best(self) -> tuple[str, str]:
        """Whether the least ("min") or the greatest ("max") is the best, and of which metric."""
        mode, separator, name = self.best_metric.partition(":")
        return (mode, name) if separator else ("min", self.best_metric)


class ClusterConfig(Record):
    """What a run asks of the Ray cluster."""

    num_workers: Positive | tuple[Positive, Positive] = 1
    """Two numbers, as in [1, 4]: as many between them as the cluster has room for, and more or
    fewer when nodes come or go."""
    use_gpu: bool | None = None
    """Unset: GPUs where the cluster has enough of them, else CPUs."""
    cpus_per_worker: PositiveAmount = 1.0
    decoders_per_worker: Positive = 1
    """Decoding processes beside each worker, one CPU each."""
    max_failures: NonNegative = 3
    """Times that lost workers are replaced and the run goes on from its checkpoint."""
    address: str | None = None
    """A running Ray cluster; unset: RAY_ADDRESS, else a Ray of our own on this machine."""
    wait_minutes: Amount = 0.0
    """Longest wait for nodes that a cluster's autoscaler is to bring; 0: what is up must do. Set
    use_gpu too: unset, the nodes that are up before the wait decide it."""
    stall_minutes: PositiveAmount = 10.0
    """A trial of a sweep of which nothing is heard for longer is ended and tried again."""

    @property
    def range_of_workers(self) -> range:
        """Every number of workers that is allowed."""
        given = self.num_workers
        first, last = (given, given) if isinstance(given, int) else given
        return range(first, last + 1)


class TrackingConfig(Record):
    """Where MLflow keeps the run."""

    uri: str | None = None
    """Unset: MLFLOW_TRACKING_URI, else SQLite under the output folder."""
    experiment: str = "adassl"


SINCE_0_1 = (
    ("backbone", "dropout"),
    ("backbone", "init_from"),
    ("backbone", "model"),
    ("backbone", "pretrained"),
    ("backbone", "token_drop"),
    ("backbone", "tubelet"),
    ("backbone", "vocabulary"),
    ("data", "augment"),
    ("data", "context_surrogate"),
    ("data", "max_tokens"),
    ("data", "moments_per_chain"),
    ("data", "negative"),
    ("data", "sound_seconds"),
    ("method", "active_rate"),
    ("method", "editor_slots"),
    ("method", "encoders"),
    ("method", "surrogate_form"),
    ("method", "reverse"),
    ("method", "sigreg_weight"),
    ("method", "scale_weight"),
    ("method", "shape_weight"),
    ("method", "num_projections"),
    ("method", "frobenius_weight"),
    ("method", "nuclear"),
    ("optim", "multipliers"),
    ("train", "accumulate"),
    ("train", "frozen"),
)
"""Settings that version 0.1 did not have."""

REMOVED = dict.fromkeys(
    ("data.starts_per_window", "data.pairs_per_window"),
    "windows follow the files now, as long as data.shuffle_memory_mib allows, and a start frame "
    "gives data.reuse pairs",
) | {"method.use_entropy_weight": "method.active_rate has every dimension of a sparse r used"}
"""Settings that there were once, and what came in their place."""


class RunConfig(Record):
    """Everything that defines a run."""

    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    second_backbone: BackboneConfig = BackboneConfig()
    """Of the targets, with method.encoders=separate."""
    method: MethodConfig = MethodConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    alarms: AlarmConfig = AlarmConfig()
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        batch = self.train.global_batch_size
        self._check_workers()
        self._check_encoders()
        both = self.method.surrogate_form == "both"
        if both and not (self.data.surrogate and self.data.context_surrogate):
            raise ValueError(
                "method.surrogate_form=both: needs an extra view of x+ and one of x; set "
                "data.surrogate=true and data.context_surrogate=true"
            )
        if self.data.context_surrogate and not both:
            raise ValueError(
                "data.context_surrogate=true with method.surrogate_form=target_only, which reads "
                "no extra view of x; set method.surrogate_form=both"
            )
        traits = TRAITS[self.method.objective]
        if self.data.moments_per_chain > 2:
            self.method.check_chains()
        if self.data.negative and not traits.triplets:
            raise ValueError(
                f"data.negative=true with method.objective={self.method.objective}, which takes "
                "its negatives from the batch, if any; set method.objective=triplet, or "
                "data.negative=false"
            )
        if self.data.local_crops and not traits.assigns:
            takers = " or ".join(name for name, each in TRAITS.items() if each.assigns)
            raise ValueError(
                f"data.local_crops={self.data.local_crops} with method.objective="
                f"{self.method.objective}: only assignments to prototypes of a small crop and of "
                f"the whole are comparable; set method.objective={takers}, or data.local_crops=0"
            )
        if batch < traits.least_pairs:
            raise ValueError(
                f"train.global_batch_size={batch}: method.objective={self.method.objective} learns "
                "from how the pairs of a batch differ; "
                f"use at least {traits.least_pairs}, or method.objective=byol"
            )
        return self

    def _check_encoders(self) -> None:
        """See that the encoders can read the views."""
        separate, views = self.method.encoders == "separate", self.data.views
        if separate and views == "augmentation":
            raise ValueError(
                "method.encoders=separate with data.views=augmentation: both views are of x, which "
                "needs one encoder; set data.views=time, or method.encoders=shared"
            )
        of_text = self.backbone.reads_text or (separate and self.second_backbone.reads_text)
        drawn = self.data.surrogate or self.data.local_crops
        by_dropout = views == "augmentation" and self.backbone.dropout > 0 and not drawn
        if of_text and views != "time" and not by_dropout:
            raise ValueError(
                f"text_transformer with data.views={views}: texts are not augmented; set "
                "data.views=time, or data.views=augmentation with backbone.dropout=0.1, where two "
                "views of x differ by dropout alone"
            )

    def _check_workers(self) -> None:
        """See that a batch can be dealt out, in whole parts, to the workers."""
        batch, moments = self.train.global_batch_size, self.data.moments_per_video
        allowed, accumulate = self.cluster.range_of_workers, self.train.accumulate
        if not allowed:
            raise ValueError(
                f"cluster.num_workers={list(self.cluster.num_workers)}: "  # type: ignore[arg-type]
                "the least number comes first"
            )
        workers = allowed[0]
        if workers in self.group_sizes:
            return
        if batch % workers:
            raise ValueError(
                f"train.global_batch_size={batch} does not divide among "
                f"cluster.num_workers={workers}; "
                f"the next that does is {-(-batch // workers) * workers}"
            )
        if batch % (moments * workers):
            raise ValueError(
                f"data.moments_per_video={moments}: a batch of {batch} pairs must divide into "
                f"parts of so many for each of {workers} workers; the next that does is "
                f"{-(-batch // (moments * workers)) * moments * workers}"
            )
        raise ValueError(
            f"train.accumulate={accumulate}: must divide the {batch // workers} pairs of a "
            "worker's batch"
        )

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """The numbers of workers, of those allowed, to whom a batch can be dealt out evenly."""
        batch = self.train.global_batch_size
        whole = math.lcm(self.data.moments_per_video, self.train.accumulate)
        return tuple(n for n in self.cluster.range_of_workers if batch % (whole * n) == 0)

    def fingerprint(self) -> str:
        """Digest of what changes the training itself: without what may change."""
        content = self.model_dump(mode="json")
        for key in MAY_CHANGE:
            group, _, name = key.partition(".")
            if name:
                content[group].pop(name, None)
            else:
                content.pop(group)
        # The default that came later counts as the one before: runs from before then resume.
        if content["train"]["best_metric"] == TrainConfig().best_metric:
            content["train"]["best_metric"] = "val/loss"
        content["method"]["use_entropy_weight"] = 0.0  # was a setting: runs from then resume
        # Unset came later than false, and no run on several GPUs came before it.
        content["train"]["sync_batchnorm"] = content["train"]["sync_batchnorm"] or False
        if self.method.encoders == "shared":
            content.pop("second_backbone")
        # Settings that came later count only where they are used: runs from before then resume.
        defaults = RunConfig().model_dump(mode="json")
        for group, name in SINCE_0_1:
            if content[group][name] == defaults[group][name]:
                content[group].pop(name)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested mapping under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def with_overrides(config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    """A checked copy of `config` with the values at dotted keys replaced.

    Raises:
        ConfigError: for an unknown key, naming the nearest known one, or a value that cannot be.
    """
    tree = config.model_dump()
    known = flatten(tree)
    for key, value in overrides.items():
        if key in REMOVED:
            raise ConfigError(f"{key} is no setting any more: {REMOVED[key]}; leave it out")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown setting {key}{hint}")
        *groups, leaf = key.split(".")
        node = tree
        for group in groups:
            node = node[group]
        node[leaf] = value
    return parse(tree)


def with_videos_root(config: RunConfig, videos_root: str | None) -> RunConfig:
    """The config with the folder that holds its videos now; None leaves it as it is."""
    return with_overrides(config, {"data.videos_root": videos_root}) if videos_root else config


def parse(tree: Mapping[str, Any]) -> RunConfig:
    """The checked config of a nested mapping, such as a saved one.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    if flatten(tree).get("method.use_entropy_weight") == 0:  # off, as without it
        method = {k: v for k, v in tree["method"].items() if k != "use_entropy_weight"}
        tree = {**tree, "method": method}
    removed = [key for key in flatten(tree) if key in REMOVED]
    if removed:
        raise ConfigError(
            f"made by an earlier version, with {', '.join(removed)}: {REMOVED[removed[0]]}. It "
            "cannot be resumed; start it anew under another name, from its backbone if you like "
            "(backbone.init_from)"
        )
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(e) for e in error.errors())) from None


def _line(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message: str = error["msg"].removeprefix("Value error, ")
    if not place or error["type"] == "value_error":
        return message
    return f"{place}={error['input']!r}: {message}"
