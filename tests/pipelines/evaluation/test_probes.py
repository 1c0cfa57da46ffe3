from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from pipelines.evaluation import probes
from pipelines.evaluation.probes import ProbeScore, knn_probe, linear_probe, mlp_probe

Array = NDArray[Any]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def halves(*arrays: Array) -> tuple[Array, ...]:
    """Training and test halves of each, in the order in which the probes take two."""
    half = len(arrays[0]) // 2
    return (*(a[:half] for a in arrays), *(a[half:] for a in arrays))


def test_linear_factors_are_predicted_fully(random: np.random.Generator) -> None:
    features = random.normal(size=(1000, 32)) * random.uniform(0.01, 100, 32) + 5
    factors = features @ random.normal(size=(32, 3)) + 2
    score = linear_probe(*halves(features, factors), kind="value")
    assert score.score > 0.999
    assert len(score.columns) == 3


def thirds(features: Array, labels: Array) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
    """Training and test thirds as `halves` gives them, and the validation third."""
    (x, x_judge, x_test), (y, y_judge, y_test) = np.split(features, 3), np.split(labels, 3)
    return (x, y, x_test, y_test), (x_judge, y_judge)


@pytest.mark.parametrize("num_rows", [90, 900])  # fewer pairs than dimensions, and more
def test_validation_chooses_what_trying_every_strength_does(
    random: np.random.Generator, num_rows: int
) -> None:
    features = random.normal(size=(num_rows, 40)) * random.uniform(0.1, 10, 40) + 3
    features[:, 5] = 2.0  # of no variance
    factors = features[:, :2] + random.normal(size=(num_rows, 2)) * 20
    data, validation = thirds(features, factors)
    (x_train, y_train, x_test, y_test), (x_judge, y_judge) = data, validation
    deviation = np.where(x_train.std(axis=0) > 0, x_train.std(axis=0), 1)
    found = {}
    for strength in probes._RIDGE_STRENGTHS:
        model = Ridge(alpha=strength).fit((x_train - x_train.mean(axis=0)) / deviation, y_train)
        judged, tested = (
            model.predict((x - x_train.mean(axis=0)) / deviation) for x in (x_judge, x_test)
        )
        found[r2_score(y_judge, judged)] = strength, r2_score(y_test, tested)
    strength, expected = found[max(found)]
    score = linear_probe(*data, kind="value", validation=validation)
    assert score.strength == strength
    assert score.score == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["class", "value"])
def test_validation_chooses_the_strength_and_nothing_else(
    random: np.random.Generator, kind: probes.Kind
) -> None:
    features = random.normal(size=(900, 100))
    labels: Array = features[:, 0] + random.normal(size=900)
    if kind == "class":
        labels = (labels > 0).astype(int)
    data, (x_judge, y_judge) = thirds(features, labels)
    by_strength: dict[float, set[ProbeScore]] = {}
    for known in (y_judge, random.permutation(y_judge), y_judge[::-1]):
        # Other rows, another place and another scale: only the strength that they choose matters.
        for rows in (x_judge, x_judge[:50], x_judge * 3 + 1):
            score = linear_probe(*data, kind=kind, validation=(rows, known[: len(rows)]))
            by_strength.setdefault(score.strength, set()).add(score)
    assert len(by_strength) > 1
    assert all(len(scores) == 1 for scores in by_strength.values())


def test_a_perceptron_fits_a_curve_and_a_value_keeps_its_unit(
    random: np.random.Generator,
) -> None:
    features = random.normal(size=(3000, 8)) * random.uniform(0.01, 100, 8) + 5
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    factors = np.stack([standard[:, 0] * standard[:, 1] * 1e4 + 1e5, standard[:, 2] * 1e-3], axis=1)
    data, validation = thirds(features, factors)
    score = mlp_probe(*data, kind="value", validation=validation)
    assert score.probe == "mlp"
    assert min(score.columns) > 0.9
    assert linear_probe(*data, kind="value", validation=validation).columns[0] < 0.1


def test_a_perceptron_separates_what_no_plane_does(
    random: np.random.Generator,
) -> None:
    features = random.normal(size=(3000, 4))
    labels = np.where(features[:, 0] * features[:, 1] > 0, "like", "unlike")
    data, validation = thirds(features, labels.astype(object))
    assert mlp_probe(*data, kind="class", validation=validation).score > 0.9
    assert linear_probe(*data, kind="class", validation=validation).score < 0.6


def test_a_perceptron_finds_nothing_in_noise(random: np.random.Generator) -> None:
    data, validation = thirds(random.normal(size=(3000, 32)), random.normal(size=3000))
    score = mlp_probe(*data, kind="value", validation=validation)
    assert -0.1 < score.score < 0.03
    assert score.strength == max(probes._MLP_STRENGTHS)


def test_a_seed_gives_the_same_perceptron_bit_for_bit(random: np.random.Generator) -> None:
    features = random.normal(size=(600, 8))
    data, validation = thirds(features, features[:, 0] * features[:, 1])
    one, again, other = (
        mlp_probe(*data, kind="value", validation=validation, seed=seed) for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other


def test_noise_scores_zero(random: np.random.Generator) -> None:
    features, noise = random.normal(size=(1000, 64)), random.normal(size=(1000, 2))
    for probe in (linear_probe, knn_probe):
        score = probe(*halves(features, noise), kind="value")
        assert -0.1 < score.score < 0.03


def test_columns_are_scored_apart(random: np.random.Generator) -> None:
    features = random.normal(size=(1000, 16))
    factors = np.stack([features[:, 0], random.normal(size=1000)], axis=1)
    score = linear_probe(*halves(features, factors), kind="value")
    assert score.columns[0] > 0.95
    assert abs(score.columns[1]) < 0.1
    assert score.score == pytest.approx(np.mean(score.columns))


def test_classes_are_separated(random: np.random.Generator) -> None:
    labels = random.integers(0, 10, 1000)
    features = random.normal(size=(10, 32))[labels] * 2 + random.normal(size=(1000, 32))
    for probe in (linear_probe, knn_probe):
        assert probe(*halves(features, labels), kind="class").score > 0.95


def test_shuffled_labels_give_chance(random: np.random.Generator) -> None:
    labels = random.integers(0, 5, 2000)
    features = random.normal(size=(5, 16))[labels] * 3 + random.normal(size=(2000, 16))
    shuffled = random.permutation(labels)
    chance, deviation = 0.2, np.sqrt(0.2 * 0.8 / 1000)
    for probe in (linear_probe, knn_probe):
        assert probe(*halves(features, shuffled), kind="class").score < chance + 4 * deviation


def test_neighbours_fit_a_curve_and_lines_do_not(random: np.random.Generator) -> None:
    angle = random.uniform(0, 2 * np.pi, 2000)
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    factor = np.cos(3 * angle)
    assert linear_probe(*halves(features, factor), kind="value").score < 0.05
    assert knn_probe(*halves(features, factor), kind="value").score > 0.95


def test_cosine_ignores_length(random: np.random.Generator) -> None:
    features = random.normal(size=(400, 8))
    labels = (features[:, 0] > 0).astype(int)
    scaled = features * random.uniform(0.01, 100, (400, 1))
    assert knn_probe(*halves(features, labels), kind="class") == knn_probe(
        *halves(scaled, labels), kind="class"
    )


@pytest.mark.parametrize("kind", ["class", "value"])
def test_no_fold_is_judged_on_a_video_it_was_fitted_on(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch, kind: probes.Kind
) -> None:
    seen: list[tuple[Array, Array]] = []
    folds = probes._folds

    def watch(*arguments: Any) -> list[tuple[Array, Array]]:
        found = folds(*arguments)
        seen.extend(found)
        return found

    monkeypatch.setattr(probes, "_folds", watch)
    videos = np.repeat([f"{i}.mp4" for i in range(30)], 10)
    labels = random.integers(0, 3, 300)
    features = random.normal(size=(300, 4))
    linear_probe(features, labels, features, labels, kind=kind, groups=videos)
    assert len(seen) == 4
    for fitted, judged in seen:
        assert not set(videos[fitted]) & set(videos[judged])
    assert sorted(np.concatenate([judged for _, judged in seen])) == list(range(300))


def test_grouping_does_not_reward_features_that_name_the_video(random: np.random.Generator) -> None:
    # Features that only name the video: without groups a fold is judged on videos that it knows.
    videos = np.repeat(np.arange(40), 10)
    features = np.eye(40)[videos] + 0.01 * random.normal(size=(400, 40))
    factor = random.normal(size=40)[videos]
    options: dict[str, Any] = {"kind": "value"}
    data = (features, factor, features, factor)
    assert linear_probe(*data, **options).strength < 100
    assert linear_probe(*data, **options, groups=videos).strength > 1000


def test_test_pairs_choose_nothing(random: np.random.Generator) -> None:
    features, labels = random.normal(size=(600, 16)), random.integers(0, 3, 600)
    x_train, y_train, x_test, y_test = halves(features, labels)
    one = linear_probe(x_train, y_train, x_test, y_test, kind="class")
    other = linear_probe(x_train, y_train, x_test * 50 + 7, y_test, kind="class")
    assert one.strength == other.strength
    alone = [
        linear_probe(x_train, y_train, x_test[i : i + 100], y_test[i : i + 100], kind="class").score
        for i in (0, 100, 200)
    ]
    assert one.score == pytest.approx(np.mean(alone))


def test_the_same_again_is_the_same(random: np.random.Generator) -> None:
    features, labels = random.normal(size=(400, 16)), random.integers(0, 3, 400)
    groups = random.integers(0, 20, 200)
    scores = [
        linear_probe(*halves(features, labels), kind="class", groups=groups) for _ in range(2)
    ]
    assert scores[0] == scores[1]


def test_labels_may_be_words_and_some_only_in_the_test(random: np.random.Generator) -> None:
    codes = random.integers(0, 3, 300)
    features = np.eye(3)[codes] + 0.1 * random.normal(size=(300, 3))
    words = np.array(["cat", "dog", "owl"], dtype=object)[codes]
    x_train, y_train, x_test, y_test = halves(features, words)
    assert linear_probe(x_train, y_train, x_test, y_test, kind="class").score == 1
    y_test = y_test.copy()
    y_test[:15] = "eel"
    assert linear_probe(x_train, y_train, x_test, y_test, kind="class").score == pytest.approx(
        np.mean(y_test == words[150:])
    )


def test_a_single_video_and_a_constant_feature_work(random: np.random.Generator) -> None:
    features = random.normal(size=(100, 4))
    features[:, 2] = 1.0
    labels = (features[:, 0] > 0).astype(int)
    score = linear_probe(*halves(features, labels), kind="class", groups=np.zeros(50))
    assert score.score > 0.9


def test_metrics_are_flat() -> None:
    score = ProbeScore(probe="linear", kind="value", columns=(0.5, 0.25))
    assert score.metrics("velocity_x", "velocity_y") == {
        "velocity_x/linear_r2": 0.5,
        "velocity_y/linear_r2": 0.25,
    }
    near = ProbeScore(probe="knn", kind="class", columns=(0.9,))
    assert near.metrics("digit") == {"digit/knn_accuracy": 0.9}
    deep = ProbeScore(probe="mlp", kind="value", columns=(0.5,))
    assert deep.metrics("change_x") == {"change_x/mlp_r2": 0.5}


def test_what_does_not_belong_together_is_refused() -> None:
    good = np.zeros((4, 2))
    with pytest.raises(ValueError, match="4 test features and 3 labels"):
        linear_probe(good, np.arange(4), good, np.arange(3), kind="value")
    bad = good.copy()
    bad[1] = np.nan
    with pytest.raises(ValueError, match="1 of 4 training features are not finite"):
        knn_probe(bad, np.arange(4), good, np.arange(4), kind="value")
    with pytest.raises(ValueError, match="a probe needs at least 2 of each"):
        linear_probe(good[:1], np.arange(1), good, np.arange(4), kind="value")
    data: tuple[Array, ...] = (good, np.arange(4), good, np.arange(4))
    for probe in (linear_probe, mlp_probe):
        with pytest.raises(ValueError, match="4 validation features and 3 labels"):
            probe(*data, kind="value", validation=(good, np.arange(3)))
        with pytest.raises(ValueError, match="1 of 4 validation features are not finite"):
            probe(*data, kind="value", validation=(bad, np.arange(4)))


def test_of_two_classes_the_rarer_has_its_f1() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(400) < 0.1, "rare", "usual")
    features = rng.normal(size=(400, 3)) + np.where(labels == "rare", 1.5, 0.0)[:, None]
    sides = features[:200], labels[:200], features[200:], labels[200:]
    score = probes.linear_probe(*sides, kind="class")
    assert score.minority_f1 is not None
    assert 0.4 < score.minority_f1 < score.score
    nothing = probes.linear_probe(np.zeros((200, 3)), labels[:200], *sides[2:], kind="class")
    assert nothing.minority_f1 == 0
    assert nothing.score > 0.85, "which accuracy hides"
    three = np.arange(200) % 3
    assert probes.linear_probe(sides[0], three, sides[2], three, kind="class").minority_f1 is None
