"""Probes from a handful of labels: fitted, cross-validated by video, kept without code."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from torch import Tensor

from adassl.backbones import Backbone
from adassl.loaded import LoadedEncoder, digest_of
from adassl.safetensors import read_safetensors
from pipelines.config.run import ConfigError
from pipelines.evaluation.linear_fit import fit_linear
from pipelines.evaluation.probes import Kind, scores
from pipelines.evaluation.trained_heads import BATCH, AttentivePool, train_head
from pipelines.storage.folder import Folder

ProbeKind = Literal["linear", "attentive"]
WEIGHTS_FILE, ABOUT_FILE = "probe.safetensors", "probe.json"
FOLDS = 5
"""Most parts of the cross-validation; of classes no more than any has videos."""
ATTENTIVE_STEPS, ATTENTIVE_RATE, SEED = 300, 1e-3, 0
RESAMPLES = 2000
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What a probe reads of labelled rows.

    Attributes:
        inputs: of each clip: h [clips, dim] for a linear probe, tokens [clips, tokens, dim] for an
            attentive one.
        row: the labelled row of each clip, 0, 1, …; a row is answered by the mean over its clips.
        group: the video of each row.
    """

    inputs: Floats
    row: NDArray[np.int64]
    group: NDArray[np.object_]

    def mean(self, of_clips: NDArray[Any]) -> NDArray[Any]:
        """The mean of each row over its clips."""
        sums = np.zeros((len(self.group), *of_clips.shape[1:]))
        np.add.at(sums, self.row, of_clips)
        counts = np.bincount(self.row, minlength=len(self.group))
        return np.asarray(sums / counts.reshape(-1, *[1] * (of_clips.ndim - 1)))

    def take(self, rows: NDArray[np.integer[Any]]) -> "Examples":
        """Some rows."""
        place = np.full(len(self.group), -1)
        place[rows] = np.arange(len(rows))
        kept = place[self.row] >= 0
        return Examples(inputs=self.inputs[kept], row=place[self.row[kept]], group=self.group[rows])


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A probe of one encoder.

    Attributes:
        kind: "linear", on h; "attentive", on the tokens of the backbone.
        classes: of the outputs; None: one value.
        encoder: identity of the encoder.
        weights: of the probe.
    """

    kind: ProbeKind
    classes: tuple[str, ...] | None
    encoder: str
    weights: dict[str, Tensor]

    def outputs(self, inputs: Floats) -> NDArray[np.float64]:
        """Logits of the classes [clips, classes], or the value [clips, 1], of each clip."""
        known = torch.from_numpy(np.ascontiguousarray(inputs, np.float32))
        if self.kind == "linear":
            w = self.weights
            found: Tensor = ((known.double() - w["mean"]) / w["scale"]) @ w["weight"].T + w["bias"]
        else:
            pool = AttentivePool(known.shape[2], len(self.weights["output.bias"]))
            pool.load_state_dict(self.weights)
            with torch.no_grad():
                found = torch.cat([pool.eval()(part) for part in known.split(BATCH)])
        logits: NDArray[np.float64] = found.double().numpy()
        return logits

    def answers(self, outputs: NDArray[np.float64]) -> NDArray[Any]:
        """The class or the value of each row of outputs."""
        if self.classes is None:
            return outputs[:, 0]
        return np.array([self.classes[number] for number in outputs.argmax(axis=1)])


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How well a probe answers for videos that it was not fitted on.

    Attributes:
        kind: "class" is judged by accuracy, "value" by R².
        score: over all rows.
        low: lower end of the 95 % interval.
        high: upper end.
        interval: how it was made, in words.
        folds: parts of the cross-validation.
        num_rows: labelled rows.
        num_videos: their videos.
        chance: accuracy of always saying the most frequent class; 0 for values.
        predicted: the answer to each row by the probe that did not see its video.
    """

    kind: Kind
    score: float
    low: float
    high: float
    interval: str
    folds: int
    num_rows: int
    num_videos: int
    chance: float
    predicted: NDArray[Any]


def inputs_of(encoder: LoadedEncoder, clips: NDArray[np.uint8], kind: ProbeKind) -> Floats:
    """What a probe of that kind reads of some clips."""
    with torch.no_grad():
        if kind == "linear":
            found: Tensor = encoder.embed_clip(clips)
        else:
            assert isinstance(encoder.backbone, Backbone)
            found = encoder.backbone.tokens(encoder.prepare(clips))
    return np.asarray(found.float().cpu().numpy())


def fit(
    examples: Examples, labels: NDArray[Any], task: Kind, kind: ProbeKind, encoder: str = ""
) -> Probe:
    """Fit a probe; of a class that is alone it says nothing else.

    A linear probe is fitted on the mean of h over each row's clips, its strength by
    cross-validation over videos; an attentive one on every clip, 300 steps.
    """
    if kind == "linear":
        found = fit_linear(examples.mean(examples.inputs), labels, kind=task, groups=examples.group)
        classes = None if found.classes is None else tuple(map(str, found.classes))
        parts = {name: getattr(found, name) for name in ("mean", "scale", "weight", "bias")}
        weights = {name: torch.from_numpy(np.array(x, np.float64)) for name, x in parts.items()}
        return Probe(kind=kind, classes=classes, encoder=encoder, weights=weights)
    answers = labels[examples.row]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        if task == "class":
            names, numbers = np.unique(answers, return_inverse=True)
            targets, middle, spread = torch.from_numpy(numbers), 0.0, 1.0
        else:
            middle, spread = float(labels.mean()), float(labels.std()) or 1.0
            targets = torch.from_numpy((answers - middle) / spread).float()[:, None]
        pool = AttentivePool(examples.inputs.shape[2], len(names) if task == "class" else 1)
        train_head(
            pool,
            examples.inputs,
            targets,
            torch.from_numpy,
            epochs=math.ceil(ATTENTIVE_STEPS / max(1, len(answers) // BATCH)),
            learning_rate=ATTENTIVE_RATE,
            seed=SEED,
        )
    weights = {name: tensor.detach() for name, tensor in pool.state_dict().items()}
    weights["output.weight"] = weights["output.weight"] * spread
    weights["output.bias"] = weights["output.bias"] * spread + middle
    classes = tuple(map(str, names)) if task == "class" else None
    return Probe(kind=kind, classes=classes, encoder=encoder, weights=weights)


def check_labels(labels: NDArray[Any], group: NDArray[np.object_], task: Kind) -> None:
    """See that a probe can be fitted and judged on videos that it did not see.

    Raises:
        ConfigError: naming the classes that lack examples or videos.
    """
    if task == "value":
        if len(np.unique(group)) < 2 or len(np.unique(labels)) < 2:
            raise ConfigError(
                f"{len(labels)} labelled values of {len(np.unique(group))} videos: at least two "
                "different values and two videos are needed; label more"
            )
        return
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ConfigError(
            f"all {len(labels)} labels are {str(classes[0])!r}: a probe tells at least two classes "
            "apart; label examples of another"
        )
    if (counts < 2).any():
        raise ConfigError(
            f"a single example of {_listed(classes[counts < 2])}: to judge a probe, each class "
            "needs two at least, of two videos; label more, or leave the class out"
        )
    videos = np.array([len(np.unique(group[labels == name])) for name in classes])
    if (videos < 2).any():
        raise ConfigError(
            f"all examples of {_listed(classes[videos < 2])} are of one video: a probe is judged "
            "on videos that it did not see; label it in a second one, or leave the class out"
        )


def cross_validate(
    examples: Examples, labels: NDArray[Any], task: Kind, kind: ProbeKind
) -> Judgement:
    """Answer each row by a probe fitted on other videos.

    Raises:
        ConfigError: as `check_labels`.
    """
    check_labels(labels, examples.group, task)
    _, group = np.unique(examples.group.astype(str), return_inverse=True)
    num_videos = int(group.max()) + 1
    most = num_videos
    if task == "class":
        most = min(len(np.unique(group[labels == name])) for name in np.unique(labels))
    folds = min(FOLDS, most)
    splitter = (StratifiedGroupKFold if task == "class" else GroupKFold)(folds)
    predicted = labels.copy()
    for number, (train, test) in enumerate(splitter.split(labels, labels, group), start=1):
        if kind == "attentive":
            print(f"fold {number} of {folds}", flush=True)
        if len(np.unique(labels[train])) < 2:
            predicted[test] = labels[train][0]
            continue
        probe = fit(examples.take(train), labels[train], task, kind)
        held = examples.take(test)
        predicted[test] = probe.answers(held.mean(probe.outputs(held.inputs)))
    (score,) = scores(task, labels, predicted)
    if task == "class":
        low, high = wilson(score, num_videos)
        interval = "Wilson, with as many independent observations as videos"
        chance = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    else:
        low, high = _bootstrapped(labels, predicted, group)
        interval, chance = f"bootstrap over videos, {RESAMPLES} resamples", 0.0
    return Judgement(
        kind=task,
        score=score,
        low=low,
        high=high,
        interval=interval,
        folds=folds,
        num_rows=len(labels),
        num_videos=num_videos,
        chance=chance,
        predicted=predicted,
    )


def wilson(share: float, count: int, *, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % score interval of a share of `count` observations (Wilson 1927)."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    half *= z / (1 + z * z / count)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))  # rounding


def _bootstrapped(
    truth: NDArray[Any], predicted: NDArray[Any], group: NDArray[np.int64]
) -> tuple[float, float]:
    """95 % of the R² of resampled videos."""
    rng = np.random.default_rng(SEED)
    rows = [np.flatnonzero(group == video) for video in range(group.max() + 1)]
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[v] for v in rng.integers(0, len(rows), len(rows))])
        if len(np.unique(truth[drawn])) > 1:
            found.append(scores("value", truth[drawn], predicted[drawn])[0])
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def save_probe(probe: Probe, folder: Folder, about: dict[str, Any]) -> None:
    """Write a probe as safetensors and JSON, the latter last; `about` is kept with it."""
    content = {k: v for k, v in asdict(probe).items() if k != "weights"} | about
    with TemporaryDirectory(prefix="adassl-probe-") as staging:
        file = Path(staging) / WEIGHTS_FILE
        save_file({name: x.contiguous() for name, x in probe.weights.items()}, file)
        content["weights_sha256"] = digest_of(file)
        folder.put(file, WEIGHTS_FILE)
    folder.write_json(ABOUT_FILE, content)


def load_probe(folder: Folder) -> Probe:
    """Read a probe; nothing in its folder is run.

    Raises:
        ConfigError: if there is none, or it is damaged.
    """
    content = folder.read_json(ABOUT_FILE)
    with folder.reading(WEIGHTS_FILE) as file:
        if content is None or file is None:
            raise ConfigError(
                f"{folder} holds no probe; `adassl probe RUN labels.csv` fits one and names it"
            )
        if digest_of(file) != content.get("weights_sha256"):
            raise ConfigError(f"{folder}: {WEIGHTS_FILE} is not that of {ABOUT_FILE}: fit it anew")
        try:
            weights = read_safetensors(file)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    classes = content["classes"]
    return Probe(
        kind=content["kind"],
        classes=None if classes is None else tuple(classes),
        encoder=content["encoder"],
        weights=weights,
    )


def save_picture(folder: Folder, name: str, draw: Callable[[Path], Path]) -> None:
    """Draw a picture into a folder, wherever that is."""
    with TemporaryDirectory(prefix="adassl-probe-") as staging:
        folder.put(draw(Path(staging) / name), name)


def _listed(names: NDArray[Any]) -> str:
    shown = ", ".join(map(repr, map(str, names[:5])))
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
