"""The table of encoders: what each column measures, on pairs that are made here."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from pipelines.config.run import RunConfig, with_overrides
from pipelines.evaluation import protocol
from pipelines.evaluation.embed import EmbeddedPairs
from pipelines.evaluation.questions import Question, questions
from pipelines.evaluation.trained_heads import AttentivePool, Supervised, answer
from pipelines.training.learner import Learner

CONFIG = with_overrides(
    RunConfig(),
    {
        "data.frame_size": 8,
        "data.frames_per_clip": 1,
        "backbone.hidden_dims": (4, 8, 8),
        "optim.learning_rate": 1e-2,
    },
)


def made(num_pairs: int, seed: int) -> tuple[EmbeddedPairs, pd.DataFrame]:
    """Grey clips whose brightness is the value and whose brighter half is the class."""
    rng = np.random.default_rng(seed)
    side, level = rng.integers(0, 2, num_pairs), rng.integers(20, 180, num_pairs)
    clips = np.broadcast_to(level[:, None, None, None, None], (num_pairs, 1, 8, 8, 3)).copy()
    for row, right in enumerate(side):
        clips[row, :, :, 4 * right : 4 * right + 4] += 60
    nothing = np.zeros((num_pairs, 4), np.float32)
    pairs = EmbeddedPairs(
        representation=rng.normal(size=(num_pairs, 8)).astype(np.float32),
        context=nothing,
        target=nothing,
        edited=nothing,
        path=np.array([f"/{n // 2}.mp4" for n in range(num_pairs)], object),
        start=np.zeros(num_pairs, np.int64),
        gap=np.ones(num_pairs, np.int64),
        clips=clips.astype(np.uint8),
        next_clips=clips.astype(np.uint8),
        latent=None,
    )
    labels = {"side": np.where(side, "right", "left"), "level": level / 255}
    return pairs, pd.DataFrame({**labels, "level_change": rng.normal(size=num_pairs)})


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    torch.set_num_threads(1)
    (train, known), (test, factors) = made(200, 0), made(100, 1)
    learner = Learner(CONFIG, torch.device("cpu"))
    asked = list(questions(known, factors))
    return protocol.table(asked, learner, train, test, {"other": (learner, train, test)})


def score(found: pd.DataFrame, factor: str, encoder: str, column: str) -> float:
    row = found[(found["factor"] == factor) & (found["encoder"] == encoder)]
    return float(row[column].iloc[0])


def test_the_table_has_every_encoder_and_reads_it_every_way(found: pd.DataFrame) -> None:
    encoders = ["raw pixels", "untrained", "h", "other", "supervised"]
    assert found[found["factor"] == "side"]["encoder"].tolist() == encoders
    assert set(found["factor"]) == {"side", "level", "level_change"}
    assert score(found, "side", "raw pixels", "linear") > 0.95
    assert score(found, "side", "supervised", "linear") > 0.95
    assert score(found, "side", "h", "linear") < 0.7  # h is noise, its encoder is not
    assert 0 <= score(found, "side", "untrained", "attentive") <= 1
    assert score(found, "level", "raw pixels", "linear") > 0.99
    assert score(found, "level", "supervised", "linear") > 0.8
    assert score(found, "level_change", "raw pixels", "linear") < 0.1
    assert score(found, "side", "h", "linear") == score(found, "side", "other", "linear")
    few = score(found, "side", "raw pixels", "linear_10%")
    assert few <= score(found, "side", "raw pixels", "linear")


def test_its_metrics_are_flat(found: pd.DataFrame) -> None:
    metrics = protocol.metrics_of(found)
    assert metrics["test/protocol/side/raw_pixels/recall_at_5"] > 0.5
    assert "test/protocol/level/h/recall_at_1" not in metrics
    assert all(np.isfinite(value) for value in metrics.values())


def question(labels: list[Any], tested: list[Any]) -> Question:
    train, test = pd.DataFrame({"c": labels}), pd.DataFrame({"c": tested})
    (asked,) = questions(train, test)
    return asked


def test_recall_asks_the_nearest_training_pairs() -> None:
    asked = question(["a", "b", "b", "c"], ["a", "c"])
    gallery = np.array([[1.0, 0], [0.9, 0.1], [0, 1], [-1, 0]])
    queries = np.array([[5.0, 1.0], [1.0, 1.0]])
    assert asked.recall(1, gallery, queries) == 0.0  # (0.9, 0.1) is nearest to (5, 1)
    assert asked.recall(2, gallery, queries) == 0.5
    assert asked.recall(9, gallery, queries) == 1.0


def test_few_labels_hold_every_class() -> None:
    asked = question(["a"] * 60 + ["b"] * 40, ["a", "b"])
    few = asked.with_share(0.1, seed=0)
    assert few is not None
    assert sorted(few.train) == ["a"] * 6 + ["b"] * 4
    assert few.train_rows.sum() == 10
    one = asked.with_share(0.001, seed=0)
    assert one is not None
    assert sorted(one.train) == ["a", "b"]
    assert asked.with_share(1.0, seed=0) is None


def test_clips_of_a_video_are_averaged() -> None:
    labels, videos = ["a", "a", "b", "b"] * 10, np.repeat(np.arange(20), 2)
    noise = np.random.default_rng(0).normal(size=40)
    features = np.stack([np.tile([1.0, 1, -1, -1], 10), noise], axis=1)
    features[::2, 0] += 3
    features[1::2, 0] -= 3  # of which the mean over a video's two clips is free
    asked = question(labels, labels)
    assert asked.by_video(features, videos, features, videos) == 1.0
    assert asked.by_video(features, np.arange(40) // 4, features, videos) is None


def test_an_attentive_pool_finds_the_token_that_matters() -> None:
    torch.manual_seed(0)
    pool, tokens = AttentivePool(8, 3), torch.randn(4, 5, 8)
    assert pool(tokens).shape == (4, 3)
    torch.testing.assert_close(pool(tokens), pool(tokens[:, torch.randperm(5)]))
    for parameter in pool.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    normed, query = pool.norm(tokens), pool.query.expand(4, 1, -1)
    seen = scaled_dot_product_attention(query, pool.key(normed), pool.value(normed))
    torch.testing.assert_close(pool(tokens), pool.output(seen[:, 0]), rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_answer() -> None:
    (train, known), (test, factors) = made(80, 0), made(40, 1)
    asked = next(iter(questions(known[["side"]], factors[["side"]])))
    learner = Learner(CONFIG, torch.device("cpu"))

    def once() -> float:
        torch.manual_seed(1)
        network = Supervised(protocol.fresh_backbone(learner), 2)
        settings = {"epochs": 2, "learning_rate": 1e-2, "seed": 3}
        to_input = learner.to_input
        return answer(network, asked, train.clips, test.clips, to_input, **settings).score  # type: ignore[arg-type]

    assert once() == once()
