"""Listings of S3 prefixes, as tables of several thousand rows: compact and fast."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from cnnjobs.storage import s3, s3_names

LISTING = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
        pa.field("etag", pa.string()),
    ]
)

#: Prefixes listed at once. boto3 parses about ten thousand keys per second, which is one thread's
#: worth; only the waiting for S3 overlaps.
_THREADS = 16

#: Once there are this many prefixes, enough for all threads, no deeper ones are looked for.
_ENOUGH_PREFIXES = 32

#: Pages of up to a thousand keys that are held before they are taken: about 150 MB.
_PAGES_AHEAD = 1_000

#: A level with more names (patients, for example) is listed flat: one request per name would cost
#: more.
_WIDEST_LEVEL = 100


def s3_tables(path: str) -> Iterator[pa.Table]:
    """The objects under `bucket/prefix/`, sorted by key, with ETags.

    The prefix is expanded level by level until there are enough prefixes for all threads; these are
    listed flat and ahead of time, in order. How far ahead is limited: keys may be many millions.
    """
    bucket = s3_names.split(path)[0]
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = _opened(path, pool)
        pages = _PagesAhead(pool, [part for part in parts if isinstance(part, str)])
        direct: list[Any] = []
        try:
            for part in parts:
                if isinstance(part, dict):
                    direct.append(part)
                    continue
                if direct:
                    yield _s3_table(bucket, direct)
                    direct = []
                yield from pages.next_prefix()
            if direct:
                yield _s3_table(bucket, direct)
        finally:
            pages.stop()


class _PagesAhead:
    """The pages of several prefixes, which threads list while the first are taken.

    Threads start in the order of the prefixes, so that the one whose pages are taken always has a
    thread. This one may go on when there are `_PAGES_AHEAD` of others.
    """

    def __init__(self, pool: ThreadPoolExecutor, prefixes: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._num_ahead = 0
        self._is_stopped = False
        self._pages: deque[deque[pa.Table]] = deque()
        self._listings: deque[Future[None]] = deque()
        for prefix in prefixes:
            self._pages.append(deque())
            self._listings.append(pool.submit(self._list, prefix, self._pages[-1]))

    def next_prefix(self) -> Iterator[pa.Table]:
        """The tables of the next prefix; raises what its listing raised."""
        listing = self._listings[0]
        listing.add_done_callback(self._notify)
        while (page := self._next_page(listing)) is not None:
            yield page
        listing.result()
        self._listings.popleft()
        with self._changed:
            self._pages.popleft()
            self._changed.notify_all()

    def stop(self) -> None:
        """List nothing more."""
        for listing in self._listings:
            listing.cancel()
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _next_page(self, listing: Future[None]) -> pa.Table | None:
        pages = self._pages[0]
        with self._changed:
            self._changed.wait_for(lambda: pages or listing.done())
            if not pages:
                return None
            self._num_ahead -= 1
            self._changed.notify_all()
            return pages.popleft()

    def _notify(self, _: Future[None]) -> None:
        with self._changed:
            self._changed.notify_all()

    def _list(self, prefix: str, pages: deque[pa.Table]) -> None:
        bucket = s3_names.split(prefix)[0]
        for answer in s3.pages(prefix):
            table = _s3_table(bucket, answer["Contents"])
            with self._changed:
                self._changed.wait_for(lambda: self._may_add(pages))
                if self._is_stopped:
                    return
                if table.num_rows:
                    pages.append(table)
                    self._num_ahead += 1
                    self._changed.notify_all()

    def _may_add(self, pages: deque[pa.Table]) -> bool:
        is_awaited = not pages and pages is self._pages[0]
        return self._is_stopped or is_awaited or self._num_ahead < _PAGES_AHEAD


def _opened(path: str, pool: ThreadPoolExecutor) -> list[Any]:
    """Objects (as S3 returns them) and prefixes (as text) that cover everything, sorted."""
    bucket, prefix = s3_names.split(path)
    root = f"{prefix.rstrip('/')}/" if prefix else ""
    found: dict[str, Any] = {root: root}
    closed = [root]
    while closed and len(found) < _ENOUGH_PREFIXES:
        levels = list(pool.map(lambda name: _level(bucket, name), closed))
        opened = []
        for name, level in zip(closed, levels, strict=True):
            if level is not None:
                del found[name]
                found.update(level)
                opened += [key for key, part in level.items() if isinstance(part, str)]
        closed = opened
    return [
        part if isinstance(part, dict) else f"{bucket}/{part}" for _, part in sorted(found.items())
    ]


def _level(bucket: str, prefix: str) -> dict[str, Any] | None:
    """The direct children of a prefix, by key; None if there are too many."""
    answer = s3.page(f"{bucket}/{prefix}".rstrip("/"), delimiter="/", size=_WIDEST_LEVEL)
    if answer.get("IsTruncated"):
        return None
    below = [item["Prefix"] for item in answer.get("CommonPrefixes", [])]
    if not all(name.strip("/") and not name.endswith("//") for name in below):
        return None  # a key with an empty part, which only a flat listing can name
    return {item["Key"]: item for item in answer["Contents"]} | {name: name for name in below}


def _s3_table(bucket: str, items: list[Any]) -> pa.Table:
    return pa.table(
        [
            pa.array([f"s3://{bucket}/{item['Key']}" for item in items], pa.string()),
            pa.array([item["Size"] for item in items], pa.int64()),
            pa.array([item["LastModified"] for item in items], LISTING.field("modified").type),
            pa.array([item["ETag"].strip('"') for item in items], pa.string()),
        ],
        schema=LISTING,
    )
