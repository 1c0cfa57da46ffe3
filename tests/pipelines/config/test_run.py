import math

import pytest

from adassl.traits import TRAITS
from pipelines.cli.options import parse_assignment
from pipelines.config.changes import changes
from pipelines.config.run import (
    ConfigError,
    RunConfig,
    flatten,
    parse,
    with_overrides,
)
from pipelines.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_being_saved(name: str) -> None:
    config = recipe(name)
    assert parse(config.model_dump(mode="json")) == config


def test_unknown_recipe_names_the_known() -> None:
    with pytest.raises(ConfigError, match="moving-digits"):
        recipe("moving-digit")


def test_overrides_reach_every_group() -> None:
    changed = with_overrides(
        RunConfig(),
        {"method.beta": 0.25, "data.gap": [1, 4], "train.steps": 7, "cluster.num_workers": 2},
    )
    assert changed.method.beta == 0.25
    assert changed.data.gap == (1, 4)
    assert changed.train.steps == 7
    assert changed.cluster.num_workers == 2
    assert RunConfig().train.steps != 7


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("method.betta", "method.beta"),
        ("beta", "method.beta"),
        ("data.frame_per_clip", "data.frames_per_clip"),
        ("optim.lr_rate", "optim.learning_rate"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}.*did you mean {nearest}"):
        with_overrides(RunConfig(), {key: 1})


def test_runs_and_settings_of_the_former_windows_are_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"pairs_per_window is no setting any more.*data\.reuse"):
        with_overrides(RunConfig(), {"data.pairs_per_window": 8})
    saved = RunConfig().model_dump(mode="json")
    before = {**saved, "data": {**saved["data"], "pairs_per_window": 32, "starts_per_window": 64}}
    with pytest.raises(ConfigError, match=r"earlier version, .*follow the files.*another name"):
        parse(before)
    (reason,) = changes(before, saved)
    assert reason.startswith("it is of an earlier version: windows follow the files now")


CHAIN = {"data.moments_per_chain": 3}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"data.gap": [4, 2]}, r"did you mean \(2, 4\)"),
        ({"data.gap": [0, 2]}, "above 0"),
        ({"data.gap": [0.5, 2]}, "data.gap_unit=seconds"),
        ({"train.global_batch_size": 65, "cluster.num_workers": 2}, "66"),
        ({"train.global_batch_size": 65, "cluster.num_workers": [2, 5]}, "66"),
        ({"cluster.num_workers": [4, 1]}, "the least number comes first"),
        ({"method.latent": "variatonal"}, "variational"),
        ({"method.editor": "identity", "method.latent": "sparse"}, "identity"),
        ({"data.local_crops": 2}, "set data.views=augmentation"),
        (
            {"data.local_crops": 2, "data.views": "augmentation", "method.objective": "byol"},
            "set method.objective=swav or dino",
        ),
        ({"train.accumulate": 3}, "accumulate=3: must divide the 64 pairs"),
        ({"train.accumulate": 0}, "train.accumulate"),
        ({"train.frozen": ["objective"]}, "train.frozen"),
        ({"optim.multipliers.backbone": 0}, "optim.multipliers.backbone"),
        ({"optim.multipliers.backbone": float("inf")}, "optim.multipliers.backbone"),
        ({"method.surrogate_form": "both"}, "set data.surrogate=true and data.context_surrogate"),
        ({"data.context_surrogate": True}, "set method.surrogate_form=both"),
        ({"data.moments_per_chain": 1}, "data.moments_per_chain"),
        ({**CHAIN, "data.views": "augmentation"}, "set data.views=time or both"),
        ({**CHAIN, "data.surrogate": True}, "set data.surrogate=false, or data.moments_per_ch"),
        ({**CHAIN, "method.objective": "hinfonce"}, "chains with objective='hinfonce'"),
        ({**CHAIN, "method.latent": "given"}, "chains with latent='given'"),
        ({"data.negative": True}, "set method.objective=triplet, or data.negative=false"),
        (
            {"data.negative": True, "method.objective": "triplet", "data.views": "both"},
            "triplets are read as they stand in their table",
        ),
        ({"method.temperature": 0}, "temperature"),
        ({"train.steps": 0}, "train.steps"),
        ({"train.steps": "many"}, "train.steps"),
        ({"backbone.name": "resnet19"}, "resnet18"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_words(
    overrides: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        with_overrides(RunConfig(), overrides)


@pytest.mark.parametrize("objective", TRAITS)
def test_a_single_pair_is_refused_where_nothing_can_be_learnt_from_it(objective: str) -> None:
    single = {
        "train.global_batch_size": 1,
        "method.objective": objective,
        "method.latent": "none",
        "method.editor": "identity",
    }
    if objective in ("byol", "simsiam", "dino"):
        assert with_overrides(RunConfig(), single).train.global_batch_size == 1
    else:
        with pytest.raises(ConfigError, match=f"objective={objective} .*use at least 2"):
            with_overrides(RunConfig(), single)


def test_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method.beta=0.1", ("method.beta", 0.1)),
        ("data.gap=[1,2]", ("data.gap", [1, 2])),
        ("method.latent=none", ("method.latent", "none")),
        ("data.index=a=b.parquet", ("data.index", "a=b.parquet")),
        ("data.max_pairs_per_video=null", ("data.max_pairs_per_video", None)),
        ("train.compile=true", ("train.compile", True)),
    ],
)
def test_assignments(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


def test_assignment_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_assignment("method.beta")


def test_a_group_may_have_the_sizes_that_divide_its_batch() -> None:
    wide = {"cluster.num_workers": [1, 4], "train.global_batch_size": 64}
    config = with_overrides(RunConfig(), wide)
    assert config.group_sizes == (1, 2, 4)
    assert config.cluster.range_of_workers == range(1, 5)
    assert config.fingerprint() == RunConfig().fingerprint()
    assert with_overrides(config, {"data.moments_per_video": 32}).group_sizes == (1, 2)
    assert RunConfig().group_sizes == (1,)


def test_fingerprint_sees_the_training_and_not_the_place() -> None:
    config = RunConfig()
    for same in (
        {"cluster.num_workers": 2},
        {"tracking.experiment": "x"},
        {"data.index": "elsewhere.parquet"},
        {"train.log_every": 7},
        {"alarms.patience": 9},
    ):
        assert with_overrides(config, same).fingerprint() == config.fingerprint()
    for other in ({"method.beta": 0.7}, {"train.seed": 1}, {"data.gap": [1, 3]}):
        assert with_overrides(config, other).fingerprint() != config.fingerprint()


def test_settings_that_came_later_leave_the_fingerprint_of_runs_from_before() -> None:
    """Of the first version whose windows follow the files: its runs go on."""
    assert RunConfig().fingerprint() == "11dc3a1a4131a833"
    assert recipe("moving-digits").fingerprint() == "ba1f0a136890ef98"
    used = {
        "train.accumulate": 2,
        "train.frozen": ["backbone"],
        "optim.multipliers.backbone": 0.1,
        "data.moments_per_chain": 3,
        "method.editor_slots": 2,
    }
    changed = {with_overrides(RunConfig(), {k: v}).fingerprint() for k, v in used.items()}
    both = {"data.surrogate": True, "data.context_surrogate": True}
    one = with_overrides(RunConfig(), {"data.surrogate": True})
    two = with_overrides(RunConfig(), {**both, "method.surrogate_form": "both"})
    assert len({*changed, one.fingerprint(), two.fingerprint(), RunConfig().fingerprint()}) == 8


def numeric_keys() -> list[str]:
    """Every setting that is a number or holds numbers."""
    known = flatten(RunConfig().model_dump())
    numeric = [
        key
        for key, value in known.items()
        if any(
            isinstance(each, int | float) and not isinstance(each, bool)
            for each in (value if isinstance(value, tuple) else (value,))
        )
    ]
    return [*numeric, "data.max_pairs_per_video"]


@pytest.mark.parametrize("key", numeric_keys())
def test_no_number_may_be_nan_or_infinite(key: str) -> None:
    default = flatten(RunConfig().model_dump())[key]
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ConfigError, match=f"{key.rpartition('.')[2]}"):
            with_overrides(
                RunConfig(), {key: [value] * len(default) if isinstance(default, tuple) else value}
            )


@pytest.mark.parametrize(
    "key",
    [
        key
        for key in numeric_keys()
        if not key.startswith(("method.", "data.gap", "data.augment.area"))
    ],
)
def test_every_number_of_a_run_has_its_range(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}.* less than"):
        with_overrides(RunConfig(), {key: 2**70})
    with pytest.raises(ConfigError, match=rf"{key}.* greater than"):
        with_overrides(RunConfig(), {key: -1})


def test_a_setting_that_is_gone_counts_where_it_was_used() -> None:
    saved = RunConfig().model_dump(mode="json")
    saved["method"]["use_entropy_weight"] = 0.0
    assert parse(saved) == RunConfig()
    assert changes(saved, RunConfig().model_dump(mode="json")) == []
    saved["method"]["use_entropy_weight"] = 0.1
    with pytest.raises(ConfigError, match=r"made by an earlier version.*method\.active_rate"):
        parse(saved)
