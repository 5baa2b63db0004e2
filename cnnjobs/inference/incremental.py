"""What an update of a scored run has to do: images that came, changed, went, or may work now."""

import dataclasses
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest

#: Errors of a file that may be over when it is tried again.
_PASSING_ERRORS = ("missing", "permission", "unreadable")


@dataclass(frozen=True, kw_only=True)
class Update:
    """Paths in which the data differ from the manifest that a run has scored.

    Attributes:
        new: that came.
        changed: whose size, time or ETag is another.
        again: that failed for a reason that may be over.
        gone: that are no longer there; their rows stay.
    """

    new: pa.Array
    changed: pa.Array
    again: pa.Array
    gone: pa.Array

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {each.name: len(getattr(self, each.name)) for each in dataclasses.fields(self)}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score."""
        return not (len(self.new) or len(self.changed) or len(self.again))


def merge(before: Manifest, now: Manifest, rows: pa.Table) -> tuple[Update, Manifest]:
    """What is to be done, and the manifest that the run has afterwards.

    It has the images in the order they were scored, then new and changed ones in the order of
    the data. An image that is gone stays if it has a row.

    Args:
        before: the manifest of the run.
        now: the manifest of the data.
        rows: what the run has written, columns `path` and `error`.
    """
    changes = manifest.changes(before.table, now.table)
    written = rows["path"]
    gone = _among(changes.gone, written)
    update = Update(
        new=changes.new,
        changed=changes.changed,
        again=_not_among(_among(_passing(rows), now.table["path"]), changes.changed),
        gone=gone,
    )
    leave = pa.concat_arrays([changes.changed, _not_among(changes.gone, gone)])
    kept = before.table.filter(pc.invert(pc.is_in(before.table["path"], value_set=leave)))
    come = pa.concat_arrays([changes.new, changes.changed])
    added = now.table.filter(pc.is_in(now.table["path"], value_set=come))
    return update, Manifest(pa.concat_tables([kept, added]), now.settings)


def _passing(rows: pa.Table) -> pa.Array:
    """Paths of the rows whose error may be over."""
    failed = rows.filter(pc.is_valid(rows["error"]))
    category = pc.replace_substring_regex(failed["error"], ":.*", "")
    wanted = pc.is_in(category, value_set=pa.array(_PASSING_ERRORS))
    return failed.filter(wanted)["path"].combine_chunks()


def _among(paths: pa.Array, others: pa.Array) -> pa.Array:
    return paths.filter(pc.is_in(paths, value_set=others))


def _not_among(paths: pa.Array, others: pa.Array) -> pa.Array:
    return paths.filter(pc.invert(pc.is_in(paths, value_set=others)))
