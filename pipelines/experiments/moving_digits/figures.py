"""Pictures of the moving-digits experiment, from its results and its trials' folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.experiments import figures
from pipelines.experiments.figures.forecasts import Cloud, FutureClips
from pipelines.experiments.moving_digits.trial import WORLD_FILE
from pipelines.experiments.results import Results, curves_of
from pipelines.sources.digit_motion import probability_of_y

SHOWN_METHODS = ("byol-v-mixture", "byol-v", "infonce-v", "byol-no-r")
CONTROLS = ("alone", "no r")
NUM_CLOUDS = 4


def representation(results: Results, path: Path) -> Path:
    """Digit, velocity and change of every method of setting A."""
    columns = {
        "digit, accuracy (h)": "test/digit/linear",
        "velocity, R² (h)": "test/velocity/linear",
        "change, R² (z, z+)": "test/change_pair/linear",
        "change, R² (edited)": "test/change_edited/linear",
    }
    chosen = results.runs[results.runs.group == "A"]
    groups = chosen.groupby("title", sort=False)
    keys = [key for key in columns.values() if key in chosen]
    names = {key: name for name, key in columns.items()}
    means = groups[keys].mean().rename(columns=names)
    sds = groups[keys].std().rename(columns=names)
    muted = [title for title in means.index if any(word in title for word in CONTROLS)]
    return figures.dots(
        means, sds, path, title="What the embeddings know", subtitle="setting A", muted=muted
    )


def futures(results: Results, trials: Path, group: str, path: Path) -> Path | None:
    """Nearest real clips to sampled futures, of the first two of the methods and of the control."""
    shown = [(t, w) for m, t, w in _worlds(results, trials, group) if m.startswith("byol")]
    clips = [
        (title, FutureClips(sources=w["sources"], came=w["came"], nearest=w["nearest"]))
        for title, w in shown
        if w["nearest"].shape[1] == 16 or "no r" in title
    ]
    if not clips:
        return None
    return figures.future_sheet(clips, path, title=f"Sampled futures, setting {group}")


def velocities(results: Results, trials: Path, group: str, path: Path) -> Path | None:
    """Sampled next velocities of some sources, with those of the law."""
    clouds = [
        Cloud(
            name=title,
            samples=w["samples"][i],
            law=w["law"][i],
            velocity=w["velocity"][i],
            next_velocity=w["next_velocity"][i],
        )
        for _, title, w in _worlds(results, trials, group)
        for i in range(NUM_CLOUDS)
    ]
    if not clouds:
        return None
    title = f"Next velocity: sampled and by the law, setting {group}"
    return figures.velocity_clouds(clouds, path, title=title)


def ranks(results: Results, trials: Path, group: str, path: Path) -> Path | None:
    """Rank histograms of the methods with samples."""
    counts = {t: w["ranks"] for _, t, w in _worlds(results, trials, group) if w["ranks"].sum()}
    if not counts:
        return None
    title = f"Rank of what came among 19 futures, setting {group}"
    return figures.rank_histograms(counts, path, title=title)


def axes(results: Results, group: str, path: Path) -> Path | None:
    """Share of futures that change along y by digit."""
    shares = {}
    for method, title in results.titles(group).items():
        table = pd.DataFrame(
            {d: results.values(group, method, f"test/world/share_y/{d}") for d in range(10)}
        )
        if len(table) and "no-r" not in method:
            shares[title] = (table.mean().to_numpy(), table.std().fillna(0.0).to_numpy())
    if not shares:
        return None
    truth = np.array([probability_of_y("A" if group == "A" else "B", d) for d in range(10)])
    title = f"Which axis changes, by digit, setting {group}"
    return figures.axis_curve(shares, truth, path, title=title)


def use(results: Results, trials: Path, path: Path) -> Path:
    """KL, active dimensions and their entropy over training."""
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    asked = {
        "KL of V, nats": ("train/kl", "-v"),
        "E‖r‖₀ of S": ("train/latent_mean_active", "-s"),
        "H(ρ) of S, nats": ("train/latent_use_entropy", "-s"),
    }
    for panel, (metric, kind) in asked.items():
        lines = {
            title: curves_of(results, trials, "A", method, metric)
            for method, title in results.titles("A").items()
            if kind in method
        }
        panels[panel] = {title: line for title, line in lines.items() if len(line)}
    return figures.grid_of_lines(
        panels, path, title="How r is used over training", y_label="", share_y=False
    )


def long(results: Results, trials: Path, path: Path) -> Path:
    """KL, loss and their course with and without free bits."""
    panels = {
        name: {
            title: curves_of(results, trials, "long", method, metric)
            for method, title in results.titles("long").items()
        }
        for name, metric in {"KL, nats": "train/kl", "InfoNCE, nats": "train/ssl"}.items()
    }
    title = "KL over a long training"
    return figures.grid_of_lines(panels, path, title=title, y_label="", share_y=False)


def _worlds(
    results: Results, trials: Path, group: str
) -> list[tuple[str, str, dict[str, NDArray[Any]]]]:
    """Method, title and arrays of the first trial of each method that is shown."""
    found = []
    titles = results.titles(group)
    for method in SHOWN_METHODS:
        if method not in titles:
            continue
        first = results.of_arm(group, method).trial.iloc[0]
        file = trials / str(first) / WORLD_FILE
        if file.exists():
            with np.load(file) as arrays:
                found.append((method, titles[method], {k: arrays[k] for k in arrays.files}))
    return found
