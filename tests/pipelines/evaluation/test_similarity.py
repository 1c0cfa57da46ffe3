"""Likeness of sentences against scores: the floors of TF-IDF and of an untrained encoder."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipelines.config.run import with_overrides
from pipelines.evaluation.embed import embed, pairs_at_hand
from pipelines.evaluation.protocol import fresh_backbone
from pipelines.evaluation.similarity import cosines, similarity, similarity_floors
from pipelines.pairs.make import make_table
from pipelines.recipes import recipe
from pipelines.sources.listing import Listing
from pipelines.training.learner import Learner


def test_floors_rank_pairs_by_the_words_that_they_share(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(40)]
    rng = np.random.default_rng(0)
    rows = []
    for n in range(60):
        shared, own = n % 6, 6 - n % 6
        one = rng.permutation(words)
        other = [*one[:shared], *one[10 : 10 + own]]
        rows.append({"context": " ".join(one[:6]), "target": " ".join(other), "score": shared / 5})
    table = pd.DataFrame(rows).assign(split="test")
    listing = Listing(rows=table, kinds={"context": "text", "target": "text"})
    made = make_table(listing, str(tmp_path / "s.parquet"), vocabulary=400).table
    config = with_overrides(
        recipe("texts"),
        {
            "data.index": str(tmp_path / "s.parquet"),
            "backbone.hidden_dims": [32],
            "method.embedding_dim": 8,
        },
    )
    learner = Learner(config, torch.device("cpu"))
    pairs = embed(learner, pairs_at_hand(config.data, "test", 60))
    found = similarity_floors(learner, fresh_backbone(learner), pairs, made, words)
    assert found["spearman/tf_idf"] > 0.95
    trained = similarity(learner, pairs, made)
    assert found["spearman/untrained"] == trained["spearman"], "the learner is untrained, too"


def test_cosines_of_nothing_are_zero() -> None:
    one = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    other = np.array([[4.0, 3.0], [1.0, 0.0]], np.float32)
    assert np.allclose(cosines(one, other), [0.96, 0.0])
