from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs.data.splits import assign_splits
from cnnjobs.errors import InputError

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def _assign(rows, *, shares=SHARES, seed=0):
    """Return the split of each (label, group)."""
    labels, groups = zip(*rows, strict=True)
    return assign_splits(labels, groups, shares=shares, seed=seed)


def _singles(**numbers):
    """Return rows of so many groups of one image for each label."""
    return [
        (label, f"{label}-{index:04d}") for label, number in numbers.items() for index in
        range(number)
    ]  # fmt: skip


def _patients(num_patients, *, seed, labels=("normal", "opacity"), largest=8):
    """Return rows of patients with 1 to `largest` images, each patient of one label."""
    rng = np.random.default_rng(seed)
    return [
        (labels[patient % len(labels)], f"patient-{patient:03d}")
        for patient in range(num_patients)
        for _ in range(rng.integers(1, largest + 1))
    ]


def _counts(rows, splits):
    counts = defaultdict(Counter)
    for (label, _), split in zip(rows, splits, strict=True):
        counts[label][split] += 1
    return counts


def test_images_of_their_own_groups_get_their_shares_exactly():
    rows = _singles(normal=100, opacity=40)
    assert _counts(rows, _assign(rows)) == {
        "normal": {"train": 70, "validation": 15, "test": 15},
        "opacity": {"train": 28, "validation": 6, "test": 6},
    }


def test_the_order_of_the_rows_does_not_matter():
    rows = _patients(40, seed=0)
    wanted = dict(zip(rows, _assign(rows), strict=True))
    rng = np.random.default_rng(1)
    for _ in range(5):
        shuffled = [rows[position] for position in rng.permutation(len(rows))]
        assert dict(zip(shuffled, _assign(shuffled), strict=True)) == wanted


def test_the_same_seed_gives_the_same_splits():
    rows = _patients(40, seed=0)
    assert _assign(rows, seed=5) == _assign(rows, seed=5)


def test_columns_of_a_table_are_split_like_lists():
    labels, groups = zip(*_patients(40, seed=0), strict=True)
    columns = [pa.chunked_array([values[:9], values[9:]]) for values in (labels, groups)]
    wanted = assign_splits(labels, groups, shares=SHARES, seed=1)
    assert assign_splits(*columns, shares=SHARES, seed=1) == wanted


def test_another_seed_gives_other_splits():
    rows = _singles(normal=50, opacity=50)
    assert len({tuple(_assign(rows, seed=seed)) for seed in range(10)}) == 10


def test_splits_of_a_seed_stay_what_they_were():
    splits = _assign(_singles(normal=6, opacity=4), seed=0)
    assert " ".join(split[:2] for split in splits) == "te tr tr va tr tr tr tr va te"


@pytest.mark.parametrize("seed", range(10))
def test_groups_stay_whole(seed):
    rows = _patients(30, seed=seed)
    splits = defaultdict(set)
    for (_, group), split in zip(rows, _assign(rows, seed=seed), strict=True):
        splits[group].add(split)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("seed", range(10))
def test_every_split_has_every_class(seed):
    rows = _patients(9, seed=seed, labels=("a", "b", "c"))
    for counts in _counts(rows, _assign(rows, seed=seed)).values():
        assert set(counts) == set(SHARES)


@pytest.mark.parametrize("seed", range(10))
def test_shares_are_near_with_many_patients(seed):
    rows = _patients(120, seed=seed)
    for counts in _counts(rows, _assign(rows, seed=seed)).values():
        for split, share in SHARES.items():
            assert abs(counts[split] / counts.total() - share) < 0.03


def test_one_patient_with_most_of_the_images_trains():
    rows = [("normal", "big")] * 60 + _singles(normal=20)
    counts = Counter(zip(_assign(rows), (group for _, group in rows), strict=True))
    assert counts["train", "big"] == 60


def test_a_rare_class_is_in_every_split():
    rows = _singles(common=500, rare=3)
    for seed in range(5):
        counts = _counts(rows, _assign(rows, seed=seed))
        assert counts["rare"] == {"train": 1, "validation": 1, "test": 1}


def test_groups_of_two_classes_stay_whole_and_fill_both():
    rows = _singles(normal=30, opacity=30)
    rows += [(label, f"both-{index}") for index in range(6) for label in ("normal", "opacity")]
    for seed in range(10):
        splits = _assign(rows, seed=seed)
        assert splits[60::2] == splits[61::2]
        for counts in _counts(rows, splits).values():
            assert set(counts) == set(SHARES)


def test_groups_of_two_classes_leave_no_class_without_a_split_or_are_refused():
    rows = [("a", "ac"), ("c", "ac"), ("b", "bc"), ("c", "bc")]
    rows += [("a", "a2"), ("a", "a3"), ("b", "b2"), ("b", "b3"), ("c", "c3")]
    for seed in range(10):
        try:
            splits = _assign(rows, seed=seed)
        except InputError:
            continue
        for counts in _counts(rows, splits).values():
            assert set(counts) == set(SHARES)


@pytest.mark.parametrize("number", [1, 2])
def test_too_few_groups_of_a_class_are_an_error(number):
    rows = _singles(normal=20, opacity=number)
    with pytest.raises(InputError) as caught:
        _assign(rows)
    assert str(caught.value) == (
        f"class opacity has {number} images in {number} groups; 3 splits need at least 3 groups; "
        "add images, or index with --no-split."
    )


def test_many_images_of_few_patients_are_too_few_groups():
    rows = _singles(normal=20) + [("opacity", "patient-1")] * 50 + [("opacity", "patient-2")] * 50
    with pytest.raises(InputError) as caught:
        _assign(rows)
    assert str(caught.value) == (
        "class opacity has 100 images in 2 groups; 3 splits need at least 3 groups; "
        "add images, or index with --no-split."
    )


def test_a_share_of_zero_gets_nothing_and_needs_no_group():
    rows = _singles(normal=10, opacity=2)
    splits = _assign(rows, shares={"train": 0.8, "validation": 0.0, "test": 0.2})
    assert _counts(rows, splits) == {
        "normal": {"train": 8, "test": 2},
        "opacity": {"train": 1, "test": 1},
    }


def test_all_can_train():
    shares = {"train": 1.0, "validation": 0.0, "test": 0.0}
    assert set(_assign(_singles(normal=3, opacity=1), shares=shares)) == {"train"}


def test_one_class_alone_is_split():
    counts = _counts(rows := _singles(normal=20), _assign(rows))
    assert counts == {"normal": {"train": 14, "validation": 3, "test": 3}}
