"""Listings of S3 prefixes, as tables of several thousand rows: compact and fast."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
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

#: A level with more names (patients, for example) is listed flat: one request per name would cost
#: more.
_WIDEST_LEVEL = 100


def s3_tables(path: str) -> Iterator[pa.Table]:
    """The objects under `bucket/prefix/`, sorted by key, with ETags.

    The prefix is expanded level by level until there are enough prefixes for all threads; these are
    listed flat and ahead of time, in order.
    """
    bucket = s3_names.split(path)[0]
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = _opened(path, pool)
        direct: list[Any] = []
        for part in ahead(pool, _all_pages, parts):
            if isinstance(part, dict):
                direct.append(part)
                continue
            if direct:
                yield _s3_table(bucket, direct)
                direct = []
            yield from part
        if direct:
            yield _s3_table(bucket, direct)


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


def _all_pages(part: Any) -> Any:
    """The tables of a prefix; an object is passed through."""
    if isinstance(part, dict):
        return part
    bucket = s3_names.split(part)[0]
    answers = s3.pages(part)
    return [_s3_table(bucket, answer["Contents"]) for answer in answers if answer["Contents"]]


def ahead(
    pool: ThreadPoolExecutor, function: Callable[[Any], Any], parts: Iterable[Any]
) -> Iterator[Any]:
    """Results in order; at most twice as many as there are threads are waiting."""
    waiting: deque[Future[Any]] = deque()
    for part in parts:
        waiting.append(pool.submit(function, part))
        if len(waiting) >= 2 * _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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
