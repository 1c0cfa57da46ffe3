"""The model card of an exported encoder: what it was trained on, how, and how good it is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.config.run import MAY_CHANGE, RunConfig, flatten
from pipelines.library.encoders import TrainedEncoder
from pipelines.numbers import number
from pipelines.recipes import RECIPES, recipe
from pipelines.tracking import standard_tags
from pipelines.training.alarms import Alarm, AlarmMonitor
from pipelines.training.metrics import without_dimensions
from pipelines.video.splits import SPLITS

NOT_STATED = "not stated"
_PROTOCOL = """\
`val/…`: on pairs of the validation videos, in training, at the exported step; `next_clip_nats` is
the log-likelihood in nats, above chance, of the clip that came, under futures sampled without
seeing it. `test/…`: on videos never trained on; probes are fitted on frozen representations of
training videos and tested on test videos: `linear` is logistic or ridge regression whose strength
is chosen by cross-validation over videos, `knn` the 20 nearest by cosine; accuracy for classes, R²
for values. They are of the newest checkpoint, unless `adassl evaluate --checkpoint best` was run
later."""


def model_card(
    found: TrainedEncoder,
    *,
    summary: Mapping[str, Any],
    formats: Sequence[str],
    license_text: str | None,
) -> str:
    """The card in Markdown.

    Args:
        found: the encoder.
        summary: the final metrics of the run.
        formats: lines on the other formats that the folder holds.
        license_text: of the weights.
    """
    source, about = found.source, found.encoder.preprocessing
    rate = "not known" if about.frames_per_second is None else f"{about.frames_per_second:g}"
    tested = {k: v for k, v in without_dimensions(summary).items() if k.startswith("test/")}
    metrics = [(k, number(float(v), ".4g")) for k, v in {**_at(found), **tested}.items()]
    alarms = alarms_of(found)
    return f"""---
license: other
license_name: "{_plain(license_text or NOT_STATED)}"
library_name: adassl
tags: [self-supervised, video, representation-learning]
---

# {source.run}

An encoder of clips of video, trained without labels by AdaSSL (arXiv 2602.02381).

- licence of these weights: {license_text or NOT_STATED}
- run `{source.run}`, its {source.checkpoint} checkpoint: step {source.step} of \
{found.config.train.steps}; checkpoints are judged by {source.best_metric}, here \
{number(source.best_value, ".4g")}
- backbone {found.architecture.backbone}, representation h of \
{found.encoder.encoder.output_dim}, embedding z of {found.architecture.embedding_dim}

## Use

```python
import adassl  # torch and jaxtyping are all it needs

encoder = adassl.load("FOLDER")
h = encoder.embed_clip(frames)  # uint8 [frames, height, width, channels], or a batch of such
z = encoder.project(h)
```
{"".join(f"{chr(10)}{line}{chr(10)}" for line in formats)}
## Preprocessing

{
        _table(
            ("what", "value"),
            [
                ("frames in a clip, consecutive", str(about.frames_per_clip)),
                ("frames per second, median of the videos trained on", rate),
                ("frame", f"{about.frame_size} × {about.frame_size}, {_crop(about.crop)}"),
                ("colours", "grey, BT.601 luma" if about.grayscale else "RGB"),
                ("normalisation", about.normalisation),
            ],
        )
    }

`embed_clip` does all of it.

## Data

{_data(found)}

## Training

{_recipe(found.config)}

## Metrics

{_PROTOCOL}

{_table(("metric", "value"), metrics) if metrics else "None were measured."}

## Alarms

{_alarms(alarms, found)}

## Versions

{
        _table(
            ("what", "version"),
            sorted(
                (name.removeprefix("version.").replace("mlflow.source.git.commit", "commit"), value)
                for name, value in standard_tags().items()
            ),
        )
    }

Of the machine that exported.
"""


def alarms_of(found: TrainedEncoder) -> list[Alarm]:
    """The alarms that the training raised, up to its newest checkpoint, in order."""
    monitor = AlarmMonitor(found.config)
    return [alarm for entry in found.history for alarm in monitor.update(int(entry["step"]), entry)]


def nearest_recipe(config: RunConfig) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """The recipe that the fewest settings differ from, and those: its value and the run's."""
    return min(
        ((name, _differing(recipe(name), config)) for name in RECIPES), key=lambda r: len(r[1])
    )


def _differing(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    before, now = (flatten(c.model_dump(mode="json")) for c in (one, other))
    return {
        key: (before.get(key), now[key])
        for key in now
        if before.get(key) != now[key] and not key.startswith(MAY_CHANGE)
    }


def _at(found: TrainedEncoder) -> dict[str, float]:
    """The validation at the exported step."""
    entry = next((e for e in found.history if int(e["step"]) == found.source.step), {})
    return {k: v for k, v in without_dimensions(entry).items() if k.startswith("val/")}


def _recipe(config: RunConfig) -> str:
    name, differing = nearest_recipe(config)
    if not differing:
        return f"The recipe `{name}`, as it is."
    rows = [(key, f"{was}", f"{now}") for key, (was, now) in sorted(differing.items())]
    return f"The nearest recipe is `{name}`; all settings that differ from it:\n\n" + _table(
        ("setting", name, "here"), rows
    )


def _data(found: TrainedEncoder) -> str:
    digest = found.source.data_digest
    lines = [f"Digest of the index: `{digest}`."]
    if found.index is None or found.index.digest() != digest:
        lines.append("The index was not at hand when this was exported: no counts.")
        return " ".join(lines)
    videos = found.index.select()
    counts = pd.DataFrame(
        {
            "split": videos.column("split"),
            "frames": videos.num_frames,
            "hours": videos.column("duration_seconds") / 3600,
        }
    )
    rows = [
        (split, f"{len(part)}", f"{part['frames'].sum():,}", number(part["hours"].sum(), ".3g"))
        for split in SPLITS
        for part in [counts[counts["split"] == split]]
    ]
    return "\n\n".join([*lines, _table(("split", "videos", "frames", "hours"), rows)])


def _alarms(alarms: Sequence[Alarm], found: TrainedEncoder) -> str:
    last = int(found.history[-1]["step"]) if found.history else 0
    if not alarms:
        return f"None up to step {last}."
    return "\n".join(f"- step {alarm.step}: {alarm.words}" for alarm in alarms)


def _crop(crop: str) -> str:
    return {"none": "the whole frame squeezed", "center": "the centre of the short side"}[crop]


def _plain(text: str) -> str:
    return text.replace("\\", "").replace('"', "'").replace("\n", " ")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)
