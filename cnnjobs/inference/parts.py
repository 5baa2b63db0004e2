"""The books of a prediction table: each part with its rows and hash, checked against the folder."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.data import external_sort
from cnnjobs.data.images import in_pieces
from cnnjobs.errors import RunDamagedError
from cnnjobs.inference import predictions
from cnnjobs.inference.predictions import Entry, Writer
from cnnjobs.inference.run_stats import reasons
from cnnjobs.storage import filesystem, run_files
from cnnjobs.storage.run_dir import Run

_COLUMNS = ("path", "label", "error", "gone_at")

#: Images that are looked up at once, if few parts can have their rows and if all can.
FEW_IMAGES, MANY_IMAGES = 65_536, 1_000_000

#: Rows of parts that are searched at once.
_ROWS_AT_ONCE = 500_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is remembered of a part that is as it should be.

    Attributes:
        entry: in the run's record.
        first: its smallest path.
        last: its largest path.
        failed: how many of its rows failed, by the category of their error.
    """

    entry: Entry
    first: str
    last: str
    failed: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Books:
    """The parts of a run that are in its folder, as they should be; their rows stay in the files.

    Attributes:
        run_uri: the run.
        parts: by their names.
        missing: names of parts that are recorded, but gone.
    """

    run_uri: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def entries(self) -> dict[str, Entry]:
        """By the name of the part."""
        return {name: part.entry for name, part in self.parts.items()}

    @property
    def num_rows(self) -> int:
        """Of all parts."""
        return sum(part.entry["rows"] for part in self.parts.values())

    @property
    def failed(self) -> Counter[str]:
        """How many rows failed, by the category of their error."""
        return sum((Counter(part.failed) for part in self.parts.values()), Counter())

    def rows(self, names: Iterable[str] | None = None) -> pa.Table:
        """The columns path, label, error, gone_at and part of some parts, or of all."""
        return _rows(self._tables(self.parts if names is None else names))

    def ordered(self) -> Iterator[pa.Table]:
        """The columns path, label, error, gone_at and part of all rows, in the order of paths."""
        return external_sort.by_path(self._tables(self.parts))

    def rows_of(self, paths: pa.Array | pa.ChunkedArray) -> pa.Table:
        """The rows with one of these paths; only parts that may have one are read."""
        limits = pc.min_max(paths)
        first, last = limits["min"].as_py(), limits["max"].as_py()
        near = [
            name
            for name, part in self.parts.items()
            if first is not None and part.first <= last and first <= part.last
        ]
        # many parts at once, because the paths are made a set each time; not all, because those of
        # a manifest in no order may have any path
        tables = in_pieces(self._tables(near), _ROWS_AT_ONCE)
        return _rows(table.filter(pc.is_in(table["path"], value_set=paths)) for table in tables)

    def matched(self, images: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
        """The images, some at a time, each time with the rows that have their paths.

        Args:
            images: with a column `path`, in tables of any size.
        """
        ranges = sorted((part.first, part.last) for part in self.parts.values())
        follow = all(one[1] < other[0] for one, other in itertools.pairwise(ranges))
        largest = max((part.entry["rows"] for part in self.parts.values()), default=0)
        # each time all parts that may have rows are read: if their paths overlap, that can be all
        for some in in_pieces(images, max(FEW_IMAGES, largest) if follow else MANY_IMAGES):
            yield some, self.rows_of(some["path"])

    def parts_with(self, paths: pa.Array) -> list[str]:
        """The parts that contain rows of these paths."""
        return sorted(pc.unique(self.rows_of(paths)["part"]).to_pylist())

    def _tables(self, names: Iterable[str]) -> Iterator[pa.Table]:
        for name in names:
            table = _columns(filesystem.read_file(_uri(self.run_uri, name)), _COLUMNS)
            part = pa.repeat(pa.scalar(name), table.num_rows)
            yield _rows([table.append_column("part", part)])


def rewrite(
    run: Run, names: Sequence[str], change: Callable[[pa.Table], pa.Table], writer: Writer
) -> None:
    """Replace parts by what `change` makes of their rows; a part left without rows is deleted.

    The entries of these parts are withdrawn first, so that a run stopped in between is not taken
    for damaged.
    """
    for name in names:
        writer.entries.pop(name)
    run.learn(parts=writer.entries)
    with writer:
        for name in names:
            writer.rewrite(name, change(predictions.read_whole(run.uri, [name])))
    run.learn(parts=writer.entries)


def check(run_uri: str, record: Mapping[str, Any]) -> Books:
    """Compare the folder of predictions with a run's record.

    A part without an entry was written shortly before its process was killed: it counts if it is
    whole and has the run's `run_id`.

    Raises:
        RunDamagedError: a file is not what the run wrote; it is named.
    """
    books, problems = compare(run_uri, record)
    if problems:
        raise RunDamagedError(f"{problems[0]}; restore it or move it away, or use --overwrite.")
    return books


def compare(run_uri: str, record: Mapping[str, Any]) -> tuple[Books, list[str]]:
    """The parts in the folder that are as they should be, and what is wrong with other files."""
    # older runs recorded no more than the names
    recorded = record.get("parts") or {name: {} for name in record.get("files") or ()}
    parts, problems = {}, []
    found = _names(run_uri)
    for name in found:
        try:
            parts[name] = _read(run_uri, name, record["run_id"], recorded.get(name, {}))
        except RunDamagedError as error:
            problems.append(str(error))
    missing = tuple(name for name in recorded if name not in found)
    return Books(run_uri=run_uri, parts=parts, missing=missing), problems


def _names(run_uri: str) -> list[str]:
    """Everything in the folder of predictions but partial files that a killed process left."""
    names = run_files.names(filesystem.join(run_uri, predictions.FOLDER))
    return sorted(name for name in names if not run_files.is_left_over(name))


def _read(run_uri: str, name: str, run_id: str, entry: Entry) -> Part:
    """What to remember of a part.

    Raises:
        RunDamagedError: it is not what the run wrote.
    """
    uri = _uri(run_uri, name)
    if not predictions.is_part(name):
        raise RunDamagedError(f"{uri} is not a file of its run")
    data = filesystem.read_file(uri)
    digest = hashlib.sha256(data).hexdigest()
    if entry and entry["sha256"] != digest:
        raise RunDamagedError(f"{uri} is not the file that its run wrote ({entry['rows']} rows)")
    try:
        table = _columns(data, [*_COLUMNS, "run_id"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunDamagedError(f"{uri} is damaged or not a table of predictions") from error
    if pc.any(pc.not_equal(table["run_id"], run_id)).as_py():
        raise RunDamagedError(f"{uri} is from another run ({table['run_id'][0]})")
    limits = pc.min_max(table["path"])
    return Part(
        entry={"rows": table.num_rows, "sha256": digest},
        first=limits["min"].as_py() or "",
        last=limits["max"].as_py() or "",
        failed=reasons(table),
    )


def _uri(run_uri: str, name: str) -> str:
    return filesystem.join(run_uri, predictions.FOLDER, name)


def _columns(data: bytes, names: Sequence[str]) -> pa.Table:
    """Some columns of a part; older versions did not write all."""
    return pq.ParquetFile(pa.BufferReader(data)).read(list(names))


def _rows(tables: Iterable[pa.Table]) -> pa.Table:
    predicted = schema.predictions(2)
    columns = [predicted.field(name) for name in _COLUMNS]
    empty = pa.schema([*columns, pa.field("part", pa.string())]).empty_table()
    return pa.concat_tables([empty, *tables], promote_options="permissive")
