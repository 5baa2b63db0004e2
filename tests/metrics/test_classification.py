"""Metrics of two and more classes, against values computed by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as skm

from cnnjobs import metrics

# covid is positive; the threshold 0.5 predicts it for the first three images and the fifth
LABELS = ["covid", "covid", "normal", "covid", "normal", "covid", "normal", "normal"]
SCORES = np.array([0.9, 0.8, 0.7, 0.4, 0.6, 0.2, 0.2, 0.1], np.float32)


def test_binary_metrics_equal_those_computed_by_hand():
    found = _binary(LABELS, SCORES)
    # 15 bins: both 0.2 are in the fourth, and one of them is covid; all others are alone
    ece = (0.1 + 0.2 + 0.7 + 0.6 + 0.6 + 0.1 + abs(0.2 + 0.2 - 1)) / 8
    # covid at 0.9 0.8 | 0.4 0.2: tp 2, fn 2; normal at 0.7 0.6 | 0.2 0.1: fp 2, tn 2
    assert found.confusion == {
        "normal": {"normal": 2, "covid": 2},
        "covid": {"normal": 2, "covid": 2},
    }
    # of 4 x 4 pairs: 0.9 beats 4, 0.8 beats 4, 0.4 beats 2, 0.2 beats 1 and ties 1
    auroc = (4 + 4 + 2 + 1 + 0.5) / 16
    # precision at the score of each covid, from the top; at 0.2 there is a normal as well:
    # 1 of 1, 2 of 2, 3 of 5, 4 of 7
    auprc = (1 / 1 + 2 / 2 + 3 / 5 + 4 / 7) / 4
    # squares of 0.1 0.2 0.6 0.8 (covid) and 0.7 0.6 0.2 0.1 (normal)
    brier = (0.01 + 0.04 + 0.36 + 0.64 + 0.49 + 0.36 + 0.04 + 0.01) / 8
    assert dict(found.values) == pytest.approx(
        {
            "accuracy": 4 / 8,
            "balanced_accuracy": (2 / 4 + 2 / 4) / 2,
            "sensitivity": 2 / 4,
            "specificity": 2 / 4,
            "ppv": 2 / 4,
            "npv": 2 / 4,
            "f1": 2 * 2 / (2 * 2 + 2 + 2),
            "mcc": 0.0,
            "auroc": auroc,
            "auprc": auprc,
            "brier": brier,
            "ece": ece,
        },
        abs=1e-7,
    )
    assert found.num_images == 8
    assert found.undefined is None


def test_no_two_binary_metrics_are_confused_with_each_other():
    # threshold 0.65: tp 2, fp 1, fn 2, tn 3
    values = _binary(LABELS, SCORES, threshold=0.65).values
    assert values["accuracy"] == pytest.approx((2 + 3) / 8)
    assert values["sensitivity"] == pytest.approx(2 / (2 + 2))
    assert values["specificity"] == pytest.approx(3 / (3 + 1))
    assert values["balanced_accuracy"] == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert values["ppv"] == pytest.approx(2 / (2 + 1))
    assert values["npv"] == pytest.approx(3 / (3 + 2))
    assert values["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert values["mcc"] == pytest.approx((2 * 3 - 1 * 2) / np.sqrt(3 * 4 * 4 * 5))


def test_binary_metrics_equal_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    actual = rng.random(200) < 0.3
    scores = np.clip(rng.normal(0.4 + 0.2 * actual, 0.2), 0, 1).astype(np.float32)
    values = _binary(np.where(actual, "covid", "normal").tolist(), scores, threshold=0.45).values
    predicted = scores >= 0.45
    assert dict(values) == pytest.approx(
        {
            "accuracy": skm.accuracy_score(actual, predicted),
            "balanced_accuracy": skm.balanced_accuracy_score(actual, predicted),
            "sensitivity": skm.recall_score(actual, predicted),
            "specificity": skm.recall_score(actual, predicted, pos_label=False),
            "ppv": skm.precision_score(actual, predicted),
            "npv": skm.precision_score(actual, predicted, pos_label=False),
            "f1": skm.f1_score(actual, predicted),
            "mcc": skm.matthews_corrcoef(actual, predicted),
            "auroc": skm.roc_auc_score(actual, scores),
            "auprc": skm.average_precision_score(actual, scores),
            "brier": skm.brier_score_loss(actual, scores),
            "ece": _ece(scores, actual),
        },
        abs=1e-7,
    )


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.1])
def test_a_probability_equal_to_the_threshold_is_positive(threshold):
    # 0.7 is a different number in float32, the type of models' outputs
    scores = np.array([threshold, np.nextafter(np.float32(threshold), np.float32(0))], np.float32)
    found = _binary(["covid", "normal"], scores, threshold=threshold)
    assert found.confusion == {
        "normal": {"normal": 1, "covid": 0},
        "covid": {"normal": 0, "covid": 1},
    }


def test_the_name_of_the_positive_class_does_not_change_the_metrics():
    first, last = (
        metrics.binary(
            [positive if label == "covid" else negative for label in LABELS],
            SCORES,
            positive=positive,
            negative=negative,
            threshold=0.65,
        )
        for positive, negative in (("a", "z"), ("z", "a"))
    )
    assert first.values == last.values
    assert first.confusion["a"] == {"z": 2, "a": 2}
    assert last.confusion["z"] == {"a": 2, "z": 2}


@pytest.mark.parametrize(
    ("label", "known", "unknown"),
    [
        # only covid, two of three predicted: tp 2, fn 1
        (
            "covid",
            {"accuracy": 2 / 3, "sensitivity": 2 / 3, "ppv": 1.0, "npv": 0.0, "f1": 4 / 5},
            {"specificity", "balanced_accuracy", "mcc", "auroc", "auprc"},
        ),
        # only normal, two of three predicted covid: fp 2, tn 1
        (
            "normal",
            {"accuracy": 1 / 3, "specificity": 1 / 3, "ppv": 0.0, "npv": 1.0, "f1": 0.0},
            {"sensitivity", "balanced_accuracy", "mcc", "auroc", "auprc"},
        ),
    ],
)
def test_metrics_that_need_two_classes_are_undefined_with_one(label, known, unknown):
    found = _binary([label] * 3, np.array([0.9, 0.5, 0.4], np.float32))
    assert {name for name, value in found.values.items() if value is None} == unknown
    for name, value in known.items():
        assert found.values[name] == pytest.approx(value)
    assert found.undefined == f"all images are {label}: no AUROC, AUPRC or MCC"


def test_a_predictive_value_without_such_predictions_is_undefined():
    none = _binary(LABELS, SCORES, threshold=0.95).values
    assert (none["ppv"], none["npv"], none["f1"]) == (None, 4 / 8, 0.0)
    all_positive = _binary(LABELS, SCORES, threshold=0.0).values
    assert (all_positive["ppv"], all_positive["npv"]) == (4 / 8, None)


def test_no_images_leave_every_binary_metric_undefined():
    found = _binary([], np.zeros(0, np.float32))
    assert found.num_images == 0
    assert set(found.values.values()) == {None}
    assert found.undefined == "no images"
    assert found.confusion == {
        "normal": {"normal": 0, "covid": 0},
        "covid": {"normal": 0, "covid": 0},
    }


NAMES = ["covid", "normal", "pneumonia"]
#: Three covid, two normal, one pneumonia; the second covid and the pneumonia are predicted normal.
THREE = ["covid", "covid", "covid", "normal", "normal", "pneumonia"]
OF_THREE = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.3, 0.6, 0.1],
        [0.5, 0.1, 0.4],
        [0.2, 0.5, 0.3],
        [0.1, 0.8, 0.1],
        [0.2, 0.6, 0.2],
    ],
    np.float32,
)


def test_metrics_of_three_classes_equal_those_computed_by_hand():
    found = metrics.multiclass(THREE, OF_THREE, names=NAMES)
    assert found.confusion == {
        "covid": {"covid": 2, "normal": 1, "pneumonia": 0},
        "normal": {"covid": 0, "normal": 2, "pneumonia": 0},
        "pneumonia": {"covid": 0, "normal": 1, "pneumonia": 0},
    }
    # each ordered pair of classes: the share of its pairs of images in the right order
    # covid, normal: by covid 0.7 0.3 0.5 over 0.2 0.1, 6 of 6;
    #   by normal 0.5 over 0.2 and 0.1 (0.6 is above it), 0.8 over all, 5 of 6
    # covid, pneumonia: by covid 0.7 0.3 0.5 over 0.2, 3 of 3;
    #   by pneumonia 0.2 over 0.1 and 0.1, below 0.4, 2 of 3
    # normal, pneumonia: by normal 0.8 over 0.6, 0.5 below it, 1 of 2;
    #   by pneumonia 0.2 over 0.1, below 0.3, 1 of 2
    pairs = [(6 / 6 + 5 / 6) / 2, (3 / 3 + 2 / 3) / 2, (1 / 2 + 1 / 2) / 2]
    assert dict(found.values) == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": (2 / 3 + 2 / 2 + 0 / 1) / 3,
            # for each class 2 * correct / (actual + predicted)
            "macro_f1": (4 / (3 + 2) + 4 / (2 + 4) + 0 / (1 + 0)) / 3,
            # Gorodkin: 4 correct of 6; actual 3 2 1, predicted 2 4 0
            "mcc": (4 * 6 - (3 * 2 + 2 * 4)) / np.sqrt((36 - 14) * (36 - 20)),
            "precision_covid": 2 / 2,
            "recall_covid": 2 / 3,
            "f1_covid": 4 / 5,
            "precision_normal": 2 / 4,
            "recall_normal": 2 / 2,
            "f1_normal": 4 / 6,
            "precision_pneumonia": None,
            "recall_pneumonia": 0 / 1,
            "f1_pneumonia": 0.0,
            "auroc": sum(pairs) / 3,
            # squares by image: 0.7 0.2 0.1 of covid is 0.09 + 0.04 + 0.01, and so on
            "brier": (0.14 + 0.86 + 0.42 + 0.38 + 0.06 + 1.04) / 6,
            # 0.7 correct, 0.6 wrong twice, 0.5 correct twice, 0.8 correct
            "ece": (0.3 + 2 * 0.6 + 2 * 0.5 + 0.2) / 6,
        },
        abs=1e-7,
    )
    assert found.num_images == 6
    assert found.undefined is None


def test_metrics_of_four_classes_equal_those_of_scikit_learn():
    rng = np.random.default_rng(8)
    names = ["a", "b", "c", "d"]
    actual = rng.integers(0, 4, 120)
    logits = rng.normal(size=(120, 4)) + 1.5 * np.eye(4)[actual]
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    values = metrics.multiclass([names[n] for n in actual], scores, names=names).values
    predicted = scores.argmax(axis=1)
    wide = scores.astype(float) / scores.astype(float).sum(axis=1, keepdims=True)
    by_class = {
        "precision": skm.precision_score(actual, predicted, average=None),
        "recall": skm.recall_score(actual, predicted, average=None),
        "f1": skm.f1_score(actual, predicted, average=None),
    }
    assert dict(values) == pytest.approx(
        {
            "accuracy": skm.accuracy_score(actual, predicted),
            "balanced_accuracy": skm.balanced_accuracy_score(actual, predicted),
            "macro_f1": skm.f1_score(actual, predicted, average="macro"),
            "mcc": skm.matthews_corrcoef(actual, predicted),
            "auroc": skm.roc_auc_score(actual, wide, multi_class="ovo"),
            "brier": skm.brier_score_loss(actual, wide, scale_by_half=False),
            "ece": _ece(scores.max(axis=1), predicted == actual),
            **{
                f"{kind}_{name}": value
                for kind, values in by_class.items()
                for name, value in zip(names, values, strict=True)
            },
        },
        abs=1e-7,
    )


def test_columns_are_in_the_order_of_the_names():
    order = [2, 0, 1]
    names = [NAMES[column] for column in order]
    expected = metrics.multiclass(THREE, OF_THREE, names=NAMES)
    found = metrics.multiclass(THREE, OF_THREE[:, order], names=names)
    assert dict(found.values) == pytest.approx(dict(expected.values))
    assert found.confusion["covid"] == expected.confusion["covid"]


def test_without_images_of_a_class_its_recall_and_the_auroc_are_undefined():
    found = metrics.multiclass(THREE[:5], OF_THREE[:5], names=NAMES)
    assert found.values["recall_pneumonia"] is None
    assert found.values["auroc"] is None
    # the mean over the classes with images
    assert found.values["balanced_accuracy"] == pytest.approx((2 / 3 + 2 / 2) / 2)
    assert found.undefined == "no images of pneumonia: no AUROC"


def test_no_images_leave_every_metric_of_three_classes_undefined():
    found = metrics.multiclass([], np.zeros((0, 3), np.float32), names=NAMES)
    assert found.num_images == 0
    assert set(found.values.values()) == {None}
    assert found.undefined == "no images of covid, normal, pneumonia: no AUROC"
    assert found.confusion["covid"] == {"covid": 0, "normal": 0, "pneumonia": 0}


def test_predictive_values_at_another_prevalence_follow_bayes_theorem():
    # sensitivity 2/4, specificity 3/4 at the threshold 0.65; of 1000 patients of whom 1% are sick,
    # 5 of 10 sick and 990 / 4 healthy ones are predicted positive
    values = _binary(LABELS, SCORES, threshold=0.65, prevalence=0.01).values
    assert values["ppv_at_prevalence"] == pytest.approx(5 / (5 + 990 / 4))
    assert values["npv_at_prevalence"] == pytest.approx(990 * 3 / 4 / (990 * 3 / 4 + 5))
    same = _binary(LABELS, SCORES, threshold=0.65, prevalence=0.5).values
    assert same["ppv_at_prevalence"] == pytest.approx(same["ppv"])
    assert same["npv_at_prevalence"] == pytest.approx(same["npv"])


def _binary(labels, scores, *, threshold=0.5, **more):
    return metrics.binary(
        labels, scores, positive="covid", negative="normal", threshold=threshold, **more
    )


def _ece(confidence, right):
    """The sum over 15 bins, from the definition."""
    wide = np.asarray(confidence, float)
    bins = np.digitize(wide, np.arange(1, 15) / 15)
    return sum(
        np.mean(bins == index) * abs(wide[bins == index].mean() - right[bins == index].mean())
        for index in set(bins.tolist())
    )
