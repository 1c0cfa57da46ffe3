"""The stability experiment: its arms are what they say, its verdicts follow from the metrics."""

from pathlib import Path

import pytest

from adassl.config import ObjectiveName
from pipelines.config.run import flatten, with_overrides
from pipelines.experiments import catalogue
from pipelines.experiments.arm import Arm
from pipelines.experiments.page import Origin
from pipelines.experiments.results import Results
from pipelines.experiments.stability import arms as stability
from pipelines.experiments.stability.hypotheses import (
    PAIRS,
    RECIPE_WEIGHT,
    collapsed_seeds,
    hypotheses,
)
from pipelines.experiments.stability.page import page_of
from pipelines.recipes import recipe
from pipelines.training.build import build
from pipelines.trials.records import TrialRecord
from tests.pipelines.experiments.made import results_of

FULL = list(stability.TITLES)
SOUND = {
    "val/centre_norm": 0.1,
    "val/residual_norm": 0.9,
    "val/rankme": 40.0,
    "test/collapse_alarm": 0.0,
}
FALLEN = {
    "val/centre_norm": 0.999,
    "val/residual_norm": 0.01,
    "val/rankme": 1.0,
    "test/collapse_alarm": 1.0,
    "alarm/collapse": 1.0,
}
EXPERIMENT = catalogue.load("stability", quick=False)


def results(**changes: dict[str, float]) -> Results:
    """Sound full methods, collapsed ablations; metrics of an arm changed by its name."""

    def metrics(arm: Arm) -> dict[str, float]:
        known = FALLEN if arm.method in stability.ABLATIONS else SOUND
        return {"start/centre_norm": 0.6, "start/digit": 0.5, "test/digit": 0.8, **known}

    return results_of(EXPERIMENT, metrics, changes)


def verdicts(found: Results) -> dict[str, str]:
    return {hypothesis.statement: hypothesis.verdict for hypothesis in hypotheses(found, FULL)}


def test_every_objective_is_full_and_every_ablation_lacks_one_part() -> None:
    arms = {arm.name: arm for arm in EXPERIMENT.arms}
    for group in PAIRS:
        for objective in FULL:
            full = with_overrides(EXPERIMENT.config, arms[f"{group}.{objective}"].settings)
            own = recipe(f"digits-{objective.replace('_', '-')}")
            assert full.method == own.method
            assert full.optim.learning_rate == own.optim.learning_rate
            assert (full.data.views, own.data.views) == (group, "time")
        for name, (_, objective, change) in stability.ABLATIONS.items():
            ablated = with_overrides(EXPERIMENT.config, arms[f"{group}.{name}"].settings)
            full = with_overrides(EXPERIMENT.config, arms[f"{group}.{objective}"].settings)
            one, other = flatten(ablated.model_dump()), flatten(full.model_dump())
            assert {key for key in one if one[key] != other[key]} == set(change)


@pytest.mark.parametrize("objective", FULL)
def test_every_recipe_builds_its_objective_alone(objective: ObjectiveName) -> None:
    method = build(recipe(f"digits-{objective.replace('_', '-')}"))
    assert type(method.objective).__name__.lower() == objective.replace("_", "")
    assert method.latent is None


def test_what_the_paper_says_holds_where_the_metrics_say_so() -> None:
    found = verdicts(results())
    lines = [s for s, verdict in found.items() if verdict != "held"]
    assert lines == [
        "A probe on h shows a collapse: it knows less of the digit than before the first step"
    ]
    assert collapsed_seeds(results(), ("time", "alignment")) == 3


@pytest.mark.parametrize(
    ("changes", "statement"),
    [
        ({"time.byol": FALLEN}, "No seed of any full method collapses"),
        ({"time.byol": {"val/centre_norm": 0.84}}, "Every full method keeps the centre small"),
        ({"time.byol": {"val/residual_norm": 0.4}}, "Every full method keeps the centre small"),
        ({"time.dino": {"val/centre_norm": 0.7}}, "Training shortens the centre"),
        ({"time.dino": {"val/centre_norm": 0.6}}, "Training shortens the centre"),
        ({"augmentation.byol-no-ema": SOUND}, "BYOL without its EMA"),
        ({"time.lejepa": {"val/centre_norm": 0.6}}, "LeJEPA, VISReg, FroSSL and MMCR, which"),
        ({"time.mmcr": {"val/residual_norm": 0.4}}, "LeJEPA, VISReg, FroSSL and MMCR, which"),
        ({"augmentation.lejepa-no-sigreg": SOUND}, "LeJEPA without SIGReg"),
        ({"time.visreg-no-scale": SOUND}, "VISReg without its scale"),
        ({"time.visreg-no-shape": SOUND}, "VISReg without its shape"),
        ({"time.visreg-no-centre": SOUND}, "VISReg without its centre"),
        ({"time.visreg-no-centre": SOUND}, "VISReg's term of the centre"),
        ({"time.mmcr-frobenius": SOUND}, "MMCR by the Frobenius norm"),
        ({"augmentation.alignment": SOUND}, "Alignment alone"),
        ({"time.simple": {"test/digit": 0.7}}, "Simple is as accurate"),
        ({"time.simple": {"test/digit": 0.78}}, "Simple is as accurate"),
        ({"lambda.0.01": FALLEN}, "No seed of Simple collapses"),
        (
            {"time.dino": {"alarm/dimensional_collapse": 1.0}},
            "No seed of any full method loses dimensions",
        ),
    ],
)
def test_a_hypothesis_does_not_hold_where_one_arm_contradicts_it(
    changes: dict[str, dict[str, float]], statement: str
) -> None:
    found = verdicts(results(**changes))
    assert [v for s, v in found.items() if s.startswith(statement)] == ["did not hold"]


def test_other_methods_do_not_decide_what_is_said_of_the_later_ones() -> None:
    found = verdicts(results(**{"time.byol": FALLEN}))
    (later,) = [v for s, v in found.items() if s.startswith("LeJEPA, VISReg, FroSSL and MMCR")]
    assert later == "held"
    sources = {h.statement: h.source for h in hypotheses(results(), FULL)}
    assert sources["LeJEPA without SIGReg collapses"] == "ours"
    assert sources["SimSiam without stop-gradient collapses"] == "paper"


def test_one_collapsed_seed_is_a_collapse() -> None:
    found = results()
    row = found.runs.index[(found.runs.group == "time") & (found.runs.method == "byol")][0]
    found.runs.loc[row, "test/collapse_alarm"] = 1.0
    stable = hypotheses(found, FULL)[0]
    assert (stable.verdict, stable.number) == ("did not hold", "1 of 90 seeds")
    assert stable.evidence == ["collapsed seeds of 30 arms: BYOL, two moments 1 of 3"]


def test_whether_probes_show_a_collapse_is_judged_on_what_collapsed() -> None:
    def verdict(**changes: dict[str, float]) -> tuple[str, str]:
        hypothesis = hypotheses(results(**changes), FULL)[-1]
        return hypothesis.verdict, "; ".join(hypothesis.evidence)

    found, evidence = verdict()  # the collapsed have 0.8, from 0.5
    assert found == "did not hold"
    assert "SimSiam, no stop-gradient, two augmentations, digit at the start 0.5" in evidence
    names = [f"{group}.{method}" for group in PAIRS for method in stability.ABLATIONS]
    blind = {name: {**FALLEN, "test/digit": 0.1} for name in names}
    assert verdict(**blind)[0] == "held"
    assert verdict(**dict.fromkeys(blind, SOUND)) == ("not tested", "–")


def test_without_trials_nothing_is_judged() -> None:
    quick = catalogue.load("stability", quick=True)
    trial = TrialRecord(
        name="time.infonce-s0",
        setting=0,
        seed=0,
        params={},
        state="finished",
        seconds=1.0,
        metrics={**SOUND, "start/centre_norm": 0.6},
    )
    results = Results.of(quick.arms, [trial], num_trials=quick.num_trials)
    found = {h.statement: h.verdict for h in hypotheses(results, ["infonce"])}
    assert found["Alignment alone (Simple at λ = 0) collapses"] == "not tested"
    assert found["No seed of any full method collapses"] == "held"


def test_the_page_has_a_table_for_each_kind_of_pairs_and_the_curve_of_lambda(
    tmp_path: Path,
) -> None:
    found = results()
    images = tmp_path / "images"
    images.mkdir()
    origin = Origin(name="stability", command="adassl experiment stability")
    page = page_of(found, tmp_path).write(tmp_path, images=images, origin=origin, results=found)
    text = page.read_text()
    assert "| BYOL, no predictor | 0.60 ± 0.00 | 1.00 ± 0.00 |" in text
    assert (tmp_path / "time.csv").exists()
    assert (tmp_path / "augmentation.csv").exists()
    assert f"λ = {RECIPE_WEIGHT:g} is that of the recipe" in text
    assert (images / "lambda.png").stat().st_size > 5000
