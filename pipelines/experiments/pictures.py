"""The clips that a trial keeps for the pictures of its page, and those pictures."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import figures
from pipelines.evaluation.embed import EmbeddedPairs
from pipelines.evaluation.evaluate import nearest_futures
from pipelines.evaluation.latent_action import Carried
from pipelines.experiments.page import Draw
from pipelines.experiments.results import Results
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialRun

SHOWN, SHOWN_FUTURES = 6, 5
PICTURES_FILE = "pictures.npz"
"""In the trial's folder: the clips that the pictures are drawn from."""
MAP, LABELS = "map", "map_labels"

Clips = Mapping[str, NDArray[Any]]


def keep_pictures(
    trial: TrialRun,
    learner: Learner,
    pairs: EmbeddedPairs,
    carried: Carried | None = None,
    labels: NDArray[Any] | None = None,
) -> None:
    """Write the clips of pairs, of sampled futures and of transfers, for the page to draw.

    With labels of the pairs also their representations, for a map.
    """
    _, first = np.unique(pairs.path.astype(str), return_index=True)
    chosen = first[np.linspace(0, len(first) - 1, min(SHOWN, len(first))).astype(int)]
    clips = {"context": pairs.clips[chosen], "target": pairs.next_clips[chosen]}
    nearest = None
    if learner.method.latent is not None:
        nearest = nearest_futures(learner, pairs, chosen, SHOWN_FUTURES)
    if nearest is not None:
        clips["futures"] = pairs.next_clips[nearest]
    if carried is not None:
        rows = np.linspace(0, len(carried.contexts) - 1, SHOWN).astype(int)
        clips |= {
            "transfer_donor": pairs.clips[carried.donors[rows]],
            "transfer_donor_next": pairs.next_clips[carried.donors[rows]],
            "transfer_context": pairs.clips[carried.contexts[rows]],
            "transfer_found": pairs.next_clips[carried.found[rows]],
            "transfer_right": pairs.next_clips[carried.right[rows]],
        }
    if labels is not None:
        own = labels if labels.dtype.kind == "f" else labels.astype(str)
        clips |= {MAP: pairs.representation.astype(np.float16), LABELS: own}
    with trial.folder.folder.writing(PICTURES_FILE) as path, path.open("wb") as file:
        np.savez_compressed(file, **clips)


def pictures_of(
    results: Results, trials: Path, group: str, method: str, *, thing: str, label: str = ""
) -> dict[str, tuple[str, Draw]]:
    """The pictures that the first trial of an arm has kept the clips of.

    Args:
        results: the finished trials.
        trials: the folder of their folders.
        group: of the arm.
        method: of the arm.
        thing: what the groups of pairs are: "video", "object".
        label: of what the colours of the map are.
    """
    runs = results.of_arm(group, method)
    file = trials / str(runs.trial.iloc[0]) / PICTURES_FILE if len(runs) else None
    if file is None or not file.exists():
        return {}
    with np.load(file) as arrays:
        clips = dict(arrays)
    drawn: dict[str, tuple[str, Callable[[Clips, Path], Path]]] = {
        "context": (f"{group}_pairs", partial(_draw_pairs, thing)),
        "futures": (f"{group}_futures", _draw_futures),
        "transfer_donor": (f"{group}_transfers", partial(_draw_transfers, thing)),
        MAP: (f"{group}_map_{method}", partial(_draw_map, label)),
    }
    captions = {
        "context": "Test pairs",
        "futures": f"Sampled futures as the nearest real {thing}s",
        "transfer_donor": f"r of a donor carried over to another {thing}",
        MAP: f"h of test pairs by {label}, {results.titles(group)[method]}",
    }
    return {
        name: (captions[key], partial(draw, clips))
        for key, (name, draw) in drawn.items()
        if key in clips
    }


def _draw_pairs(thing: str, clips: Clips, path: Path) -> Path:
    captions = [f"{thing} {i + 1}" for i in range(len(clips["context"]))]
    return figures.pairs_sheet(clips["context"], clips["target"], None, captions, path)


def _draw_futures(clips: Clips, path: Path) -> Path:
    return figures.futures(clips["context"], clips["target"], clips["futures"], path)


def _draw_transfers(thing: str, clips: Clips, path: Path) -> Path:
    return figures.transfers(
        donors=(clips["transfer_donor"], clips["transfer_donor_next"]),
        contexts=clips["transfer_context"],
        found=clips["transfer_found"],
        right=clips["transfer_right"],
        path=path,
        thing=thing,
    )


def _draw_map(label: str, clips: Clips, path: Path) -> Path:
    return figures.projection(clips[MAP].astype(np.float32), clips[LABELS], path, label=label)
