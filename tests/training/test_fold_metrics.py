"""Metrics of folds whose bundles differ: calibrated or not, with an undefined metric or not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs.cli.crossval import crossval_text
from cnnjobs.reporting.cross_validation import cross_validation
from cnnjobs.reporting.inputs import InputRun
from cnnjobs.training import fold_metrics
from cnnjobs.training.crossval import CrossvalSummary
from cnnjobs.training.fold_metrics import FoldResult
from cnnjobs.training.folds import Fold
from tests.support.bundles import described

RANDOM = np.random.default_rng(0)


def _fold(
    number: int, *, temperature: float = 1.0, labels: str = "mixed", calibrate: bool = True
) -> FoldResult:
    """The result of a fold of 40 images, with a model of this temperature."""
    actual = RANDOM.random(40) < 0.5 if labels == "mixed" else np.zeros(40, bool)
    scores = np.clip(RANDOM.normal(0.4 + 0.2 * actual, 0.2), 0.01, 0.99).astype(np.float32)
    rows = pa.table(
        {
            "path": [f"{number}/{row}.png" for row in range(40)],
            "label": np.where(actual, "opacity", "normal").tolist(),
            "prediction": np.where(scores >= 0.5, "opacity", "normal").tolist(),
            "probability": scores,
            "error": pa.nulls(40, pa.string()),
        }
    )
    bundle = described(temperature=temperature, uri=f"folds/{number}")
    fold = Fold(repeat=1, number=number, left_out=None, splits=["test"] * 40)
    return fold_metrics.measured(fold, rows, bundle, {}, seed=0, calibrate=calibrate)


@pytest.mark.parametrize("temperatures", [(1.0, 1.7), (1.7, 1.0), (1.0, 1.0), (0.6, 2.5)])
def test_every_fold_of_a_calibrated_run_has_the_same_metrics(temperatures) -> None:
    results = [_fold(1 + number, temperature=each) for number, each in enumerate(temperatures)]
    found = fold_metrics.estimates(results, folds=2)
    assert found["brier_uncalibrated"].num == found["ece_uncalibrated"].num == 2
    for result, temperature in zip(results, temperatures, strict=True):
        is_same = result.metrics["brier_uncalibrated"] == result.metrics["brier"]
        assert is_same == (temperature == 1)


def test_without_calibration_there_is_nothing_uncalibrated() -> None:
    assert "brier_uncalibrated" not in _fold(1, calibrate=False).metrics


def test_a_metric_that_only_some_folds_have_is_estimated_from_those() -> None:
    one, other = _fold(1), _fold(2)
    less = {name: value for name, value in one.metrics.items() if name != "ece"}
    for results in ([dataclasses.replace(one, metrics=less), other], [other, one]):
        assert "ece" in fold_metrics.estimates(results, folds=2)
    found = fold_metrics.estimates([dataclasses.replace(one, metrics=less), other], folds=2)
    assert (found["ece"].num, found["ece"].mean) == (1, other.metrics["ece"])
    assert found["ece"].undefined == "undefined in 1 of 2 folds"


def test_a_metric_that_no_fold_defines_is_null_with_the_reason() -> None:
    results = [_fold(1, labels="negative"), _fold(2, labels="negative")]
    found = fold_metrics.estimates(results, folds=2)["auroc"]
    assert (found.num, found.mean, found.sd, found.low, found.high) == (0, None, None, None, None)
    assert found.undefined == (
        "undefined in 2 of 2 folds: all images are normal: no AUROC, AUPRC or MCC"
    )


def test_folds_with_other_metrics_are_printed_plotted_and_reported(tmp_path: Path) -> None:
    one, other = _fold(1, temperature=1.5), _fold(2, labels="negative")
    less = {name: value for name, value in one.metrics.items() if name != "specificity"}
    for folds in ([dataclasses.replace(one, metrics=less), other], [other, other]):
        estimates = fold_metrics.estimates(folds, folds=2)
        drawn = fold_metrics.draw(str(tmp_path), folds, estimates, [], "pdf")
        assert drawn == ["crossval.png", "crossval.pdf"]
        assert (tmp_path / "crossval.pdf").read_bytes().startswith(b"%PDF")
        summary = CrossvalSummary(
            output="runs/crossval",
            architecture="covid",
            positive="opacity",
            num_images=80,
            num_groups=80,
            left_over={},
            folds=folds,
            estimates=estimates,
            sources=[],
            not_left_out={},
            warnings=[],
            plots=[],
            seconds=1.0,
        )
        lines = crossval_text(summary).splitlines()
        assert any("auroc" in line and "folds: all images are normal" in line for line in lines)
        facts = json.loads(json.dumps(dataclasses.asdict(summary)))
        record = {"command": "crossval", "summary": facts}
        run = InputRun(uri="runs/crossval", record=record, is_finished=True)
        section = cross_validation([run])
        assert section is not None
        assert any("undefined in" in line for line in section.warnings)
