"""Which settings a sweep tries: reproducible, without repeats, and TPE where it pays."""

import math

import pytest
from optuna.trial import TrialState

from pipelines.config.run import ConfigError
from pipelines.sweep.settings import Search, decide, num_settings, study_of
from pipelines.trials.records import TrialRecord, Value
from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="test",
    recipe="videos",
    sampled={
        "method.beta": LogUniform(low=0.001, high=1, num_grid=3, why=""),
        "method.latent_dim": Choice(values=(2, 4), why=""),
    },
    metric="val/score",
    first=({"method.beta": 0.1, "method.latent_dim": 2},),
)


def ended(number: int, params: dict[str, Value], score: float, **changes: str) -> TrialRecord:
    record = {
        "name": f"{number:03}-s0",
        "setting": number,
        "seed": 0,
        "params": params,
        "state": "finished",
        "metrics": {"val/score": score},
        **changes,
    }
    return TrialRecord(**record)  # type: ignore[arg-type]


def searched(search: Search, count: int, seed: int = 0) -> list[dict[str, Value]]:
    """The settings of a search for β = 0.01 with d_r = 4."""
    trials: list[TrialRecord] = []
    for number in range(count):
        params = decide(SPACE, search, number, seed=seed, trials=trials)
        beta, dim = float(params["method.beta"]), int(params["method.latent_dim"])
        score = -abs(math.log10(beta) + 2) + (dim == 4)
        trials.append(ended(number, params, score))
    return [dict(trial.params) for trial in trials]


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_the_first_points_come_first_and_the_seed_decides_the_rest(search: Search) -> None:
    settings = searched(search, 8)
    assert settings[0] == SPACE.first[0]
    assert settings == searched(search, 8)
    assert settings[1:] != searched(search, 8, seed=1)[1:]
    assert len({tuple(sorted(s.items())) for s in settings}) == 8


def test_the_grid_is_every_combination_once() -> None:
    settings = [decide(SPACE, "grid", number, seed=0) for number in range(6)]
    assert {(s["method.beta"], s["method.latent_dim"]) for s in settings} == {
        (beta, dim) for beta in (0.001, 0.0316, 1.0) for dim in (2, 4)
    }


def test_tpe_comes_closer_to_the_best_than_chance_does() -> None:
    def miss(search: Search, seed: int) -> float:
        late = searched(search, 30, seed)[20:]
        return sum(abs(math.log10(float(s["method.beta"])) + 2) for s in late) / len(late)

    tpe, chance = (sum(miss(s, seed) for seed in range(3)) / 3 for s in ("tpe", "random"))
    assert tpe < 0.7 * chance


def test_tpe_takes_what_is_running_was_pruned_or_failed_in_its_stride() -> None:
    params: dict[str, Value] = {"method.beta": 0.5, "method.latent_dim": 2}
    trials = [ended(n, params, 0.1 * n) for n in range(6)]
    trials.append(ended(6, params, 0.0, state="failed"))
    trials.append(ended(7, params, 0.0, state="running"))
    pruned = TrialRecord(
        name="008-s0", setting=8, seed=0, params=params, state="pruned", validations={10: -1.0}
    )
    chosen = decide(SPACE, "tpe", 9, seed=0, trials=[*trials, pruned])
    assert all(SPACE.sampled[key].holds(value) for key, value in chosen.items())


def test_who_was_pruned_before_its_first_validation_is_not_taken_for_running() -> None:
    params: dict[str, Value] = {"method.beta": 0.5, "method.latent_dim": 2}
    trials = [ended(0, params, 0.0, state="pruned"), ended(1, params, 0.0, state="running")]
    states = [trial.state for trial in study_of(SPACE, trials).trials]
    assert states == [TrialState.PRUNED, TrialState.RUNNING]


def test_trials_are_settings_times_seeds() -> None:
    assert num_settings(SPACE, "random", 16, 2) == 8
    assert num_settings(SPACE, "grid", None, 3) == 6
    assert num_settings(SPACE, "grid", 18, 3) == 6
    with pytest.raises(ConfigError, match=r"--num-trials=7 .*the next that does is 8"):
        num_settings(SPACE, "tpe", 7, 2)
    with pytest.raises(ConfigError, match="6 settings × 2 seeds = 12 trials"):
        num_settings(SPACE, "grid", 16, 2)
