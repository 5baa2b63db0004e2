"""What `--update` has to do: score new and changed images, and revise the rows of others."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.config.constants import TRANSIENT_ERRORS
from cnnjobs.data import external_sort, manifest, manifest_file
from cnnjobs.data.images import Images, in_split
from cnnjobs.errors import InputError
from cnnjobs.inference.parts import Books

#: What is compared of an image; the path comes first.
_COMPARED = ["path", "label", "size_bytes", "modified", "etag", "split"]


@dataclass(frozen=True, kw_only=True)
class Update:
    """How the data differ from what a run has scored, as paths.

    Attributes:
        num_new: how many are not in the run yet.
        changed: with another size, modification time or ETag.
        again: failed for a reason that may be gone.
        relabelled: scored, and now with another label.
        gone: scored, and no longer in the data.
        back: marked as gone, and in the data.
        labels: of the relabelled, in their order.
        dropped: whose rows are removed.
        num_dropped: how many rows these have.
        marked: whose rows are marked as gone.
        kept: gone or not listed now, and their rows stay.
    """

    num_new: int
    changed: pa.Array
    again: pa.Array
    relabelled: pa.Array
    gone: pa.Array
    back: pa.Array
    labels: pa.Array
    dropped: pa.Array
    num_dropped: int
    marked: pa.Array
    kept: pa.Array

    @property
    def counts(self) -> dict[str, int]:
        """The number of paths of each kind that a summary reports."""
        kinds = ("changed", "again", "relabelled", "gone")
        return {"new": self.num_new, **{kind: len(getattr(self, kind)) for kind in kinds}}

    @property
    def revised(self) -> pa.Array:
        """All whose rows change or go."""
        return pa.concat_arrays([self.relabelled, self.back, self.dropped, self.marked])

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score or to revise."""
        return not (self.num_new or len(self.revised))

    def revise(self, rows: pa.Table) -> pa.Table:
        """What becomes of rows of the run."""
        rows = rows.filter(pc.invert(pc.is_in(rows["path"], value_set=self.dropped)))
        position = pc.index_in(rows["path"], value_set=self.relabelled)
        label = pc.if_else(pc.is_valid(position), self.labels.take(position), rows["label"])
        stays = pc.invert(pc.is_in(rows["path"], value_set=self.back))
        gone_at = pc.if_else(stays, rows["gone_at"], None)
        is_marked = pc.is_in(rows["path"], value_set=self.marked)
        gone_at = pc.if_else(is_marked, pa.scalar(datetime.now(UTC), gone_at.type), gone_at)
        for name, column in (("label", label), ("gone_at", gone_at)):
            index = rows.column_names.index(name)
            rows = rows.set_column(index, rows.schema.field(name), column)
        return rows


def merge(
    before: Images,
    now: Images,
    done: Books,
    *,
    data: str,
    split: str,
    classes: Sequence[str],
    gone: str,
) -> tuple[Update, Images]:
    """Compare a run with the data; returns what to do, and the run's new manifest.

    The manifest is that of the data, followed by the images that are gone but keep their row. An
    image that has left the split is gone. One range of paths is compared after another, so what is
    held are the differences.

    Args:
        before: the manifest of the run.
        now: the manifest of the data.
        done: what the run has written.
        data: the name of the data.
        split: the images to score.
        classes: of the model; the label of a row is one of them.
        gone: what becomes of the rows of gone images: `keep`, `mark` or `drop`.

    Raises:
        InputError: nearly all images of the run are gone, and nearly all of the data are new.
    """
    unlisted = now.settings.get("unlisted", ())
    no_images = pa.schema([schema.MANIFEST.field(name) for name in _COMPARED]).empty_table()
    empty = (no_images, no_images, Books().rows())
    streams = (before.ordered(_COMPARED), now.ordered(_COMPARED), done.ordered())
    updates = []
    num_gone = num_new = 0
    for tables in external_sort.aligned(*streams):
        old, new, rows = (
            none if table is None else table for table, none in zip(tables, empty, strict=True)
        )
        num_gone += len(_not_in(old["path"], new["path"]))
        num_new += len(_not_in(new["path"], old["path"]))
        old, new = in_split(old, split), in_split(new, split)
        changes = manifest.changes(old, new, unlisted=unlisted)
        updates.append(_update(changes, new, rows, classes, gone))
    if manifest.are_another_archive(num_gone, before.count("all"), num_new, now.count("all")):
        raise InputError(
            f"{num_gone:,} of the run's {before.count('all'):,} images are no longer in {data}, "
            f"and {num_new:,} of its {now.count('all'):,} are new; an update needs the same "
            "archive under the same name. Score another archive into another directory."
        )
    update = _sum(updates)
    return update, _manifest(before, now, update.kept, data) if len(update.kept) else now


def _update(
    changes: manifest.Changes, now: pa.Table, rows: pa.Table, classes: Sequence[str], gone: str
) -> Update:
    """What to do with a range of paths.

    Args:
        changes: from the run's images to those now, all in the split.
        now: these.
        rows: what the run has written.
        classes: see `merge`.
        gone: see `merge`.
    """
    is_gone = _in(changes.gone, rows["path"])
    is_marked = rows["path"].filter(pc.is_valid(rows["gone_at"])).combine_chunks()
    again = _not_in(_in(_transient_failures(rows), now["path"]), changes.changed)
    dropped = pa.concat_arrays([changes.changed, again, is_gone if gone == "drop" else is_gone[:0]])
    relabelled = _relabelled(rows, now, classes)
    relabelled = relabelled.filter(pc.invert(pc.is_in(relabelled["path"], value_set=dropped)))
    # without an image, and not gone: in a folder that could not be listed now
    away = _not_in(_not_in(rows["path"].combine_chunks(), now["path"]), is_gone)
    return Update(
        num_new=len(changes.new),
        changed=changes.changed,
        again=again,
        relabelled=relabelled["path"].combine_chunks(),
        gone=is_gone,
        back=_in(is_marked, now["path"]),
        labels=relabelled["label"].combine_chunks(),
        dropped=dropped,
        num_dropped=pc.sum(pc.is_in(rows["path"], value_set=dropped)).as_py() or 0,
        marked=_not_in(is_gone, is_marked) if gone == "mark" else is_gone[:0],
        kept=pa.concat_arrays([_not_in(is_gone, dropped), away]),
    )


def _sum(updates: Sequence[Update]) -> Update:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Update):
        parts = [getattr(update, field.name) for update in updates]
        values[field.name] = sum(parts) if field.type is int else pa.concat_arrays(parts)
    return Update(**values)


def _manifest(before: Images, now: Images, kept: pa.Array, data: str) -> Images:
    """The images of the data and, after them, those of the run that are kept."""
    kind = now.columns
    shared = [field.name for field in before.columns if field in [*kind]]

    def tables() -> Iterator[pa.Table]:
        for rows in now.rows("all", kind.names):
            yield rows.filter(pc.invert(pc.is_in(rows["path"], value_set=kept)))
        for rows in before.rows("all", shared):
            rest = rows.filter(pc.is_in(rows["path"], value_set=kept))
            joined = pa.concat_tables([kind.empty_table(), rest], promote_options="default")
            yield joined.cast(kind)

    return manifest_file.written(data, tables(), kind, lambda: now.settings)


def _relabelled(rows: pa.Table, now: pa.Table, classes: Sequence[str]) -> pa.Table:
    """Path and new label of the rows whose label is not that of the data."""
    position = pc.index_in(rows["path"], value_set=now["path"])
    label = now["label"].take(position)
    is_class = pc.is_in(label, value_set=pa.array(classes, pa.string()))
    label = pc.if_else(is_class, label, pa.scalar(None, pa.string()))
    same = pc.equal(pc.fill_null(label, ""), pc.fill_null(rows["label"], ""))
    differs = pc.and_(pc.is_valid(position), pc.invert(same))
    return pa.table({"path": rows["path"], "label": label}).filter(differs)


def _transient_failures(rows: pa.Table) -> pa.Array:
    """Paths of the rows whose error may be gone."""
    failed = rows.filter(pc.is_valid(rows["error"]))
    category = pc.replace_substring_regex(failed["error"], ":.*", "")
    is_transient = pc.is_in(category, value_set=pa.array(TRANSIENT_ERRORS))
    return failed.filter(is_transient)["path"].combine_chunks()


def _in(paths: pa.Array, others: pa.Array) -> pa.Array:
    return paths.filter(pc.is_in(paths, value_set=others))


def _not_in(paths: pa.Array, others: pa.Array) -> pa.Array:
    return paths.filter(pc.invert(pc.is_in(paths, value_set=others)))
