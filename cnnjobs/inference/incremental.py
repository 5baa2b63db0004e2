"""What `--update` has to score: images that are new, changed, or may be readable now."""

import dataclasses
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError

#: Share of a run's images that are gone, and of the data's that are new, from which on the data is
#: taken for another archive, or for the same one under another name.
_ANOTHER_ARCHIVE = 0.9

#: Errors that may be gone at the next attempt.
_TRANSIENT_ERRORS = ("missing", "permission", "unreadable")


@dataclass(frozen=True, kw_only=True)
class Update:
    """How the data differ from what a run has scored, as paths.

    Attributes:
        new: not in the run yet.
        changed: with another size, modification time or ETag.
        again: failed for a reason that may be gone.
        gone: no longer in the data; their rows are kept.
    """

    new: pa.Array
    changed: pa.Array
    again: pa.Array
    gone: pa.Array

    @property
    def counts(self) -> dict[str, int]:
        """The number of paths of each kind."""
        return {each.name: len(getattr(self, each.name)) for each in dataclasses.fields(self)}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score."""
        return not (len(self.new) or len(self.changed) or len(self.again))


def merge(before: Manifest, now: Manifest, rows: pa.Table) -> tuple[Update, Manifest]:
    """Compare a run with the data; returns what to score, and the run's new manifest.

    The manifest lists the images in the order in which they were scored, then new and changed
    ones in the order of the data. An image that is gone stays in it if it has a row.

    Args:
        before: the manifest of the run.
        now: the manifest of the data.
        rows: what the run has written, columns `path` and `error`.
    """
    changes = manifest.changes(before.table, now.table)
    gone = _in(changes.gone, rows["path"])
    update = Update(
        new=changes.new,
        changed=changes.changed,
        again=_not_in(_in(_transient_failures(rows), now.table["path"]), changes.changed),
        gone=gone,
    )
    removed = pa.concat_arrays([changes.changed, _not_in(changes.gone, gone)])
    kept = before.table.filter(pc.invert(pc.is_in(before.table["path"], value_set=removed)))
    to_add = pa.concat_arrays([changes.new, changes.changed])
    added = now.table.filter(pc.is_in(now.table["path"], value_set=to_add))
    return update, Manifest(pa.concat_tables([kept, added]), now.settings)


def check_same_archive(update: Update, before: Manifest, now: Manifest, data: str) -> None:
    """Raise InputError if nearly all images of a run are gone, and nearly all of the data new."""
    num_gone = len(manifest.changes(before.table, now.table).gone)
    if (
        num_gone >= _ANOTHER_ARCHIVE * before.table.num_rows
        and len(update.new) >= _ANOTHER_ARCHIVE * now.table.num_rows
    ):
        raise InputError(
            f"{num_gone:,} of the run's {before.table.num_rows:,} images are no longer in {data}, "
            f"and {len(update.new):,} of its {now.table.num_rows:,} are new; an update needs the "
            "same archive under the same name. Score another archive into another directory."
        )


def _transient_failures(rows: pa.Table) -> pa.Array:
    """Paths of the rows whose error may be gone."""
    failed = rows.filter(pc.is_valid(rows["error"]))
    category = pc.replace_substring_regex(failed["error"], ":.*", "")
    is_transient = pc.is_in(category, value_set=pa.array(_TRANSIENT_ERRORS))
    return failed.filter(is_transient)["path"].combine_chunks()


def _in(paths: pa.Array, others: pa.Array) -> pa.Array:
    return paths.filter(pc.is_in(paths, value_set=others))


def _not_in(paths: pa.Array, others: pa.Array) -> pa.Array:
    return paths.filter(pc.invert(pc.is_in(paths, value_set=others)))
