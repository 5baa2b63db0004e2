"""Rows are looked up in the parts of a run without holding all of them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.inference import parts
from cnnjobs.inference.parts import Books, Part

PATHS = [f"{number:04d}.png" for number in range(200)]


def booked(folder: Path, *contents: list[str]) -> Books:
    """Books of parts with these paths."""
    (folder / "predictions").mkdir()
    books = {}
    for number, paths in enumerate(contents):
        name = f"part-{number:06d}.parquet"
        nothing = pa.nulls(len(paths), pa.string())
        table = pa.table({"path": paths, "label": nothing, "error": nothing})
        table = table.append_column("gone_at", pa.nulls(len(paths), pa.timestamp("us", "UTC")))
        pq.write_table(table, folder / "predictions" / name)
        books[name] = Part(
            entry={"rows": len(paths), "sha256": ""}, first=min(paths), last=max(paths), failed={}
        )
    return Books(run_uri=str(folder), parts=books)


@pytest.mark.parametrize(
    ("contents", "at_once"),
    [
        ([PATHS[:15], PATHS[15:30], PATHS[30:45]], 20),
        ([PATHS[15:30], PATHS[:15], PATHS[30:45]], 20),
        ([PATHS[:30], PATHS[30:45]], 30),
        ([PATHS[:30:2], PATHS[1:30:2], PATHS[30:45]], 60),
        ([PATHS[:15], PATHS[14:30]], 60),
        ([], 20),
    ],
    ids=["in order", "in other order", "larger", "interleaved", "with one row in two", "none"],
)
def test_images_meet_their_rows_a_few_at_a_time(
    contents: list[list[str]], at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FEW_IMAGES", 20)
    monkeypatch.setattr(parts, "MANY_IMAGES", 60)
    books = booked(tmp_path, *contents)
    images = [pa.table({"path": PATHS[start : start + 33]}) for start in range(0, 200, 33)]
    found = []
    sizes = []
    for some, rows in books.matched(images):
        assert set(rows["path"].to_pylist()) <= set(some["path"].to_pylist())
        found += rows["path"].to_pylist()
        sizes.append(some.num_rows)
    assert sorted(found) == sorted(path for paths in contents for path in paths)
    assert sizes == [at_once] * (200 // at_once) + [200 % at_once] * (200 % at_once > 0)
