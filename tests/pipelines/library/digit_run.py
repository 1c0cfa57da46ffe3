"""A run on moving digits that was trained for a moment, and a page's parts."""

from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch

from pipelines.config.run import RunConfig, with_overrides
from pipelines.recipes import recipe
from pipelines.training.learner import Learner
from tests.pipelines.library.made import saved_run

SPARSE = {"method.latent": "sparse", "method.free_nats": 0.0}
NO_R = {"method.latent": "none"}


def tiny_config(index: Path | str, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Digits at 32 pixels through a small encoder."""
    small = {
        "data.index": str(index),
        "data.frame_size": 32,
        "backbone.name": "conv3d",
        "backbone.hidden_dims": [4, 8, 16],
        "train.steps": 2,
        "train.checkpoint_every": 1,
    }
    return with_overrides(recipe("moving-digits"), {**small, **(changes or {})})


def tiny_run(folder: Path, index: Path | str, changes: Mapping[str, Any] | None = None) -> Path:
    """A run with random weights, also where training begins with an editor that does not use r."""
    learner = Learner(tiny_config(index, changes), torch.device("cpu"))
    with torch.no_grad():
        for parameter in learner.method.editor.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    saved_run(folder, learner)
    return folder


class Parts(HTMLParser):
    """What a page has: tags, what it loads, links, text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [values[k] or "" for k in ("src", "srcset", "data") if k in values]
        if tag == "link":
            self.loads.append(values.get("href") or "")
        if tag == "a":
            self.links.append(values.get("href") or "")

    def handle_data(self, data: str) -> None:
        self.text += data
