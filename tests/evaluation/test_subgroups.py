"""Subgroups, their largest gaps, operating points, and PPV and NPV by prevalence."""

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs.errors import InputError
from cnnjobs.evaluation import operating_points, subgroups
from cnnjobs.metrics import Bootstrap
from tests.support.bundles import described

NUM = 120


def test_each_subgroup_has_its_own_metrics_and_the_gap_names_both():
    found = _broken_down("sex")
    assert [(each.value, each.num_images) for each in found.subgroups] == [("f", 60), ("m", 60)]
    women, men = found.subgroups
    # scores are informative for men only
    assert men.metrics["auroc"] == 1.0
    assert women.metrics["auroc"] == pytest.approx(0.5, abs=0.15)
    assert men.intervals["auroc"][1] == 1.0
    (gap,) = [gap for gap in found.gaps if gap.metric == "auroc"]
    assert (gap.highest, gap.lowest) == ("m", "f")
    assert gap.difference.value == pytest.approx(1 - women.metrics["auroc"])
    low, high = gap.difference.interval
    assert 0.2 < low < gap.difference.value < high < 0.75


def test_numbers_are_cut_into_ranges_and_unknown_values_come_last():
    found = _broken_down("age:40,60")
    assert [(each.value, each.num_images) for each in found.subgroups] == [
        ("below 40", 30),
        ("40 to below 60", 39),
        ("60 or above", 50),
        ("unknown", 1),
    ]
    unknown = found.subgroups[-1]
    assert unknown.no_intervals == "no intervals for 1 images: at least 10 are needed"
    assert "unknown" not in {name for gap in found.gaps for name in (gap.highest, gap.lowest)}


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("scanner", "the manifest has no column scanner; break down by one of path, sex, age."),
        ("path", "column path has 120 values, at most 20 can be broken down; cut numbers as in"),
        ("sex:40", "column sex has values that are no numbers ("),
        ("age:60,40", "cuts must be numbers in ascending order, such as age:40,60, got age:60,40."),
        ("age:old", "cuts must be numbers in ascending order, such as age:40,60, got age:old."),
    ],
)
def test_a_column_that_cannot_break_down_is_refused(by, message):
    with pytest.raises(InputError) as refused:
        subgroups.check([by], _rows())
    assert str(refused.value).startswith(message)


def test_an_operating_point_reaches_what_was_stated_at_the_least_cost():
    positive = np.arange(20) < 10
    scores = np.r_[np.arange(0.55, 1.0, 0.05)[:9], 0.2, np.arange(0.05, 0.55, 0.05)]
    scores = scores.astype(np.float32)
    strict, loose = operating_points.operating_points(
        ["sensitivity=1", "sensitivity=0.9"], scores, positive, np.arange(20)
    )
    # the lowest positive is at 0.2: the negatives from 0.2 to 0.5 are lost
    assert (strict.threshold, strict.sensitivity) == (pytest.approx(0.2), 1.0)
    assert strict.specificity == pytest.approx(0.3, abs=0.11)
    assert (loose.sensitivity, loose.specificity) == (0.9, 1.0)
    assert loose.specificity_interval == pytest.approx((0.05**0.1, 1.0))
    (point,) = operating_points.operating_points(["specificity=1"], scores, positive, None)
    assert (point.sensitivity, point.specificity_interval) == (0.9, None)


def test_predictive_values_follow_the_prevalence():
    positive = np.arange(200) < 100
    called = np.r_[np.arange(100) < 90, np.arange(100) < 20]
    curve = operating_points.prevalence_curve(called, positive, np.arange(200), [0.37])
    at = {point.prevalence: point for point in curve}
    assert at[0.5].ppv == pytest.approx(0.9 / 1.1)
    assert at[0.01].ppv == pytest.approx(0.009 / (0.009 + 0.198))
    assert 0.37 in at
    ppv = [point.ppv for point in curve]
    assert ppv == sorted(ppv)
    for point in curve:
        assert point.ppv_interval[0] < point.ppv < point.ppv_interval[1]


def _rows():
    ages = [None, *[20] * 30, *[40] * 39, *[60] * 50]
    return pa.table(
        {"path": [str(n) for n in range(NUM)], "sex": ["m", "f"] * (NUM // 2), "age": ages}
    )


def _broken_down(by):
    rng = np.random.default_rng(0)
    positive = np.arange(NUM) % 4 < 2
    is_man = np.arange(NUM) % 2 == 0
    scores = np.where(is_man, 0.2 + 0.6 * positive, rng.random(NUM)).astype(np.float32)
    scored = pa.table(
        {
            "path": _rows()["path"],
            "label": np.where(positive, "opacity", "normal").tolist(),
            "probability": scores,
        }
    )
    bootstrap = Bootstrap(groups=_rows()["path"].to_pylist(), resamples=100)
    return subgroups.break_down(by, _rows(), scored, described(), bootstrap)
