"""The seeds that a run records: one for everything that its job draws."""

from typing import Any

import pytest

from cnnjobs.config import (
    AuditConfig,
    CrossvalConfig,
    EvaluateConfig,
    TrainConfig,
    TuneConfig,
    seeds,
)

DATA = {"data": "xrays", "output": "run", "seed": 7}


def test_a_training_draws_weights_order_dropout_and_augmentation_from_its_own_seed() -> None:
    plain = seeds.of_training(TrainConfig(**DATA), split=3)
    assert plain == {"weights": 7, "order": 7, "dropout": 7, "augmentation": None, "split": 3}
    augmented = seeds.of_training(TrainConfig(**DATA, augment="light"), split=None)
    assert (augmented["augmentation"], augmented["split"]) == (7, None)


def test_a_search_also_draws_the_settings_of_its_trials() -> None:
    drawn = seeds.of_training(TuneConfig(**DATA, space="space.yaml"), split=3)
    assert drawn["settings of trials"] == drawn["weights"] == 7


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"repeats": 2}, {"repeat 1": 7, "repeat 2": 8}),
        ({"leave_out": "source"}, {"repeat 1": 7, "left out": 7}),
        ({"folds": 0, "leave_out": "source"}, {"left out": 7}),
    ],
)
def test_every_repeat_of_a_cross_validation_has_the_next_seed(
    settings: dict[str, Any], names: dict[str, int]
) -> None:
    drawn = seeds.of_crossval(CrossvalConfig(**DATA, **settings))
    assert {name: each["weights"] for name, each in drawn.items()} == names
    assert {name: each["folds and validation"] for name, each in drawn.items()} == names
    assert {name for name, each in drawn.items() if "bootstrap" in each} == {"left out"} & set(
        names
    )


def test_every_set_of_an_evaluation_has_a_bootstrap_of_its_own() -> None:
    config = EvaluateConfig(bundle="run", data="xrays", beside=("a", "b"), seed=7)
    drawn = seeds.of_evaluation(config, split=3, audited=True)
    assert (drawn["bootstrap"], drawn["audit"]["bootstrap"]) == ([7, 8, 9], 7)
    without = EvaluateConfig(bundle="run", data="xrays", resamples=0)
    drawn = seeds.of_evaluation(without, split=3, audited=False)
    assert drawn == {"bootstrap": None, "sample images": 0, "split": 3}


def test_an_audit_records_what_an_evaluation_records_of_its_audit() -> None:
    config = EvaluateConfig(bundle="run", data="xrays", seed=7)
    of_evaluation = seeds.of_evaluation(config, split=3, audited=True)["audit"]
    alone = seeds.of_audit(AuditConfig(bundle="run", data="xrays", seed=7), split=3)
    assert alone == {**of_evaluation, "split": 3}
