"""Listings of S3 prefixes by several threads, on a real server."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from cnnjobs.storage import filesystem, listing
from cnnjobs.storage import s3 as storage

#: Of a page.
SIZE = 2

#: Nine prefixes of up to ten keys each, and keys between them.
NAMES = sorted(
    name
    for prefix in range(9)
    for name in (f"{prefix}.png", *(f"{prefix}/{key}.png" for key in range((prefix * 7) % 11)))
)

s3_pages = storage.pages


@pytest.fixture
def folder(s3: str) -> str:
    for name in NAMES:
        filesystem.write_bytes(f"{s3}/listing/{name}", b"x")
    return f"{s3}/listing"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefix of each page that was asked for; a page is small, and slow at random."""
    prefixes: list[str] = []
    chance = random.Random(1)

    def slow(path: str) -> Iterator[dict[str, Any]]:
        for answer in s3_pages(path, size=SIZE):
            prefixes.append(path)
            time.sleep(chance.choice([0, 0, 0.02]))
            yield answer

    monkeypatch.setattr(storage, "pages", slow)
    # only the first level is opened
    monkeypatch.setattr(listing, "_ENOUGH_PREFIXES", 2)
    return prefixes


def tables(folder: str) -> Iterator[pa.Table]:
    return listing.s3_tables(folder.removeprefix("s3://"))


@pytest.mark.parametrize("ahead", [1, 3, 1000])
@pytest.mark.parametrize("threads", [2, 16])
def test_the_keys_are_listed_in_order_however_few_may_be_held(
    folder: str, asked: list[str], ahead: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_PAGES_AHEAD", ahead)
    monkeypatch.setattr(listing, "_THREADS", threads)

    listed = [path for table in tables(folder) for path in table["path"].to_pylist()]
    assert listed == [f"{folder}/{name}" for name in NAMES]
    assert len(set(asked)) == 8


def test_no_more_pages_are_held_than_allowed(
    folder: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, threads = 3, 2
    monkeypatch.setattr(listing, "_PAGES_AHEAD", ahead)
    monkeypatch.setattr(listing, "_THREADS", threads)
    num_taken = 0
    for table in tables(folder):
        # those between the prefixes are not listed by pages
        num_taken += table["path"][0].as_py().count("/") == folder.count("/") + 2
        time.sleep(0.05)
        # each thread has one more in its hand, and the prefix that is taken one more than allowed
        assert len(asked) <= num_taken + ahead + threads + 1
    assert len(asked) > ahead + threads + 10


def test_a_listing_that_nobody_takes_further_ends(folder: str, asked: list[str]) -> None:
    taken = tables(folder)
    next(taken)
    taken.close()  # type: ignore[attr-defined]
    number = len(asked)
    time.sleep(0.1)
    assert len(asked) == number


def test_an_error_comes_where_its_prefix_would(
    folder: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = storage.pages

    def broken(path: str) -> Iterator[dict[str, Any]]:
        for answer in pages(path):
            yield answer
            if path.endswith("/4/"):
                raise OSError("cut off")

    monkeypatch.setattr(storage, "pages", broken)
    taken: list[str] = []
    with pytest.raises(OSError, match="cut off"):
        taken.extend(path for table in tables(folder) for path in table["path"].to_pylist())
    before = [f"{folder}/{name}" for name in NAMES if name < "4/"]
    assert taken[: len(before)] == before
    assert len(taken) <= len(before) + SIZE
