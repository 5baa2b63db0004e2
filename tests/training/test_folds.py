"""The folds of a cross-validation, and the interval over their results."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from cnnjobs.errors import InputError
from cnnjobs.metrics.cross_validation import estimate
from cnnjobs.training import folds


def _rows(num_patients=60, *, sources=("north", "south", "west"), seed=0):
    """Patients with 1 to 5 images, each of one label and one source."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "label": ("normal", "opacity")[patient % 2],
            "group": f"patient-{patient:02d}",
            "source": sources[patient // 2 % len(sources)],
        }
        for patient in range(num_patients)
        for _ in range(rng.integers(1, 6))
    ]
    return pa.Table.from_pylist(rows)


def _cut(rows, *, folds_=5, repeats=1, seed=0, validation=0.15):
    return folds.cut(rows, folds=folds_, repeats=repeats, validation=validation, seed=seed)


def _splits_of(rows, fold, column):
    found = defaultdict(set)
    for value, split in zip(rows[column].to_pylist(), fold.splits, strict=True):
        found[value].add(split)
    return found


def test_every_row_is_tested_once_per_repeat():
    rows = _rows()
    cut = _cut(rows, repeats=3)
    assert len(cut) == 15
    for repeat in (1, 2, 3):
        tested = [fold.splits for fold in cut if fold.repeat == repeat]
        times = [splits.count("test") for splits in zip(*tested, strict=True)]
        assert times == [1] * rows.num_rows


def test_no_group_is_in_two_splits_of_a_fold():
    rows = _rows()
    for fold in _cut(rows, repeats=2):
        assert all(len(splits) == 1 for splits in _splits_of(rows, fold, "group").values())


def test_every_split_of_a_fold_has_nearly_the_same_share_of_every_class():
    rows = _rows()
    total = Counter(rows["label"].to_pylist())
    for fold in _cut(rows):
        counts = Counter(zip(fold.splits, rows["label"].to_pylist(), strict=True))
        for label in ("normal", "opacity"):
            assert counts["test", label] == pytest.approx(total[label] / 5, abs=2)
            assert counts["validation", label] > 0
            assert counts["train", label] > total[label] / 2


def test_the_same_seed_cuts_the_same_folds_for_any_order_of_rows():
    rows = _rows()
    order = np.random.default_rng(1).permutation(rows.num_rows)
    shuffled = _cut(rows.take(order))
    for fold, other in zip(_cut(rows), shuffled, strict=True):
        assert [fold.splits[row] for row in order] == list(other.splits)


def test_another_seed_or_repeat_cuts_different_folds():
    rows = _rows()
    first, second = (_cut(rows, repeats=2)[index] for index in (0, 5))
    assert first.splits != second.splits
    assert first.splits != _cut(rows, seed=7)[0].splits
    assert folds.digest([first]) != folds.digest([second])


def test_without_validation_all_other_rows_train():
    for fold in _cut(_rows(), validation=0.0):
        assert set(fold.splits) == {"train", "test"}


def test_fewer_groups_than_folds_are_refused_with_one_line():
    rows = _rows(6)
    with pytest.raises(InputError) as refused:
        _cut(rows)
    number = rows["label"].to_pylist().count("normal")
    assert str(refused.value) == (
        f"class normal has {number} images in 3 groups; 5 folds need at least 5 groups; "
        "add images, or ask for fewer --folds."
    )


def test_a_left_out_source_is_tested_whole_and_never_trained_on():
    rows = _rows()
    made, refused = folds.leave_out(rows, validation=0.15, seed=0)
    assert [fold.left_out for fold in made] == ["north", "south", "west"]
    assert refused == {}
    for fold in made:
        by_source = _splits_of(rows, fold, "source")
        assert by_source.pop(fold.left_out) == {"test"}
        assert all(splits == {"train", "validation"} for splits in by_source.values())


def test_rows_that_share_a_group_with_a_left_out_source_do_not_train():
    rows = _rows()
    copy = {"label": "normal", "group": rows["group"][0].as_py(), "source": "south"}
    rows = pa.concat_tables([rows, pa.Table.from_pylist([copy])])
    made, _ = folds.leave_out(rows, validation=0.15, seed=0)
    assert {fold.left_out: fold.splits[-1] for fold in made}["north"] is None
    assert {fold.left_out: fold.splits[-1] for fold in made}["south"] == "test"


def test_the_only_source_of_a_class_is_not_left_out_and_the_reason_is_given():
    rows = _rows()
    only = [
        {"label": "opacity", "group": f"east-{number}", "source": "east"} for number in range(4)
    ]
    normal = rows.filter(pa.compute.equal(rows["label"], "normal"))
    rows = pa.concat_tables([normal, pa.Table.from_pylist(only)])
    made, refused = folds.leave_out(rows, validation=0.15, seed=0)
    assert [fold.left_out for fold in made] == ["north", "south", "west"]
    assert refused == {"east": "the other sources have no images of opacity"}


def test_a_single_source_cannot_be_left_out():
    with pytest.raises(InputError) as refused:
        folds.leave_out(_rows(sources=("north",)), validation=0.15, seed=0)
    assert str(refused.value) == (
        "leave_out needs at least two sources, the data has only north; index several folders "
        "into one manifest, or use --source-regex."
    )


def test_sources_of_one_class_each_cannot_be_left_out():
    rows = _rows()
    rows = rows.set_column(rows.column_names.index("source"), "source", rows["label"])
    with pytest.raises(InputError) as refused:
        folds.leave_out(rows, validation=0.15, seed=0)
    assert str(refused.value) == (
        "no source can be left out: without normal the other sources have no images of normal; "
        "add images of each class from at least two sources."
    )


def test_folder_names_are_valid_in_any_storage():
    made, _ = folds.leave_out(_rows(sources=("a/b c", "s3://x/ü")), validation=0.15, seed=0)
    assert all(fold.folder.isascii() and "/" not in fold.folder for fold in made)
    assert _cut(_rows(), repeats=2)[6].folder == "repeat-2-fold-2"


def test_the_interval_is_that_of_nadeau_and_bengio():
    values = [0.8, 0.9, 0.85, 0.95, 0.75]
    found = estimate(values, test_share=1 / 4)
    # var = (1/5 + 1/4) * 0.00625; t(4) = 2.776
    assert (found.num, found.mean) == (5, pytest.approx(0.85))
    assert found.sd == pytest.approx(0.0790569)
    assert found.low == pytest.approx(0.7027, abs=1e-4)
    assert found.high == pytest.approx(0.9973, abs=1e-4)


def test_without_shared_images_the_interval_is_student_s():
    values = [0.8, 0.9, 0.85, 0.95, 0.75]
    found = estimate(values, test_share=0.0)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_an_interval_does_not_exceed_the_range_of_its_metric():
    found = estimate([0.8, 1.0], test_share=1.0, bounds=(0.0, 1.0))
    assert (found.mean, found.low, found.high) == (pytest.approx(0.9), 0.0, 1.0)


def test_a_single_training_has_a_mean_but_no_interval():
    found = estimate([0.8], test_share=0.25)
    assert (found.num, found.mean) == (1, 0.8)
    assert (found.sd, found.low, found.high) == (None, None, None)


def test_equal_values_have_no_variance_and_so_no_interval():
    # the mean of three times 0.9 is not 0.9, so that a variance of rounding errors is no help
    found = estimate([0.9, 0.9, 0.9], test_share=0.5)
    assert (found.num, found.mean, found.sd) == (3, 0.9, 0)
    assert (found.low, found.high) == (None, None)
    assert found.undefined == "3 equal values: there is no variance for an interval"


def test_no_value_has_no_mean():
    found = estimate([], test_share=0.5, undefined="undefined in 2 of 2 folds")
    assert (found.num, found.mean, found.sd, found.low, found.high) == (0, None, None, None, None)
    assert found.undefined == "undefined in 2 of 2 folds"
