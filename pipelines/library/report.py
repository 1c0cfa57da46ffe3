"""`adassl report`: one page about a run: what it was trained on, what it knows, and pictures.

It embeds some moments of the test videos in this process, so no cluster is needed.
"""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from adassl.latent_size import num_kept
from adassl.latents import GivenLatent
from adassl.next_clip import next_clip_temperature
from adassl.surprise import surprise_nats
from pipelines import figures
from pipelines.config.run import ConfigError, RunConfig
from pipelines.evaluation.embed import EmbeddedPairs, embed, pairs_at_hand
from pipelines.evaluation.evaluate import restored
from pipelines.evaluation.expectation import Expectation, fitted_pairs, trained_forecaster
from pipelines.evaluation.factors import factors_of, is_value
from pipelines.figures import html
from pipelines.figures.style import BLUE, INK
from pipelines.library.encoders import find_encoder, is_export
from pipelines.library.report_export import default_place, exported_page
from pipelines.library.report_pictures import (
    SHOWN,
    Moments,
    map_section,
    neighbours_section,
    strips,
)
from pipelines.numbers import number
from pipelines.pairs.plan import Index, find
from pipelines.pairs.table import PairTable
from pipelines.storage.folder import Folder, parent_and_name
from pipelines.storage.runs import RunFolder, best_state, newest_state
from pipelines.tracking.async_logger import without_passwords
from pipelines.training.alarms import ADVICE, PREFIX
from pipelines.training.learner import Learner
from pipelines.training.metrics import without_dimensions

NUM_MOMENTS = 300
PAGE = "report.html"
FUTURES = 5
"""Of each moment shown."""
COLLAPSE = {
    "centre_norm": "‖centre‖: 1 is a full collapse",
    "residual_norm": "mean residual: 0 is a full collapse",
    "residual_spread": "spread of the residuals",
    "dimension_std_mean": "standard deviation of a dimension, mean",
    "dimension_std_min": "standard deviation of a dimension, least",
    "rankme": "RankMe of z: effective dimensions",
    "representation_rankme": "RankMe of h",
    "alignment": "alignment: squared distance of the two moments of a pair",
    "uniformity": "uniformity: lower is more even",
}
DRAWN = 32
"""Futures of each moment, for its surprise."""

Array = NDArray[Any]


def report(
    where: str,
    *,
    out: str | None = None,
    checkpoint: str = "newest",
    num_moments: int = NUM_MOMENTS,
    index: str | None = None,
    videos_root: str | None = None,
) -> str:
    """Write the page of a run, or of an exported encoder; returns where.

    Args:
        where: the folder of a run with a checkpoint at least, of which what is not known yet is
            left out; or one that `adassl export` wrote.
        out: the HTML file, a path or a URI; None: report.html in the run's folder.
        checkpoint: newest or best.
        num_moments: test pairs that are embedded.
        index: of the library to look at, for an exported encoder; of a run its own.
        videos_root: the folder that holds the videos now, if they were moved.

    Raises:
        ConfigError: if there is no run, no checkpoint, or no test video.
    """
    folder = Folder(where)
    if is_export(folder):
        place = out or default_place(folder)
        page = exported_page(find_encoder(where), index=index, num_moments=num_moments)
    else:
        place = out or f"{folder}/{PAGE}"
        page = _page_of_run(RunFolder(folder), checkpoint, num_moments, videos_root)
    parent, name = parent_and_name(place)
    with parent.writing(name) as file:
        Path(file).write_text(page, encoding="utf-8")
    return place


def _page_of_run(run: RunFolder, checkpoint: str, num_moments: int, videos_root: str | None) -> str:
    learner = restored(run, checkpoint, videos_root)
    index = find(learner.config.data)
    if isinstance(index, PairTable) and "text" in index.about.kinds.values():
        raise ConfigError(
            f"{learner.config.data.index}: a page shows pictures, and this is a table of texts; "
            "`adassl evaluate` reports on them"
        )
    split = next((s for s in ("test", "val", "train") if len(index.select(split=s))), None)
    if split is None:
        raise ConfigError(f"{learner.config.data.index} has no usable video; index again")
    pairs = embed(learner, pairs_at_hand(learner.config.data, split, num_moments))
    state = newest_state(run) if checkpoint == "newest" else best_state(run)
    assert state is not None  # or `restored` would have said so
    history = state.get("history", [])
    moments, label = _moments(pairs, index.select(split=split))
    body = "\n".join(
        [
            _about(run, learner, index, history=history),
            _curves(history),
            _probes(run.summary(), split),
            _collapse(run.summary(), split),
            _use_of_latent(learner, pairs),
            map_section(
                moments,
                f"{len(pairs)} moments of {split} videos by h{f', by {label}' if label else ''}",
            ),
            neighbours_section(moments),
            *_foreseen(learner, pairs, moments),
        ]
    )
    return html.page(f"Run {run.name}", body, head=html.plot_script())


def _about(
    run: RunFolder, learner: Learner, index: Index, *, history: Sequence[Mapping[str, float]]
) -> str:
    config, record = learner.config, run.record()
    usable = index.select()
    splits = pd.Series(usable.table["split"].to_pylist()).value_counts()
    counted = ", ".join(f"{count} {split}" for split, count in splits.items())
    size = num_kept(learner.method.latent)
    r = f"{config.method.latent}, {size} dimensions, β {config.method.beta:g}"
    if isinstance(usable, PairTable):
        amount = {"pairs": usable.describe()}
        a_pair = usable.rule.describe() if usable.rule else "a row of the table"
    else:
        seconds = usable.column("duration_seconds").sum()
        amount = {"videos": f"{len(usable)} ({counted}), {seconds:,.0f} s"}
        a_pair = f"x⁺ {_gap(config)} after x"
    facts = {
        **amount,
        "index": f"{config.data.index}, digest {record.data_digest if record else '–'}",
        "a clip": f"{config.data.frames_per_clip} frames at {config.data.frame_size} pixels",
        "a pair": a_pair,
        "objective": config.method.objective,
        "r": "none" if config.method.latent == "none" else r,
        "encoder": f"{config.backbone.name}, {_millions(learner)} million weights",
        "steps": f"{learner.step:,} of {config.train.steps:,}, {config.train.global_batch_size} "
        "pairs each",
        "alarms": _alarms(history) or "none",
        "MLflow run": (record and record.mlflow_run_id) or "–",
        "versions": ", ".join(
            f"{name} {importlib.metadata.version(name)}" for name in ("adassl", "torch")
        ),
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    shown = json.dumps(
        without_passwords(config.model_dump(mode="json")), indent=2, ensure_ascii=False
    )
    return (
        f"<dl>{rows}</dl>\n<details><summary>All settings</summary>"
        f"<pre>{escape(shown)}</pre></details>"
    )


def _gap(config: RunConfig) -> str:
    low, high = config.data.gap
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return f"{span} {config.data.gap_unit}"


def _millions(learner: Learner) -> str:
    size = sum(p.numel() for p in learner.method.encoder.backbone.parameters())
    return number(size / 1e6, ".2f")


def _alarms(history: Sequence[Mapping[str, float]]) -> str:
    """Each alarm with the step at which it was raised, and what to do."""
    raised = []
    for name, advice in ADVICE.items():
        steps = [entry["step"] for entry in history if entry.get(PREFIX + name)]
        if steps:
            raised.append(f"{name} at step {steps[0]:.0f}: {advice}")
    return "; ".join(raised)


def _curves(history: Sequence[Mapping[str, float]]) -> str:
    """The pictures that a run has in its folder too, of all steps so far."""
    with TemporaryDirectory(prefix="adassl-") as place:
        drawn = [
            (figures.loss_terms(history, Path(place, "loss.png")), "Loss and its terms"),
            (figures.collapse(history, Path(place, "collapse.png")), "Centre, residual and rank"),
        ]
        shown = "".join(html.picture(html.png_uri(file), text, width=540) for file, text in drawn)
    return html.section("Training", shown)


def _probes(summary: Mapping[str, float], split: str) -> str:
    """What probes read, as far as the run was evaluated: a row a factor, a column a measure."""
    rows: dict[str, dict[str, str]] = {}
    for name, value in without_dimensions(summary).items():
        parts = name.split("/")
        is_probe = any(word in parts[-1] for word in ("_accuracy", "_r2", "recall_at"))
        if parts[0] == split and len(parts) == 3 and is_probe:
            rows.setdefault(parts[1], {})[parts[2].replace("_", " ")] = number(value, ".3f")
    note = "Read from h by probes fitted on training videos, of videos never trained on."
    if not rows:
        return html.section("What it knows", _say("`adassl evaluate` has found no label to ask."))
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("–")
    return html.section(
        "What it knows", html.table(table.rename_axis("factor").reset_index()), note=note
    )


def _collapse(summary: Mapping[str, float], split: str) -> str:
    rows = [
        {"measure": said, "value": number(summary[f"{split}/{name}"], ".3f")}
        for name, said in COLLAPSE.items()
        if f"{split}/{name}" in summary
    ]
    if not rows:
        return ""
    return html.section("Collapse and spread", html.table(pd.DataFrame(rows), kind="words"))


def _use_of_latent(learner: Learner, pairs: EmbeddedPairs) -> str:
    if pairs.latent is None:
        return html.section("The use of r", _say("This method has no r."))
    use = pairs.latent.penalty_per_dimension.mean(dim=0).numpy()
    unit = "KL, nats" if learner.method.has_futures else "share of pairs"
    ranked = np.sort(use)[::-1]
    bars = go.Figure(go.Bar(x=np.arange(1, len(use) + 1), y=ranked, marker_color=BLUE))
    bars.update_layout(
        height=260,
        margin={"t": 10, "l": 60, "r": 10, "b": 50},
        xaxis_title="dimensions of r, the most used first",
        yaxis_title=unit,
        font={"family": html.FONT, "size": 13, "color": INK},
        plot_bgcolor="white",
    )
    note = f"{(use > 0.01).sum()} of {len(use)} dimensions carry something; in all {use.sum():.2f}."
    return html.section("The use of r", html.plot(bars, "use-of-r"), note=note)


def _moments(pairs: EmbeddedPairs, videos: Index) -> tuple[Moments, str | None]:
    """The moments x, and the name of the label that colours them, if there is one."""
    factors = factors_of(pairs, videos)
    label = next((str(name) for name in factors if not is_value(factors[name])), None)
    moments = Moments(
        representation=pairs.representation,
        clips=pairs.clips,
        path=pairs.path,
        captions=[_moment(pairs, videos, i) for i in range(len(pairs))],
        kinds=[str(kind) for kind in (pairs.path if label is None else factors[label])],
    )
    return moments, label


def _foreseen(learner: Learner, pairs: EmbeddedPairs, moments: Moments) -> list[str]:
    """Sampled futures of some moments, and the moments whose x+ was the least expected."""
    if pairs.latent is None or isinstance(learner.method.latent, GivenLatent):
        return []
    expectation = Expectation(learner, fitted_pairs(learner, pairs), trained_forecaster(learner))
    with torch.no_grad():
        sampled = expectation.futures(np.arange(len(pairs)), DRAWN).float().cpu()
    bank = torch.from_numpy(pairs.target)
    rows = []
    for i in moments.spread():
        nearest = (sampled[:FUTURES, i] @ bank.T).argmax(dim=-1).tolist()
        rows.append(
            [
                *_pair(pairs, moments, i),
                *((pairs.next_clips[j], f"future: {moments.captions[j]}") for j in nearest),
            ]
        )
    nats = surprise_nats(sampled, bank, temperature=next_clip_temperature(sampled, bank)).numpy()
    seen: dict[str, int] = {}  # the most surprising moment of each video
    for i in np.argsort(-nats):
        seen.setdefault(str(pairs.path[i]), int(i))
    surprises = [
        [*_pair(pairs, moments, i), (pairs.next_clips[i][-1:], f"{nats[i]:+.2f} nats")]
        for i in list(seen.values())[:SHOWN]
    ]
    return [
        html.section(
            "Futures",
            strips(rows),
            note="Each sampled future is shown as the real clip whose embedding is nearest to it.",
        ),
        html.section(
            "Surprises",
            strips(surprises),
            note="Where x⁺ was the least expected, one moment of a video; about 0 is as expected. "
            "`adassl surprise` looks at every moment of a library.",
        ),
    ]


def _pair(pairs: EmbeddedPairs, moments: Moments, i: int) -> list[tuple[Array, str]]:
    return [
        (pairs.clips[i], f"x: {moments.captions[i]}"),
        (pairs.next_clips[i], "x⁺: what came"),
    ]


def _moment(pairs: EmbeddedPairs, videos: Index, number_: int) -> str:
    if isinstance(videos, PairTable):
        return f"{pairs.path[number_]}, row {pairs.start[number_]}"
    fps = dict(zip(videos.path, videos.fps, strict=True))[pairs.path[number_]]
    return f"{Path(str(pairs.path[number_])).name} at {pairs.start[number_] / fps:.1f} s"


def _say(text: str) -> str:
    return f"<p>{escape(text)}</p>"
