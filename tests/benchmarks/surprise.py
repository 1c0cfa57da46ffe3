"""Surprise against injected events: does it alarm where the law is broken, and only there?

`python -m tests.benchmarks.surprise` trains the recipe `digit-scenes` on moving digits of setting A
with r (AdaSSL-V) and without, three seeds each, and prints AUROC by kind of event and measure.
Weights are kept in the folder; the same command goes on. Six trainings of 200 steps take some 15
minutes on one undisturbed core.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize

from adassl.forecaster import Forecaster
from adassl.next_clip import next_clip_temperature
from adassl.surprise import surprise_nats
from pipelines.config.run import with_overrides
from pipelines.evaluation.embed import context_embeddings, most_likely_latent
from pipelines.evaluation.expectation import TRAINING_PAIRS, futures_of
from pipelines.recipes import recipe
from pipelines.sources.digit_motion import (
    SEGMENT_FRAMES,
    draw_track,
    glyph_splits,
    load_glyphs,
    render,
)
from pipelines.training.learner import Learner
from pipelines.video.batch import Frames, PairBatch
from tests.events import CANVAS, CLIP, KINDS, LIKELY, UNLIKELY, EventPairs, event_pairs

Scores = NDArray[np.float64]
ARMS: dict[str, dict[str, Any]] = {"v": {}, "no-r": {"method.latent": "none"}}
NUM_SAMPLES, NUM_FITTED, NUM_CALIBRATED = 64, TRAINING_PAIRS, 400
"""Futures of a moment; training pairs whose r they have, and others that show how wide."""
ALARM_SHARE = 0.05
"""Of the moments of the law that alarm, by which the threshold of each measure is set."""


def train_on_digits(arm: str, seed: int, *, steps: int, batch_size: int = 256) -> Learner:
    """A learner after `steps` of the recipe on fresh moving digits of the training glyphs."""
    learner = fresh(arm, seed, steps=steps, batch_size=batch_size)
    for batch in _batches(seed, steps, batch_size):
        learner.train_step(batch)
    return learner


def fresh(arm: str, seed: int, *, steps: int, batch_size: int = 256) -> Learner:
    """The learner of such a training before its first step."""
    config = with_overrides(
        recipe("digit-scenes"),
        {
            "train.precision": "bfloat16",
            "train.seed": seed,
            "train.steps": steps,
            "train.global_batch_size": batch_size,
            **ARMS[arm],
        },
    )
    return Learner(config, torch.device("cpu"))


def _batches(seed: int, steps: int, size: int) -> Iterator[PairBatch]:
    glyphs, digits = load_glyphs()
    pool = np.flatnonzero(glyph_splits(len(digits), 0) == "train")
    rng = np.random.default_rng([7, seed])
    for _ in range(steps):
        frames = np.stack(
            [
                render(glyphs[glyph], _positions(rng, int(digits[glyph])), CANVAS)
                for glyph in rng.choice(pool, size)
            ]
        )[..., None]
        yield PairBatch(
            row=np.arange(size),
            video=np.arange(size),
            start=np.zeros(size, np.int64),
            context=frames[:, :CLIP],
            target=frames[:, CLIP : 2 * CLIP],
            surrogate=frames[:, 2 * CLIP :],
        )


def _positions(rng: np.random.Generator, digit: int) -> NDArray[np.float64]:
    return draw_track(rng, setting="A", digit=digit, num_frames=SEGMENT_FRAMES).positions


class Measures:
    """What each measure says of pairs, by one learner.

    Futures and temperature are fitted as `adassl surprise` does it, on pairs without events.
    """

    def __init__(self, learner: Learner, fitted: EventPairs, ordinary: EventPairs) -> None:
        learner.method.eval()
        self._learner = learner
        self._forecaster: Forecaster | None = None
        if learner.method.latent is not None:
            self._forecaster = self._fit(fitted)
        futures, target, context = self._embed(ordinary)
        self.temperature = next_clip_temperature(futures[:16], target)
        self._bank = torch.cat([target, context])

    def __call__(self, pairs: EventPairs) -> dict[str, Scores]:
        """Scores of pairs, by the name of the measure; the more, the more it alarms."""
        futures, target, context = self._embed(pairs)
        tau = self.temperature
        likely = torch.logsumexp((futures * target).sum(-1) / tau, dim=0)
        others = torch.stack(
            [torch.logsumexp((f @ self._bank.T / tau).flatten(), 0) for f in futures.unbind(1)]
        )
        last, came = (p.astype(float) for p in (pairs.context[:, -1], pairs.target[:, 0]))
        return {
            "surprise": surprise_nats(futures, target, temperature=tau).double().numpy(),
            "density alone": -likely.double().numpy(),
            "against a bank": (others - likely).double().numpy(),
            "distance": (context - target).norm(dim=1).double().numpy(),
            "frames": np.abs(last - came).mean(axis=(1, 2, 3)),
        }

    @torch.no_grad()
    def _fit(self, pairs: EventPairs) -> Forecaster:
        method = self._learner.method
        context, target = (self._encoded(clips) for clips in (pairs.context, pairs.target))
        latent = most_likely_latent(method, context, target)
        return Forecaster.fit(method, context, normalize(target, dim=-1), latent)

    @torch.no_grad()
    def _embed(self, pairs: EventPairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        context, target = (self._encoded(clips) for clips in (pairs.context, pairs.target))
        forecaster = self._forecaster
        futures = futures_of(self._learner, forecaster, context, NUM_SAMPLES)
        return futures, normalize(target, dim=-1), normalize(context, dim=-1)

    def _encoded(self, clips: Frames) -> torch.Tensor:
        return context_embeddings(self._learner, clips)


def auroc(positive: Scores, negative: Scores) -> float:
    """Probability that an event scores above a moment without."""
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    return float(roc_auc_score(labels, np.concatenate([positive, negative])))


def judge(learner: Learner, seed: int, num_pairs: int) -> pd.DataFrame:
    """AUROC of each measure by kind, and the share of likely changes that alarm."""
    rng = np.random.default_rng([11, seed])
    fitted = event_pairs("law", NUM_FITTED, rng, split="train")
    ordinary = event_pairs("law", NUM_CALIBRATED, rng, split="val")
    measure = Measures(learner, fitted, ordinary)
    scores = {kind: measure(event_pairs(kind, num_pairs, rng, split="test")) for kind in KINDS}
    rows = {}
    for name in scores["law"]:
        threshold = np.quantile(scores["law"][name], 1 - ALARM_SHARE)
        row = {
            event: auroc(scores[event][name], scores[other][name])
            for event, other in {**UNLIKELY, **LIKELY}.items()
        }
        alarms = {f"{k}, alarms": float((scores[k][name] > threshold).mean()) for k in LIKELY}
        rows[name] = row | alarms
    return pd.DataFrame(rows).T


NAMES = {
    ("v", "surprise"): "surprise",
    ("no-r", "surprise"): "surprise, no r",
    ("v", "density alone"): "its density alone",
    ("v", "against a bank"): "softmax over other clips",
    ("v", "distance"): r"\|z − z⁺\|",
    ("no-r", "distance"): r"\|z − z⁺\|, no r",
    ("v", "frames"): "frame difference",
}


def main(
    folder: Annotated[Path, typer.Option(help="Where weights are kept.")] = Path("bench/surprise"),
    quick: Annotated[bool, typer.Option("--quick", help="One seed of 60 steps.")] = False,
    pairs: Annotated[int, typer.Option(help="Of each kind, for each seed.")] = 400,
) -> None:
    """Train what is not there yet, and print the tables in Markdown."""
    torch.set_num_threads(1)
    console = Console(width=200)
    seeds, steps = ((0,), 60) if quick else ((0, 1, 2), 200)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[pd.DataFrame]] = {arm: [] for arm in ARMS}
    for seed in seeds:
        for arm in ARMS:
            learner = _trained(folder / f"{arm}-{seed}-{steps}.pt", arm, seed, steps, console)
            found[arm].append(judge(learner, seed, pairs))
    for title, columns in {
        "AUROC of events that the law excludes (goal: 0.9)": list(UNLIKELY),
        "What the law makes likely: AUROC (0.5 is best), and share above the threshold": [
            *LIKELY,
            *(f"{kind}, alarms" for kind in LIKELY),
        ],
    }.items():
        console.print(f"\n{title}\n")
        console.print("| measure | " + " | ".join(columns) + " |", highlight=False)
        console.print("|---" * (len(columns) + 1) + "|", highlight=False)
        for (arm, measure), name in NAMES.items():
            values = np.stack([table.loc[measure, columns] for table in found[arm]]).astype(float)
            cells = [f"{mean:.2f}" for mean in values.mean(axis=0)]
            if len(values) > 1:
                sds = values.std(axis=0, ddof=1)
                cells = [f"{cell} ± {sd:.2f}" for cell, sd in zip(cells, sds, strict=True)]
            console.print(f"| {name} | " + " | ".join(cells) + " |", highlight=False, markup=False)


def _trained(path: Path, arm: str, seed: int, steps: int, console: Console) -> Learner:
    if not path.exists():
        console.print(f"training {path.stem}", highlight=False)
        state = train_on_digits(arm, seed, steps=steps).state_dict()
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    learner = fresh(arm, seed, steps=steps)
    learner.load_state_dict(torch.load(path, weights_only=True))
    return learner


if __name__ == "__main__":
    typer.run(main)
