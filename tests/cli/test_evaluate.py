"""What `evaluate` prints."""

from collections.abc import Sequence

import numpy as np

from cnnjobs import metrics
from cnnjobs.cli.evaluate import evaluate_text
from cnnjobs.evaluation.evaluate_summary import BesideSummary, EvaluateSummary, WrongPrediction
from cnnjobs.metrics import Bootstrap, Difference, Metrics

RIGHT = ["covid", "normal"] * 10
SCORES = np.tile(np.array([0.9, 0.2, 0.8, 0.6], np.float32), 5)


def test_every_metric_has_its_interval() -> None:
    lines = evaluate_text(_summary(_binary(resamples=200), prevalence=0.02)).splitlines()
    assert lines[1].split() == ["metric", "value", "95%", "interval"]
    specificity = next(line for line in lines if line.startswith("specificity"))
    assert specificity.split()[:2] == ["specificity", "0.5000"]
    low, to, high = specificity.split()[2:]
    assert to == "to"
    assert 0 <= float(low) < 0.5 < float(high) <= 1
    assert any(line.startswith("intervals allow for 20 groups; ") for line in lines)
    assert "at_prevalence: for a share of 0.02 positive images" in lines


def test_without_intervals_the_reason_replaces_the_column() -> None:
    summary = _summary(_binary(resamples=200, groups=["a", "b"] * 10))
    lines = evaluate_text(summary).splitlines()
    assert lines[1].split() == ["metric", "value"]
    assert "no intervals for 2 groups: at least 10 are needed" in lines


def test_intervals_that_were_not_requested_are_not_mentioned() -> None:
    assert "interval" not in evaluate_text(_summary(_binary(resamples=0)))


def test_more_than_two_classes_have_their_own_table() -> None:
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 0] * 5]
    measured = metrics.multiclass(
        ["0", "1", "2", "1"] * 5,
        scores,
        names=["0", "1", "2"],
        bootstrap=Bootstrap(groups=[str(number) for number in range(20)], resamples=100),
    )
    text = evaluate_text(_summary(measured, positive=None))
    assert "\nmacro_f1 " in text
    assert "\nf1_0" not in text
    header = text.splitlines().index(
        "class  precision                  recall                     f1"
    )
    row = text.splitlines()[header + 1].split(" (")
    assert row[0].split() == ["0", "0.5000"]
    assert text.splitlines()[header + 3].startswith("2      1.0000 (0.5493 to 1.0000)")


def test_the_most_wrong_images_are_listed() -> None:
    row = WrongPrediction(path="a/1.png", label="covid", prediction="normal", probability=0.98)
    lines = evaluate_text(_summary(_binary(resamples=0), most_wrong=[row])).splitlines()
    header = lines.index("most wrong  label  prediction  probability")
    assert lines[header + 1] == "a/1.png     covid  normal           0.9800"


def test_other_data_is_shown_next_to_the_test_with_the_drop() -> None:
    measured = _binary(resamples=0)
    other = BesideSummary(
        data="elsewhere",
        num_images=7,
        num_groups=7,
        num_failed=1,
        num_unlabelled=0,
        counts={"normal": 7},
        metrics={**measured.values, "specificity": 0.25, "auroc": None},
        intervals={},
        no_intervals="no intervals for 7 images: at least 10 are needed",
        undefined="all images are normal: no AUROC, AUPRC or MCC",
        confusion=measured.confusion,
        drops={"specificity": Difference(value=0.25, interval=(0.1, 0.4))},
        warning=None,
        predictions=None,
    )
    lines = evaluate_text(_summary(measured, beside=[other])).splitlines()
    title = lines.index("compared with 7 images of elsewhere (normal 7)")
    assert lines[title + 1].split()[:5] == ["metric", "test", "beside", "drop", "95%"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[title + 2 :]}
    assert rows["specificity"] == ["0.5000", "0.2500", "0.2500", "0.1000", "to", "0.4000"]
    assert rows["auroc"][1:] == ["-", "-", "-"]
    assert "no intervals for 7 images: at least 10 are needed" in lines
    assert "undefined: all images are normal: no AUROC, AUPRC or MCC" in lines


def _binary(*, resamples: int, groups: list[str] | None = None) -> Metrics:
    return metrics.binary(
        RIGHT,
        SCORES,
        positive="covid",
        negative="normal",
        threshold=0.5,
        prevalence=0.02,
        bootstrap=Bootstrap(
            groups=groups or [str(number) for number in range(20)], resamples=resamples
        ),
    )


def _summary(
    measured: Metrics,
    *,
    positive: str | None = "covid",
    prevalence: float | None = None,
    most_wrong: Sequence[WrongPrediction] = (),
    beside: Sequence[BesideSummary] = (),
) -> EvaluateSummary:
    return EvaluateSummary(
        bundle="run/bundle",
        model="covid-1",
        split="test",
        positive=positive,
        threshold=0.5,
        temperature=1.0,
        prevalence=prevalence,
        num_images=measured.num_images,
        num_groups=20,
        num_failed=0,
        num_unlabelled=0,
        counts={},
        metrics=measured.values,
        intervals=measured.intervals,
        no_intervals=measured.no_intervals,
        undefined=measured.undefined,
        confusion=measured.confusion,
        most_wrong=most_wrong,
        plots=[],
        beside=beside,
        warning=None,
        audit=None,
        output=None,
    )
