"""Tests of two models on the same images, against published examples."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cnnjobs.metrics import paired

# Albumin, total protein, K-G score (the lower the worse) and outcome of 43 patients with ovarian
# cancer (DeLong et al. 1988), as in the SAS/STAT User's Guide, LOGISTIC, "Comparing Receiver
# Operating Characteristic Curves"
PATIENTS = """
3.0 5.8 10 0  3.2 6.3  5 1  3.9 6.8  3 1  2.8 4.8  6 0  3.2 5.8  3 1  0.9 4.0  5 0
2.5 5.7  8 0  1.6 5.6  5 1  3.8 5.7  5 1  3.7 6.7  6 1  3.2 5.4  4 1  3.8 6.6  6 1
4.1 6.6  5 1  3.6 5.7  5 1  4.3 7.0  4 1  3.6 6.7  4 0  2.3 4.4  6 1  4.2 7.6  4 0
4.0 6.6  6 0  3.5 5.8  6 1  3.8 6.8  7 1  3.0 4.7  8 0  4.5 7.4  5 1  3.7 7.4  5 1
3.1 6.6  6 1  4.1 8.2  6 1  4.3 7.0  5 1  4.3 6.5  4 1  3.2 5.1  5 1  2.6 4.7  6 1
3.3 6.8  6 0  1.7 4.0  7 0  3.7 6.1  5 1  3.3 6.3  7 1  4.2 7.7  6 1  3.5 6.2  5 1
2.9 5.7  9 0  2.1 4.8  7 1  2.8 6.2  8 0  4.0 7.0  7 1  3.3 5.7  6 1  3.7 6.9  5 1
3.6 6.6  5 1
"""
ALBUMIN, PROTEIN, KG, OUTCOME = np.array(PATIENTS.split(), float).reshape(-1, 4).T


@pytest.mark.parametrize(
    ("test", "difference", "error", "interval", "p"),
    [
        (ALBUMIN, 0.0108, 0.0953, (-0.1761, 0.1976), 0.9102),
        (PROTEIN, -0.0780, 0.1046, (-0.2830, 0.1271), 0.4561),
    ],
)
def test_the_difference_of_aurocs_equals_the_published_one(
    test, difference, error, interval, p
) -> None:
    found = paired.delong(test, 10 - KG, OUTCOME == 1)
    assert found.difference == pytest.approx(difference, abs=5e-5)
    assert found.standard_error == pytest.approx(error, abs=5e-5)
    assert found.interval == pytest.approx(interval, abs=5e-5)
    assert found.p == pytest.approx(p, abs=5e-5)


def test_the_difference_equals_that_of_scikit_learns_aurocs_even_in_float32() -> None:
    one, other = ALBUMIN.astype(np.float32), PROTEIN.astype(np.float32)
    expected = roc_auc_score(OUTCOME, ALBUMIN) - roc_auc_score(OUTCOME, PROTEIN)
    assert paired.delong(one, other, OUTCOME == 1).difference == pytest.approx(expected)


def test_swapping_the_models_only_changes_the_sign() -> None:
    one = paired.delong(ALBUMIN, PROTEIN, OUTCOME == 1)
    other = paired.delong(PROTEIN, ALBUMIN, OUTCOME == 1)
    assert (other.difference, other.p) == pytest.approx((-one.difference, one.p))
    assert other.standard_error == pytest.approx(one.standard_error)


def test_models_with_the_same_ranking_do_not_differ() -> None:
    found = paired.delong(ALBUMIN, ALBUMIN * 2, OUTCOME == 1)
    assert (found.difference, found.standard_error, found.p) == (0, 0, 1)


@pytest.mark.parametrize(
    ("only_one", "only_other", "p"),
    [
        # Fagerland et al. 2013, BMC Medical Research Methodology 13:91: airways of 21 children
        (1, 7, 0.070),
        # Armitage and Berry 1994, page 127: two media for tubercle bacilli
        (12, 2, 0.013),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_the_p_of_discordant_images_equals_the_published_one(only_one, only_other, p) -> None:
    one = np.repeat([True, False, True, False], [only_one, only_other, 5, 2])
    other = np.repeat([False, True, True, False], [only_one, only_other, 5, 2])
    found = paired.mcnemar(one, other)
    assert (found.only_one, found.only_other) == (only_one, only_other)
    assert found.p == pytest.approx(p, abs=5e-4)
