"""Row weights: equal for every class of every source, for every class, or both."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.training.distributed.sample_weights import (
    balance_warnings,
    row_weights,
    source_warnings,
)

# 6 and 1 of the two classes at one hospital, 1 and 2 at the other
TARGETS = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0, 0])
SOURCES = np.array(["a"] * 7 + ["b"] * 3)


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(data="unused", output="unused", **settings)


def sums(weights: np.ndarray, *columns: np.ndarray) -> dict[tuple[Any, ...], float]:
    cells = list(zip(*(column.tolist() for column in columns), strict=True))
    return {
        cell: pytest.approx(
            sum(w for w, other in zip(weights, cells, strict=True) if other == cell)
        )
        for cell in cells
    }


def test_by_default_all_rows_have_the_same_weight() -> None:
    assert row_weights(config(), TARGETS, SOURCES) is None


def test_balanced_classes_have_the_same_total_weight() -> None:
    weights = row_weights(config(class_weight="balanced"), TARGETS, SOURCES)
    assert weights is not None
    assert weights.dtype == np.float32
    assert sums(weights, TARGETS) == {(0,): 5, (1,): 5}
    np.testing.assert_allclose(weights[:7], [5 / 7] * 6 + [5 / 3], rtol=1e-6)


def test_balanced_sources_have_the_same_total_weight_in_each_class() -> None:
    weights = row_weights(config(balance="source"), TARGETS, SOURCES)
    assert weights is not None
    assert sums(weights, SOURCES, TARGETS) == {
        ("a", 1): 2.5, ("a", 0): 2.5, ("b", 1): 2.5, ("b", 0): 2.5,
    }  # fmt: skip
    np.testing.assert_allclose(weights[:7], [2.5 / 6] * 6 + [2.5], rtol=1e-6)


def test_if_every_source_has_every_class_balancing_both_equals_balancing_sources() -> None:
    both = row_weights(config(balance="source", class_weight="balanced"), TARGETS, SOURCES)
    alone = row_weights(config(balance="source"), TARGETS, SOURCES)
    np.testing.assert_allclose(both, alone, rtol=1e-6)


def test_with_both_classes_are_equal_and_so_are_the_sources_of_each_class() -> None:
    # class 0 is at one hospital only
    keep = (TARGETS == 1) | (SOURCES == "b")
    targets, sources = TARGETS[keep], SOURCES[keep]
    weights = row_weights(config(balance="source", class_weight="balanced"), targets, sources)
    assert weights is not None
    assert sums(weights, sources, targets) == {("a", 1): 2.25, ("b", 1): 2.25, ("b", 0): 4.5}


def test_sources_with_a_single_class_are_named_in_one_line() -> None:
    warnings = balance_warnings(
        config(balance="source"),
        rows([("a", "covid", "train"), ("b", "normal", "train"), ("b", "covid", "validation")]),
    )
    assert warnings == [
        "balance source cannot help if a source has only one class: a (covid), b (normal)."
    ]


def test_of_many_such_sources_five_are_named() -> None:
    (warning,) = balance_warnings(
        config(balance="source"), rows([(str(number), "covid", "train") for number in range(9)])
    )
    assert warning.endswith(": 0 (covid), 1 (covid), 2 (covid), 3 (covid), 4 (covid), and 4 more.")


def test_a_single_source_leaves_nothing_to_balance() -> None:
    single = rows([("a", "covid", "train"), ("a", "normal", "train")])
    assert balance_warnings(config(balance="source"), single) == [
        "balance source changes nothing: all images are from source a."
    ]
    assert balance_warnings(config(), single) == []


def test_balancing_that_helps_gives_no_warning() -> None:
    both = [(source, label, "train") for source in "ab" for label in ("covid", "normal")]
    assert balance_warnings(config(balance="source"), rows(both)) == []


def test_sources_of_one_class_each_are_a_warning_whatever_the_settings() -> None:
    cells = [("a", "covid", "train"), ("b", "normal", "train"), ("c", "covid", "train")]
    (warning,) = source_warnings(rows(cells))
    assert warning.startswith(
        "every source has images of one class only: a (covid), b (normal), c (covid). No setting"
    )
    # validation images do not train
    assert source_warnings(rows([*cells, ("a", "normal", "validation")])) == [warning]
    assert source_warnings(rows([*cells, ("a", "normal", "train")])) == []
    assert source_warnings(rows([("a", "covid", "train"), ("b", "covid", "train")])) == []


def rows(cells: list[tuple[str, str, str]]) -> pa.Table:
    return pa.table(dict(zip(("source", "label", "split"), zip(*cells, strict=True), strict=True)))
