"""A sweep's folder: what it holds survives anything, and what must not change is refused."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from pipelines.config.run import ConfigError, RunConfig, flatten, with_overrides
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.sweep.settings import decide
from pipelines.trials.queue import TrialQueue
from pipelines.trials.records import BASELINE, SweepRecord, TrialRecord, Value
from pipelines.trials.store import FAILURES, TrialStore
from tests.pipelines.sweep.test_settings import SPACE

BASELINE_SPACE = replace(SPACE, baseline={"method.latent": "none"})
SWEEP = SweepRecord(
    space="test",
    metric="val/score",
    mode="max",
    sampled={},
    baseline=BASELINE_SPACE.baseline,
    search="random",
    scheduler="asha",
    num_settings=3,
    num_seeds=2,
    config={"train": {"steps": 10}, "cluster": {"num_workers": 1}, "data": {"index": "a"}},
    data_digest="d",
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    TrialStore(Folder(tmp_path / "sweep")).register(SWEEP)
    return Folder(tmp_path / "sweep")


def decided(store: TrialStore, number: int) -> dict[str, Value]:
    return decide(BASELINE_SPACE, "random", number, seed=5, trials=store.all_trials())


def handed_out(store: TrialStore) -> list[str]:
    search = TrialQueue(store, partial(decided, store), first_seed=5)
    names = []
    while (config := search.suggest("id")) != Searcher.FINISHED:
        assert isinstance(config, dict)
        names.append(config["name"])
    return names


ALL = ["base-s5", "base-s6", *(f"{n:03}-s{s}" for n in range(3) for s in (5, 6))]


def test_a_trial_reads_back_as_it_was_written(folder: Folder) -> None:
    trial = TrialRecord(
        name="000-s5",
        setting=0,
        seed=5,
        params={"method.beta": 0.1},
        validations={60: 1.5, 120: 2.0},
    )
    TrialStore(folder).write(trial)
    assert TrialStore(folder).trials == {"000-s5": trial}


def test_every_trial_is_handed_out_once_the_baseline_first(folder: Folder) -> None:
    assert handed_out(TrialStore(folder)) == ALL


def test_a_new_driver_goes_on_with_what_has_not_ended_and_the_same_settings(
    folder: Folder,
) -> None:
    store = TrialStore(folder)
    search = TrialQueue(store, partial(decided, store), first_seed=5)
    first = [search.suggest("id") for _ in range(5)]  # killed after the fifth began
    store.write(replace(store.trials["base-s5"], state="finished"))
    store.write(replace(store.trials["000-s5"], state="pruned"))
    store.write(replace(store.trials["000-s6"], state="failed", failures=1))
    store.write(replace(store.trials["base-s6"], state="failed", failures=FAILURES))
    again = TrialStore(folder)
    assert again.settings == store.settings
    assert handed_out(again) == ["000-s6", "001-s5", "001-s6", "002-s5", "002-s6"]
    last = first[-1]
    assert isinstance(last, dict)
    assert again.trials["001-s5"].params == last["params"]


def test_a_folder_of_an_older_version_is_read(folder: Folder) -> None:
    renamed = {"first_settings": "first", "setting_names": "names", "seeds_of_settings": "seeds"}
    content = SWEEP.to_json()
    folder.write_json("sweep.json", {renamed.get(key, key): v for key, v in content.items()})
    trial = TrialRecord(name="000-s5", setting=0, seed=5, params={}, validations={60: 1.5})
    old = trial.to_json()
    old["looks"] = old.pop("validations")
    folder.child("trials", "000-s5").write_json("trial.json", old)
    store = TrialStore(folder)
    assert store.sweep is not None
    assert store.sweep.to_json() == SWEEP.to_json()
    assert store.trials == {"000-s5": trial}
    store.register(SWEEP)


@pytest.mark.parametrize(
    ("changed", "may"),
    [
        ({"train.log_every": 7}, True),
        ({"train.compile": True}, True),
        ({"data.index": "moved.parquet"}, True),
        ({"alarms.stop": []}, True),
        ({"cluster.num_workers": 2, "cluster.address": "elsewhere:1"}, True),
        ({"tracking.experiment": "other"}, True),
        ({"train.steps": 7}, False),
        ({"optim.learning_rate": 0.5}, False),
        ({"train.seed": 3}, False),
    ],
)
def test_what_may_change_under_a_name_is_the_same_for_runs_and_sweeps(
    changed: dict[str, Any], may: bool, tmp_path: Path
) -> None:
    config = RunConfig()
    run, store = RunFolder(tmp_path / "name"), TrialStore(Folder(tmp_path / "sweep" / "name"))
    run.register(config, "d")
    sweep = replace(SWEEP, config=config.model_dump(mode="json"))
    store.register(sweep)
    other = with_overrides(config, changed)
    said = []
    for again in (
        lambda: run.register(other, "d"),
        lambda: store.register(replace(sweep, config=other.model_dump(mode="json"))),
    ):
        try:
            again()
        except ConfigError as error:
            said.append(str(error).partition(", or delete")[0])
    if may:
        assert said == []
    else:
        ((key, value),) = changed.items()
        before = flatten(config.model_dump(mode="json"))[key]
        assert (
            said
            == [
                f"name was started with other settings: {key} was {before}, now {value}. "
                "Give this one another --name"
            ]
            * 2
        )


def test_other_videos_are_refused_in_the_same_words(tmp_path: Path) -> None:
    run, store = RunFolder(tmp_path / "name"), TrialStore(Folder(tmp_path / "sweep" / "name"))
    run.register(RunConfig(), "d")
    store.register(SWEEP)
    words = r"name was started with other settings: the videos were others \(.* d, now e\)"
    with pytest.raises(ConfigError, match=words):
        run.register(RunConfig(), "e")
    with pytest.raises(ConfigError, match=words):
        store.register(replace(SWEEP, data_digest="e"))


def test_a_reason_that_is_worded_anew_is_no_other_sweep(folder: Folder) -> None:
    def sampled(why: str) -> dict[str, Any]:
        return {"method.beta": {"kind": "choice", "values": [1, 2], "why": why}}

    store = TrialStore(folder)
    store.keep(replace(SWEEP, sampled=sampled("old")))
    store.register(replace(SWEEP, sampled=sampled("new")))


def test_a_changed_sweep_under_the_name_is_refused_in_words(folder: Folder) -> None:
    with pytest.raises(ConfigError, match=r"metric was val/score, now val/loss.*another --name"):
        TrialStore(folder).register(replace(SWEEP, metric="val/loss"))
    other = replace(SWEEP, config={**SWEEP.config, "train": {"steps": 20}})
    with pytest.raises(ConfigError, match=r": train\.steps was 10, now 20"):
        TrialStore(folder).register(other)
    with pytest.raises(ConfigError, match="num_settings was 3, now 2"):
        TrialStore(folder).register(replace(SWEEP, num_settings=2))


def test_where_it_runs_what_ends_it_and_how_many_settings_may_change(folder: Folder) -> None:
    changed = {"cluster": {"num_workers": 2, "address": "ray://x"}, "alarms": {"stop": []}}
    config = {**SWEEP.config, **changed}
    store = TrialStore(folder)
    store.register(replace(SWEEP, config=config, num_settings=5, tracking_uri="http://elsewhere"))
    assert len(handed_out(store)) == 12


def test_the_baseline_has_its_own_params(folder: Folder) -> None:
    trial = TrialStore(folder).trial(BASELINE, 5)
    assert trial.is_baseline
    assert trial.params == {"method.latent": "none"}
