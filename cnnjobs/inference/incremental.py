"""What `--update` has to do: score new and changed images, and revise the rows of others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import TRANSIENT_ERRORS
from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Update:
    """How the data differ from what a run has scored, as paths.

    Attributes:
        new: not in the run yet.
        changed: with another size, modification time or ETag.
        again: failed for a reason that may be gone.
        relabelled: scored, and now with another label.
        gone: scored, and no longer in the data.
        back: marked as gone, and in the data.
        labels: of the relabelled, in their order.
        dropped: whose rows are removed.
        marked: whose rows are marked as gone.
    """

    new: pa.Array
    changed: pa.Array
    again: pa.Array
    relabelled: pa.Array
    gone: pa.Array
    back: pa.Array
    labels: pa.Array
    dropped: pa.Array
    marked: pa.Array

    @property
    def counts(self) -> dict[str, int]:
        """The number of paths of each kind that a summary tells."""
        kinds = ("new", "changed", "again", "relabelled", "gone")
        return {kind: len(getattr(self, kind)) for kind in kinds}

    @property
    def revised(self) -> pa.Array:
        """All whose rows change or go."""
        return pa.concat_arrays([self.relabelled, self.back, self.dropped, self.marked])

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score or to revise."""
        return not (len(self.new) or len(self.revised))

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
    before: Manifest,
    now: Manifest,
    rows: pa.Table,
    *,
    split: str,
    classes: Sequence[str],
    gone: str,
) -> tuple[Update, Manifest]:
    """Compare a run with the data; returns what to do, and the run's new manifest.

    The manifest is that of the data, followed by the images that are gone but keep their row. An
    image that has left the split is gone.

    Args:
        before: the manifest of the run.
        now: the manifest of the data.
        rows: what the run has written, columns path, label, error and gone_at.
        split: the images to score.
        classes: of the model; the label of a row is one of them.
        gone: what becomes of the rows of gone images: `keep`, `mark` or `drop`.
    """
    chosen = now.select(split)
    old = before.table
    if split != "all":
        old = old.filter(pc.equal(old["split"], split))
    changes = manifest.changes(old, chosen, unlisted=now.settings.get("unlisted", ()))
    is_gone = _in(changes.gone, rows["path"])
    is_marked = rows["path"].filter(pc.is_valid(rows["gone_at"])).combine_chunks()
    again = _not_in(_in(_transient_failures(rows), chosen["path"]), changes.changed)
    nothing = is_gone.slice(0, 0)
    dropped = pa.concat_arrays([changes.changed, again, is_gone if gone == "drop" else nothing])
    relabelled = _relabelled(rows, chosen, classes)
    relabelled = relabelled.filter(pc.invert(pc.is_in(relabelled["path"], value_set=dropped)))
    update = Update(
        new=changes.new,
        changed=changes.changed,
        again=again,
        relabelled=relabelled["path"].combine_chunks(),
        gone=is_gone,
        back=_in(is_marked, chosen["path"]),
        labels=relabelled["label"].combine_chunks(),
        dropped=dropped,
        marked=_not_in(is_gone, is_marked) if gone == "mark" else nothing,
    )
    # without an image, and not gone: in a folder that could not be listed now
    away = _not_in(_not_in(rows["path"].combine_chunks(), chosen["path"]), is_gone)
    kept = pa.concat_arrays([_not_in(is_gone, dropped), away])
    tables = [
        now.table.filter(pc.invert(pc.is_in(now.table["path"], value_set=kept))),
        before.table.filter(pc.is_in(before.table["path"], value_set=kept)),
    ]
    return update, Manifest(_joined(*tables), now.settings)


def _joined(now: pa.Table, before: pa.Table) -> pa.Table:
    """Rows of two manifests, with the columns of the first."""
    shared = [name for name in before.column_names if before.schema.field(name) in [*now.schema]]
    return pa.concat_tables([now, before.select(shared)], promote_options="default")


def _relabelled(rows: pa.Table, now: pa.Table, classes: Sequence[str]) -> pa.Table:
    """Path and new label of the rows whose label is not that of the data."""
    position = pc.index_in(rows["path"], value_set=now["path"])
    label = now["label"].take(position)
    is_class = pc.is_in(label, value_set=pa.array(classes, pa.string()))
    label = pc.if_else(is_class, label, pa.scalar(None, pa.string()))
    same = pc.equal(pc.fill_null(label, ""), pc.fill_null(rows["label"], ""))
    differs = pc.and_(pc.is_valid(position), pc.invert(same))
    return pa.table({"path": rows["path"], "label": label}).filter(differs)


def check_same_archive(before: Manifest, now: Manifest, data: str) -> None:
    """Raise InputError if nearly all images of a run are gone, and nearly all of the data new."""
    changes = manifest.changes(before.table, now.table)
    if changes.are_another_archive(before.table, now.table):
        raise InputError(
            f"{len(changes.gone):,} of the run's {before.table.num_rows:,} images are no longer in "
            f"{data}, and {len(changes.new):,} of its {now.table.num_rows:,} are new; an update "
            "needs the same archive under the same name. Score another archive into another "
            "directory."
        )


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
