"""The stability experiment: its arms make what they say, its claims follow from the figures."""

from pathlib import Path

import numpy as np
import pytest

from adassl.config import ObjectiveName
from pipelines.config.run import flatten, with_overrides
from pipelines.experiments import catalogue
from pipelines.experiments.results import Results
from pipelines.experiments.stability import arms as stability
from pipelines.experiments.stability.hypotheses import (
    PAIRS,
    RECIPE_WEIGHT,
    has_collapsed,
    hypotheses,
)
from pipelines.experiments.stability.page import page_of
from pipelines.recipes import recipe
from pipelines.training.learner import build
from pipelines.trials.records import TrialRecord

WHOLE = list(stability.TITLES)
SOUND = {
    "train/centre_norm": 0.1,
    "train/residual_norm": 0.9,
    "train/rankme": 40.0,
    "test/collapse_alarm": 0.0,
}
FALLEN = {
    "train/centre_norm": 0.999,
    "train/residual_norm": 0.01,
    "train/rankme": 1.0,
    "test/collapse_alarm": 1.0,
    "alarm/collapse": 1.0,
}
EXPERIMENT = catalogue.load("stability", quick=False)


def results(**changes: dict[str, float]) -> Results:
    """Sound whole methods, collapsed ablations; figures of an arm changed by `group_method`."""
    trials = []
    for number, arm in enumerate(EXPERIMENT.arms):
        figures = FALLEN if arm.method in stability.ABLATIONS else SOUND
        given = changes.get(f"{arm.group}_{arm.method}".replace("-", "_"), {})
        for seed in range(3):
            noise = 0.001 * np.random.default_rng([number, seed]).normal()
            metrics = {
                "start/centre_norm": 0.6,
                "start/digit": 0.5,
                "test/digit": 0.8 + noise,
                **figures,
                **given,
            }
            trials.append(
                TrialRecord(
                    name=f"{arm.name}-s{seed}",
                    setting=number,
                    seed=seed,
                    params={},
                    state="finished",
                    seconds=30.0,
                    metrics=metrics,
                )
            )
    return Results.of(EXPERIMENT.arms, trials, num_trials=EXPERIMENT.num_trials)


def verdicts(found: Results) -> dict[str, str]:
    return {claim.statement: claim.verdict for claim in hypotheses(found, WHOLE)}


def test_every_objective_is_whole_and_every_ablation_lacks_one_thing() -> None:
    arms = {arm.name: arm for arm in EXPERIMENT.arms}
    for group in PAIRS:
        for objective in WHOLE:
            whole = with_overrides(EXPERIMENT.config, arms[f"{group}.{objective}"].settings)
            own = recipe(f"digits-{objective.replace('_', '-')}")
            assert whole.method == own.method
            assert whole.optim.learning_rate == own.optim.learning_rate
            assert (whole.data.views, own.data.views) == (group, "time")
        for name, (_, objective, change) in stability.ABLATIONS.items():
            ablated = with_overrides(EXPERIMENT.config, arms[f"{group}.{name}"].settings)
            whole = with_overrides(EXPERIMENT.config, arms[f"{group}.{objective}"].settings)
            one, other = flatten(ablated.model_dump()), flatten(whole.model_dump())
            assert {key for key in one if one[key] != other[key]} == set(change)


@pytest.mark.parametrize("objective", WHOLE)
def test_every_recipe_builds_its_objective_alone(objective: ObjectiveName) -> None:
    method = build(recipe(f"digits-{objective.replace('_', '-')}"))
    assert type(method.objective).__name__.lower() == objective.replace("_", "")
    assert method.latent is None


def test_what_the_paper_says_holds_where_the_figures_say_so() -> None:
    found = verdicts(results())
    lines = [s for s, verdict in found.items() if verdict != "held"]
    assert lines == [
        "A probe on h shows a collapse: it knows less of the digit than before the first step"
    ]
    assert has_collapsed(results(), "time", "alignment") is True


@pytest.mark.parametrize(
    ("changes", "statement"),
    [
        ({"time_byol": FALLEN}, "Every method, whole, does not collapse"),
        ({"time_byol": {"train/centre_norm": 0.84}}, "Every method, whole, keeps the centre small"),
        ({"time_dino": {"train/centre_norm": 0.7}}, "Training shortens the centre"),
        ({"augmentation_byol_no_ema": SOUND}, "BYOL without its EMA"),
        ({"augmentation_alignment": SOUND}, "Alignment alone"),
        ({"time_simple": {"test/digit": 0.7}}, "Simple is as accurate"),
        ({"lambda_0.01": FALLEN}, "Simple stands at every λ"),
        (
            {"time_dino": {"alarm/dimensional_collapse": 1.0}},
            "Every method, whole, keeps its dimensions",
        ),
    ],
)
def test_a_claim_does_not_hold_where_one_arm_contradicts_it(
    changes: dict[str, dict[str, float]], statement: str
) -> None:
    found = verdicts(results(**changes))
    assert [v for s, v in found.items() if s.startswith(statement)] == ["did not hold"]


def test_whether_probes_show_a_collapse_is_told_of_what_collapsed() -> None:
    def told(**changes: dict[str, float]) -> tuple[str, str]:
        claim = hypotheses(results(**changes), WHOLE)[-1]
        return claim.verdict, claim.evidence

    verdict, evidence = told()  # the collapsed have 0.8, from 0.5
    assert verdict == "did not hold"
    assert "SimSiam, no stop-gradient, two augmentations: 0.50 ± 0.00 → 0.80 ± 0.00" in evidence
    names = [f"{group}_{method}" for group in PAIRS for method in stability.ABLATIONS]
    blind = {name.replace("-", "_"): {**FALLEN, "test/digit": 0.1} for name in names}
    assert told(**blind)[0] == "held"
    assert told(**dict.fromkeys(blind, SOUND)) == ("not tested", "–")


def test_without_trials_nothing_is_claimed() -> None:
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
    found = {c.statement: c.verdict for c in hypotheses(results, ["infonce"])}
    assert found["Alignment alone (Simple at λ = 0) collapses"] == "not tested"
    assert found["Every method, whole, does not collapse"] == "held"


def test_the_page_has_a_table_for_each_kind_of_pairs_and_the_curve_of_lambda(
    tmp_path: Path,
) -> None:
    found = results()
    images = tmp_path / "images"
    images.mkdir()
    page = page_of(found, tmp_path).write(
        tmp_path,
        name="stability",
        images=images,
        command="adassl experiment stability",
        results=found,
    )
    text = page.read_text()
    assert "| BYOL, no predictor | 0.60 ± 0.00 | 1.00 ± 0.00 |" in text
    assert (tmp_path / "time.csv").exists()
    assert (tmp_path / "augmentation.csv").exists()
    assert f"λ = {RECIPE_WEIGHT:g} is that of the recipe" in text
    assert (images / "lambda.png").stat().st_size > 5000
