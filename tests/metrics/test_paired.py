"""Tests of two models on the same images, against published examples."""

import itertools
import math

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


def _exact(only_one: int, only_other: int) -> float:
    """McNemar's exact two-sided p by the sum of the binomial coefficients."""
    number = only_one + only_other
    outcomes = sum(math.comb(number, fewer) for fewer in range(min(only_one, only_other) + 1))
    return min(1.0, 2 * outcomes / 2**number)


def test_the_p_of_every_small_table_is_that_of_the_binomial_coefficients() -> None:
    for only_one, only_other in itertools.product(range(41), range(41)):
        right = np.repeat([True, False], [only_one, only_other])
        found = paired.mcnemar(right, ~right).p
        assert found == pytest.approx(_exact(only_one, only_other), rel=1e-12)


@pytest.mark.timeout(60)  # a sum over binomial coefficients takes days
def test_a_million_images_that_one_model_gets_right_have_a_p() -> None:
    right = np.repeat([True, False], [499_000, 501_000])
    # the normal approximation with continuity correction: 1999 / 1000 standard errors
    expected = math.erfc(1.999 / math.sqrt(2))
    assert paired.mcnemar(right, ~right).p == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ("perfect", "constant", 0.5),
        ("constant", "perfect", -0.5),
        ("perfect", "inverted", 1.0),
        ("constant", "inverted", 0.5),
    ],
)
@pytest.mark.parametrize("positives", [2, 3, 7])
def test_a_difference_without_variance_has_no_p_and_no_interval(
    one, other, difference, positives
) -> None:
    actual = np.repeat([True, False], [positives, 5])
    scores = {
        "perfect": actual.astype(np.float32),
        "constant": np.full(len(actual), 0.3, np.float32),
        "inverted": 1 - actual.astype(np.float32),
    }
    found = paired.delong(scores[one], scores[other], actual)
    assert (found.difference, found.standard_error) == (difference, 0)
    assert (found.p, found.interval) == (None, None)
    assert found.undefined == (
        "every image contributes the same difference: there is no variance to test it against"
    )


def test_a_variance_of_0_is_0_to_the_last_digit() -> None:
    # thirds have no exact float: their variance must be 0, not 1e-34, whose p is 0
    actual = np.array([True, True, True, False, False, False])
    rng = np.random.default_rng(0)
    for _ in range(300):
        one, other = rng.integers(0, 5, (2, 6)).astype(float)
        found = paired.delong(one, other, actual)
        assert found.standard_error == 0 or found.standard_error > 1e-3
        assert (found.p is None) == (found.standard_error == 0 and found.difference != 0)


@pytest.mark.parametrize("number", [2, 5, 20])
def test_a_p_is_1_only_where_the_difference_is_0(number) -> None:
    rng = np.random.default_rng(number)
    for _ in range(200):
        actual = np.repeat([True, False], number)
        one, other = rng.integers(0, 4, (2, 2 * number)).astype(float)
        found = paired.delong(one, other, actual)
        assert (found.p == 1) == (found.difference == 0)
