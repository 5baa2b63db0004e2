"""What an update finds, range by range, against the same rules written for single images."""

import random
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs import schema
from cnnjobs.data import external_sort, manifest, manifest_file
from cnnjobs.data.images import Images
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.inference import incremental
from cnnjobs.inference.incremental import Update
from cnnjobs.inference.parts import Books, Part

CLASSES = ["covid", "normal"]
HIDDEN = "/archive/7"
NUM = 600
DAY = datetime(2026, 11, 28, tzinfo=UTC)

Rows = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_file, "_ROWS", 17)
    monkeypatch.setattr(external_sort, "RUN_ROWS", 50)
    monkeypatch.setattr(external_sort, "_HEAD_ROWS", 5)


def drawn(seed: int) -> tuple[Rows, Rows, Rows]:
    """Images of a run, images now, and rows of the run, all of them in no order."""
    chance = random.Random(seed)
    paths = [f"/archive/{n % 9}/{n}.png" for n in range(NUM)]
    chance.shuffle(paths)
    old, now, rows = {}, {}, {}
    for path in paths:
        image = {
            "label": chance.choice([*CLASSES, "other", None]),
            "size_bytes": 1,
            "etag": None,
            "split": chance.choice(["train", "test", None]),
        }
        if chance.random() < 0.9:
            old[path] = image
            if chance.random() < 0.9:
                rows[path] = {
                    "label": image["label"] if image["label"] in CLASSES else None,
                    "error": chance.choice([None, None, "unreadable: gone", "decode_error: cut"]),
                    "gone_at": chance.choice([None, None, None, DAY]),
                }
        if path not in old or (chance.random() < 0.9 and not path.startswith(f"{HIDDEN}/")):
            change = chance.choice(
                [{}, {}, {"label": "covid"}, {"size_bytes": 2}, {"split": "test"}]
            )
            now[path] = {**image, **change}
    return old, now, rows


def written(images: Rows, file: Path, **settings: Any) -> Images:
    """As a manifest in a file."""
    columns = defaultdict[str, list[Any]](list)
    for path, image in images.items():
        for name, value in {"path": path, "source": "archive", **image}.items():
            columns[name].append(value)
    table = pa.table(
        {
            field.name: pa.array(columns.get(field.name, [None] * len(images)), field.type)
            for field in schema.MANIFEST
        },
        schema=schema.MANIFEST,
    )
    settings = {"sources": ["/archive"], "ignored": {}, **settings}
    pq.write_table(table.replace_schema_metadata(manifest.metadata_of(settings)), file, 100)
    found = manifest_file.find(str(file))
    assert found is not None
    return found


def booked(rows: Rows, folder: Path) -> Books:
    """As parts of a run."""
    kind = schema.predictions(2)
    table = pa.table(
        {
            "path": [*rows],
            **{
                name: pa.array([row[name] for row in rows.values()], kind.field(name).type)
                for name in ("label", "error", "gone_at")
            },
        }
    )
    (folder / "predictions").mkdir()
    books = {}
    for number, start in enumerate(range(0, table.num_rows, 70)):
        part = table.slice(start, 70)
        pq.write_table(part, folder / "predictions" / f"part-{number:06d}.parquet")
        books[f"part-{number:06d}.parquet"] = Part(
            entry={"rows": part.num_rows, "sha256": ""}, first="", last="~", failed={}
        )
    return Books(run_uri=str(folder), parts=books)


def expected(old: Rows, now: Rows, rows: Rows, split: str, gone: str) -> dict[str, set[str]]:
    def chosen(images: Rows) -> Rows:
        return {path: i for path, i in images.items() if split in ("all", i["split"])}

    old, now = chosen(old), chosen(now)
    found = defaultdict[str, set[str]](set)
    for path in {*old, *now, *rows}:
        kinds = set()
        if path in now and path not in old:
            kinds.add("new")
        if path in now and path in old and now[path]["size_bytes"] != old[path]["size_bytes"]:
            kinds.add("changed")
        if (row := rows.get(path)) is not None:
            is_gone = path in old and path not in now and not path.startswith(f"{HIDDEN}/")
            is_away = path not in now and not is_gone
            if is_gone:
                kinds.add("gone")
            if path in now and (row["error"] or "").startswith("unreadable") and not kinds:
                kinds.add("again")
            if path in now and row["gone_at"] is not None:
                kinds.add("back")
            if kinds & {"changed", "again"} or (is_gone and gone == "drop"):
                kinds.add("dropped")
            if is_gone and gone == "mark" and row["gone_at"] is None:
                kinds.add("marked")
            label = now.get(path, {}).get("label")
            label = label if label in CLASSES else None
            if path in now and "dropped" not in kinds and label != row["label"]:
                kinds.add("relabelled")
            if (is_gone and gone != "drop") or is_away:
                kinds.add("kept")
        elif "changed" in kinds:
            kinds.add("dropped")
        for kind in kinds:
            found[kind].add(path)
    return found


@pytest.mark.parametrize("gone", ["keep", "mark", "drop"])
@pytest.mark.parametrize("split", ["all", "test"])
@pytest.mark.parametrize("seed", range(3))
def test_every_image_is_what_it_is_on_its_own(
    seed: int, split: str, gone: str, tmp_path: Path
) -> None:
    old, now, rows = drawn(seed)
    rows = {path: row for path, row in rows.items() if split in ("all", old[path]["split"])}
    wanted = expected(old, now, rows, split, gone)
    update, images = incremental.merge(
        written(old, tmp_path / "old.parquet"),
        written(now, tmp_path / "now.parquet", unlisted=[HIDDEN]),
        booked(rows, tmp_path),
        data="/archive",
        split=split,
        classes=CLASSES,
        gone=gone,
    )
    assert update.num_new == len(wanted["new"]) > 0
    for kind in ("changed", "again", "relabelled", "gone", "back", "dropped", "marked", "kept"):
        paths = getattr(update, kind).to_pylist()
        assert len(paths) == len(set(paths))
        assert set(paths) == wanted[kind], kind
        assert paths or kind in {"keep": ["marked"], "mark": [], "drop": ["marked"]}[gone]
    assert update.num_dropped == len(wanted["dropped"] & {*rows})
    assert update.labels.to_pylist() == [
        label if (label := now[path]["label"]) in CLASSES else None
        for path in update.relabelled.to_pylist()
    ]
    merged = [path for table in images.rows("all", ["path"]) for path in table["path"].to_pylist()]
    assert merged == [
        *(path for path in now if path not in wanted["kept"]),
        *(path for path in old if path in wanted["kept"]),
    ]
    assert images.settings["unlisted"] == [HIDDEN]


def test_another_archive_is_refused(tmp_path: Path) -> None:
    old, _, rows = drawn(0)
    now = {path.replace("archive", "elsewhere"): image for path, image in old.items()}
    images = [written(old, tmp_path / "old.parquet"), written(now, tmp_path / "now.parquet")]
    with pytest.raises(InputError, match=rf"^{len(old)} of the run's {len(old)} images are no"):
        incremental.merge(
            *images, booked(rows, tmp_path), data="d", split="all", classes=CLASSES, gone="keep"
        )


def test_memory_grows_with_the_differences_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_sort, "RUN_ROWS", 5000)
    monkeypatch.setattr(external_sort, "_HEAD_ROWS", 20)
    monkeypatch.setattr(manifest_file, "_ROWS", 100)
    number = 20_000
    name = "/archive/" + 200 * "x"
    image = {"label": None, "size_bytes": 1, "etag": None, "split": None}
    old: Rows = {f"{name}{n:05d}": image for n in range(number)}
    now = {path: image for n, path in enumerate(old) if n % 100} | {f"{name}new{0}": image}
    rows: Rows = {path: {"label": None, "error": None, "gone_at": None} for path in old}
    before = written(old, tmp_path / "old.parquet")
    after = written(now, tmp_path / "now.parquet")
    books = booked(rows, tmp_path)
    held, most = pa.total_allocated_bytes(), 0
    compare = incremental._update

    def looking(*values: Any) -> Update:
        nonlocal most
        most = max(most, pa.total_allocated_bytes() - held)
        return compare(*values)

    monkeypatch.setattr(incremental, "_update", looking)
    update, images = incremental.merge(
        before, after, books, data="d", split="all", classes=CLASSES, gone="keep"
    )
    assert (update.num_new, len(update.gone)) == (1, number // 100)
    assert images.count("all") == number + 1
    size = Manifest(manifest.read(f"{tmp_path}/old.parquet").table, {}).table.nbytes
    assert 0 < most < size / 2
