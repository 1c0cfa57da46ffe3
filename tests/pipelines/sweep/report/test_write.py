import csv
import math
import re
from pathlib import Path

import pytest

from pipelines.config.run import ConfigError
from pipelines.sweep.report.leaderboard import leaderboard
from pipelines.sweep.report.write import importance, write_report
from tests.pipelines.sweep.report import made

ONE = {"method.latent_dim": made.LATENT_DIM}


def dims(*values: int) -> list[dict[str, int]]:
    return [{"method.latent_dim": value} for value in values]


@pytest.mark.parametrize(("mode", "order"), [("max", ["001", "000"]), ("min", ["000", "001"])])
def test_the_leaderboard_has_means_sds_and_differences(mode: str, order: list[str]) -> None:
    record = made.sweep(sampled=ONE, mode=mode)
    two, eight = dims(2, 8)
    trials = made.settings([(two, [0.5, 0.7]), (eight, [0.8, 0.9])], [0.6, 0.6])
    table = leaderboard(made.results(record, trials))
    assert list(table.columns) == [
        "rank", "setting", "latent_dim", "mean", "sd", "seeds", "difference",
    ]  # fmt: skip
    assert list(table["setting"]) == [*order, "baseline"]
    assert list(table["rank"])[:2] == [1, 2]
    assert table["rank"].isna().tolist() == [False, False, True]
    rows = table.set_index("setting")
    assert rows["latent_dim"]["000"] == 2
    assert rows["mean"].to_dict() == pytest.approx({"000": 0.6, "001": 0.85, "baseline": 0.6})
    assert rows["sd"]["000"] == pytest.approx(math.sqrt(0.02))
    assert rows["sd"]["001"] == pytest.approx(math.sqrt(0.005))
    assert rows["sd"]["baseline"] == 0
    assert rows["difference"]["000"] == pytest.approx(0)
    assert rows["difference"]["001"] == pytest.approx(0.25), "mean − baseline, in either mode"
    assert math.isnan(rows["difference"]["baseline"])
    assert list(table["seeds"]) == ["2/2"] * 3


def test_incomplete_settings_come_after_complete_ones_and_pruned_trials_count_for_nothing() -> None:
    two, four, eight = dims(2, 4, 8)
    trials = made.settings([(two, [0.5, 0.5]), (four, [0.9]), (eight, [0.6, 0.6])])
    trials.append(made.trial(1, 1, four, 0.1, "pruned"))
    trials += [made.trial(3, seed, two, 0.99, "failed") for seed in (0, 1)]
    table = leaderboard(made.results(made.sweep(sampled=ONE), trials))
    assert list(table["setting"]) == ["002", "000", "001"]
    assert list(table["seeds"]) == ["2/2", "2/2", "1/2"]
    assert table["mean"].iloc[2] == pytest.approx(0.9)
    assert math.isnan(table["sd"].iloc[2])
    assert table["difference"].isna().all(), "no baseline has finished"


def test_keys_that_end_alike_keep_their_whole_names() -> None:
    sampled = dict.fromkeys(("a.dim", "b.dim", "b.mean", "c.seed"), made.LATENT_DIM)
    params = dict.fromkeys(sampled, 2)
    table = leaderboard(made.results(made.sweep(sampled=sampled), made.settings([(params, [1.0])])))
    assert list(table.columns)[2:6] == ["a.dim", "b.dim", "b.mean", "seed"]


@pytest.mark.parametrize("seed", range(3))
def test_importance_ranks_the_key_that_matters_first(seed: int) -> None:
    by_dim = made.drawn(24, lambda p: 0.1 * math.log2(p["method.latent_dim"]), seed=seed)
    shares, note = importance(made.results(made.sweep(), by_dim))
    assert shares is not None
    assert next(iter(shares)) == "method.latent_dim"
    assert shares["method.latent_dim"] > 0.7
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert "48 finished trials of 24 settings" in note
    assert "rough" not in note
    by_beta = made.drawn(24, lambda p: math.log(p["method.beta"]), seed=seed)
    shares, _ = importance(made.results(made.sweep(), by_beta))
    assert shares is not None
    assert next(iter(shares)) == "method.beta"
    assert importance(made.results(made.sweep(), by_beta))[0] == shares, "the same at each call"


def test_importance_says_why_it_is_missing_and_when_it_means_little() -> None:
    few = made.drawn(3, made.hill)
    assert importance(made.results(made.sweep(), few)) == (
        None,
        "Importance is not computed: it needs 4 settings with results, and there are 3.",
    )
    flat = made.drawn(8, lambda _: 0.5, noise=0)
    shares, note = importance(made.results(made.sweep(), flat))
    assert shares is None
    assert "the same value" in note
    noisy = made.drawn(8, lambda _: 0.5, noise=0.1, num_seeds=3)
    _, note = importance(made.results(made.sweep(), noisy))
    assert "what is seen here is noise" in note
    assert "rough" in note


def test_every_rendering_shows_the_same_table_and_says_what_is_missing(folder: Path) -> None:
    two = dims(2)[0]
    trials = made.settings([(two, [0.5, 0.7]), (dims(8)[0], [0.6001])], [0.6, 0.6])
    report = write_report(made.sweep(sampled=ONE), trials, folder / "small", name="demo")
    texts = report.leaderboard_text.split("\n")
    assert texts[0].split() == ["rank", "mean", "sd", "seeds", "difference", "d_r"]
    assert [line.split() for line in texts[1:]] == [
        ["001", "1", "0.600", "–", "1/1", "+0.000", "8"],
        ["000", "2", "0.600", "0.141", "2/2", "0.000", "2"],
        ["baseline", "–", "0.600", "0.000", "2/2", "–", "–"],
    ]
    markdown = (folder / "small" / "leaderboard.md").read_text(encoding="utf-8")
    page = report.page.read_text(encoding="utf-8")
    assert "| 1 | 001 | 8 | 0.600 | – | 1/1 | +0.000 |" in markdown
    row = ["1", "001", "8", "0.600", "–", "1/1", "+0.000"]
    assert re.findall("<td>(.*?)</td>", page)[:7] == row


def test_the_terminal_shows_long_names_whole_in_eighty_columns(folder: Path) -> None:
    sampled = {f"method.a_parameter_with_long_name_{i}": made.LATENT_DIM for i in range(5)}
    trials = made.drawn(3, len, sampled=sampled)
    report = write_report(made.sweep(sampled=sampled), trials, folder / "long", name="demo")
    assert all(len(line.rstrip()) <= 80 for line in report.leaderboard_text.split("\n"))
    assert all(key.partition(".")[2] in report.leaderboard_text for key in sampled)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


def test_a_report_is_written(folder: Path) -> None:
    record, trials = made.usual()
    report = write_report(record, trials, folder / "new", name="demo")
    names = ["leaderboard.png", "map.png", "parameters.png", "importance.png"]
    assert [path.name for path in report.pictures] == names
    assert all(path.stat().st_size > 10_000 for path in report.pictures)
    assert report.page.name == "report.html"
    with (folder / "new" / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(report.leaderboard) == 15 + 1
    assert [row["setting"] for row in rows] == list(report.leaderboard["setting"])
    assert rows[-1]["setting"] == "baseline"
    assert rows[0]["latent_dim"] in ("2", "4", "8", "16"), "whole numbers stay whole"
    assert float(rows[0]["mean"]) == pytest.approx(report.leaderboard["mean"].iloc[0])
    text = (folder / "new" / "leaderboard.md").read_text(encoding="utf-8")
    assert all(sentence in text for sentence in report.sentences)
    assert text.count("\n| ") == 2 + 16
    best = report.leaderboard.iloc[0]
    assert report.metrics["sweep/best_mean"] == pytest.approx(best["mean"])
    assert report.metrics["sweep/best_minus_baseline"] == pytest.approx(best["difference"])
    assert report.metrics["sweep/baseline_mean"] == pytest.approx(0.61)
    counts = [report.metrics[f"sweep/num_{state}"] for state in ("finished", "pruned", "failed")]
    assert counts == [31, 6, 1]
    assert report.importance
    assert all(report.metrics[f"importance/{k}"] == v for k, v in report.importance.items())


def test_another_metric(tmp_path: Path) -> None:
    record, trials = made.usual()
    report = write_report(record, trials, tmp_path, name="demo", metric="val/loss")
    own = leaderboard(made.results(record, trials))
    assert list(report.leaderboard["setting"]) == list(own["setting"]), "a loss: lower is better"
    means = 3 - report.leaderboard["mean"]
    assert means.tolist() == pytest.approx(own["mean"].tolist())
    with pytest.raises(
        ConfigError, match=r"val/los: .* did you mean val/loss\? There are val/loss"
    ):
        write_report(record, trials, tmp_path, name="demo", metric="val/los")
    with pytest.raises(ConfigError, match="no trial has finished yet"):
        write_report(record, trials[-1:0], tmp_path, name="demo", metric="val/loss")


def test_without_a_finished_trial_the_report_says_so(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(b"of an earlier report")
    params = {"method.beta": 0.1, "method.latent_dim": 2, "method.beta_warmup_steps": 0}
    trials = [
        made.trial(0, 0, params, 0.3, "pruned", reason="ASHA"),
        made.trial(0, 1, params, None, "waiting"),
        made.trial(1, 0, params, math.nan),
    ]
    for some in ([], trials):
        report = write_report(made.sweep(), some, tmp_path, name="demo")
        assert report.pictures == []
        assert not list(tmp_path.glob("*.png"))
        assert report.leaderboard.empty
        assert report.importance is None
        assert report.sentences[0] == "No setting has a finished trial with val/r2: no result yet."
        assert report.page.exists()
    assert "3 trials: 1 finished, 1 pruned, 0 failed, 1 waiting" in report.sentences[1]


@pytest.mark.parametrize("num_settings", [1, 5])
@pytest.mark.parametrize(
    "sampled",
    [
        {},
        {"method.beta": made.BETA},
        {
            "method.temperature": {"kind": "choice", "values": [0.1], "why": ""},
            "optim.learning_rate": {"kind": "log_uniform", "low": 1e-5, "high": 0.1, "why": ""},
        },
        {
            "method.editor": {"kind": "choice", "values": ["mlp", "$a$ <b>"], "why": ""},
            "data.grayscale": {"kind": "choice", "values": [True, False], "why": ""},
            **made.SAMPLED,
        },
    ],
    ids=["nothing", "one key", "other keys", "words and switches"],
)
def test_reports_of_any_space(
    sampled: dict[str, object], num_settings: int, tmp_path: Path
) -> None:
    record = made.sweep(sampled=sampled, mode="min", baseline=None, search="grid")
    trials = made.drawn(num_settings, lambda _: 0.5, sampled=sampled)
    report = write_report(record, trials, tmp_path, name="any")
    assert all(path.exists() for path in report.pictures)
    assert len(report.leaderboard) == num_settings
