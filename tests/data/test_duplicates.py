import numpy as np
import pytest

from cnnjobs.data import duplicates


def _hash(seed):
    return np.random.default_rng(seed).bytes(32).hex()


def _flipped(value, number):
    """Return the hash with its first `number` bits, spread over the words, turned over."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(value), np.uint8))
    bits[np.arange(number) * 89 % 256] ^= 1
    return np.packbits(bits).tobytes().hex()


def test_equal_hashes_are_paired_with_the_first_of_their_kind():
    hashes = ["b", "a", "b", "c", "a", "b"]
    assert duplicates.equal_pairs(hashes) == [(0, 2), (1, 4), (0, 5)]


def test_different_hashes_and_none_are_no_pairs():
    assert duplicates.equal_pairs(["a", "b", None, None]) == []
    assert duplicates.equal_pairs([]) == []


def test_hashes_as_far_apart_as_allowed_are_near():
    value = _hash(0)
    assert duplicates.near_pairs([value, _flipped(value, 30)]) == [(0, 1)]
    assert duplicates.near_pairs([value, _flipped(value, 31)]) == []
    assert duplicates.near_pairs([value, _flipped(value, 5)], max_distance=4) == []
    assert duplicates.near_pairs([value, _flipped(value, 5)], max_distance=5) == [(0, 1)]


def test_the_complement_of_a_hash_is_near_and_what_is_between_is_not():
    value = _hash(0)
    for number, wanted in ((0, True), (30, True), (31, False), (128, False), (225, False)):
        assert (duplicates.near_pairs([value, _flipped(value, number)]) == [(0, 1)]) == wanted
    for number in (226, 255, 256):
        assert duplicates.near_pairs([value, _flipped(value, number)]) == [(0, 1)]


@pytest.mark.parametrize("number", [0, 30, 250])
def test_a_hash_near_one_of_the_crops_is_near(number):
    cropped = [_hash(seed) for seed in range(4)]
    for crop in range(4):
        copy = "".join([_flipped(cropped[crop], number), *(_hash(seed) for seed in (7, 8, 9))])
        assert duplicates.near_pairs(["".join(cropped), copy]) == [(0, 1)]
        assert duplicates.near_pairs([copy, "".join(cropped)]) == [(0, 1)]


def test_crops_near_each_other_are_not_enough():
    one, other = ([_hash(seed), _hash(2), _hash(3), _hash(4)] for seed in (0, 1))
    assert duplicates.near_pairs(["".join(one), "".join(other)]) == []


def test_beyond_a_number_of_comparisons_only_whole_images_are_compared():
    hashes = ["".join(_hash(4 * image + part) for part in range(4)) for image in range(9)]
    hashes.append(_hash(2) + "".join(_hash(seed) for seed in (91, 92, 93)))
    hashes.append(hashes[3])
    assert duplicates.near_pairs(hashes, max_with_crops=11**2) == [(0, 9), (3, 10)]
    assert duplicates.near_pairs(hashes, max_with_crops=11**2 - 1) == [(3, 10)]
    assert duplicates.near_pairs(hashes, first=1, max_with_crops=11) == [(0, 9)]


def test_hashes_of_older_manifests_have_no_crops():
    new = "".join(_hash(seed) for seed in range(4))
    assert duplicates.near_pairs([_hash(0), new, _hash(2), _hash(5)]) == [(0, 1), (1, 2)]


def test_equal_hashes_are_near():
    assert duplicates.near_pairs([_hash(0), _hash(1), _hash(0)]) == [(0, 2)]


def test_every_near_pair_is_found_once_and_in_order():
    value = _hash(0)
    hashes = [_flipped(value, 10), _hash(1), value, _flipped(value, 20)]
    assert duplicates.near_pairs(hashes) == [(0, 2), (0, 3), (2, 3)]


def test_positions_count_the_rows_without_a_hash():
    hashes = [None, _hash(0), None, _hash(1), _hash(0), None]
    assert duplicates.near_pairs(hashes) == [(1, 4)]
    assert duplicates.near_pairs([None, None]) == []
    assert duplicates.near_pairs([]) == []


@pytest.mark.parametrize("rows", [7, 10_000])
def test_pairs_are_found_across_blocks_of_rows(rows, monkeypatch):
    monkeypatch.setattr(duplicates, "PIECE_ROWS", rows)
    hashes = [_hash(seed) for seed in range(700)]
    for one, other in ((3, 650), (255, 256), (300, 301)):
        hashes[other] = _flipped(hashes[one], 12)
    assert duplicates.near_pairs(hashes) == [(3, 650), (255, 256), (300, 301)]


def test_pairs_are_those_of_a_comparison_bit_by_bit():
    rng = np.random.default_rng(0)
    hashes = [_hash(seed) for seed in range(40)]
    hashes += [_flipped(hashes[one], number) for one, number in rng.integers(0, 40, (60, 2))]
    bits = [np.unpackbits(np.frombuffer(bytes.fromhex(value), np.uint8)) for value in hashes]
    wanted = [
        (one, other)
        for one in range(100)
        for other in range(one + 1, 100)
        if not 30 < np.count_nonzero(bits[one] != bits[other]) < 226
    ]
    assert duplicates.near_pairs(hashes) == wanted


def test_random_hashes_are_not_near():
    assert duplicates.near_pairs([_hash(seed) for seed in range(400)], max_distance=70) == []


def test_joined_groups_take_the_smallest_name():
    assert duplicates.join_groups(["c", "a", "b"], [(0, 2)]) == ["b", "a", "b"]


def test_groups_joined_through_others_are_one():
    groups = ["e", "d", "c", "b", "a"]
    assert duplicates.join_groups(groups, [(0, 1), (3, 4), (1, 3)]) == ["a", "a", "c", "a", "a"]


def test_the_order_of_the_pairs_does_not_matter():
    rng = np.random.default_rng(0)
    groups = [f"g{number:02d}" for number in rng.permutation(30)]
    pairs = [tuple(pair) for pair in rng.integers(0, 30, (20, 2)).tolist()]
    joined = duplicates.join_groups(groups, pairs)
    for _ in range(10):
        rng.shuffle(pairs)
        turned = [pair[::-1] for pair in pairs]
        assert duplicates.join_groups(groups, turned) == joined


def test_rows_of_one_group_are_joined_with_whom_any_of_them_is():
    groups = ["patient-2", "patient-2", "patient-1"]
    assert duplicates.join_groups(groups, [(1, 2)]) == ["patient-1"] * 3


def test_without_pairs_groups_stay():
    assert duplicates.join_groups(["b", "a", "b"], []) == ["b", "a", "b"]


def test_a_long_chain_is_joined():
    groups = [f"{number:05d}" for number in range(5000)]
    pairs = [(number, number + 1) for number in reversed(range(4999))]
    assert set(duplicates.join_groups(groups, pairs)) == {"00000"}
