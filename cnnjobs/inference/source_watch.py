"""Storage outages: the job stops instead of writing a row for every image that it cannot read."""

import socket
from collections import deque
from collections.abc import Collection, Sequence

import pyarrow as pa

from cnnjobs.errors import SourceError
from cnnjobs.storage import archives, filesystem, s3

#: Categories of errors that a whole source may have as well as one image.
_SUSPECT = ("missing", "permission", "unreadable", "timed out", "crashed")

#: So many of them in a row are the source's; so are a quarter of the last images, and 20 or more.
_STREAK = 50
_LAST, _SHARE, _FEWEST = 1000, 4, 20


class SourceWatch:
    """Looks at the rows of a job as they are scored.

    Rows whose error is certainly not their image's are held back, to be scored again. Other errors
    are rows, until so many of them come together that they are the source's: it was moved, its
    mount is gone, or access to it was withdrawn.
    """

    def __init__(
        self, num_rows: int, *, done: int = 0, lenient: bool = False, known: Collection[str] = ()
    ) -> None:
        """Start watching.

        Args:
            num_rows: of the job.
            done: those of them that an earlier session scored.
            lenient: whether any number of images may fail by themselves.
            known: images that have failed before, which says nothing new.
        """
        self._last = min(_LAST, num_rows)
        self._done = done
        self._lenient = lenient
        self._known = frozenset(known)
        self._position = self._streak = self._num_read = 0
        self._recent: deque[int] = deque()
        self._latest = ""
        self._verdict: str | None = None
        #: Paths of the rows that were let through although they may have failed by the source.
        self.suspects: list[str] = []
        #: Paths of the rows that were held back since the last `end_pass`.
        self.held_back: list[str] = []

    def pass_on(self, table: pa.Table) -> pa.Table:
        """The rows that may be written; after a verdict, only those of images that were read."""
        if table["error"].null_count == table.num_rows:
            self._position += table.num_rows
            self._num_read += table.num_rows
            self._streak = 0
            return table
        kept = []
        for path, error, is_outage in zip(
            *(table[name].to_pylist() for name in ("path", "error", "is_outage")), strict=True
        ):
            is_suspect = error is not None and error.partition(":")[0] in _SUSPECT
            self._count(path, error, counts=is_suspect and (is_outage or not self._lenient))
            if is_outage:
                self.held_back.append(path)
            elif is_suspect:
                self.suspects.append(path)
            kept.append(not (is_outage or (is_suspect and self._verdict is not None)))
        return table.filter(pa.array(kept))

    def check(self) -> None:
        """Raise SourceError if the images fail by their source."""
        if self._verdict is not None:
            raise SourceError(self._verdict)

    def end_pass(self, samples: Sequence[str], num_rows: int) -> None:
        """Judge at the end of all rows, or of those held back before.

        Args:
            samples: images that could be read when the job began.
            num_rows: of this pass.

        Raises:
            SourceError: the source is gone, or no row could be passed on.
        """
        if not self._latest:
            return
        if samples and (reason := unreadable(samples)) is not None:
            raise SourceError(
                f"images that could be read at the start cannot be read now: {reason}"
            )
        nothing_read = not (self._num_read or self._done or self._lenient)
        if nothing_read or len(self.held_back) == num_rows:
            raise SourceError(f"none of {num_rows} images could be read; the last: {self._latest}")

    def _count(self, path: str, error: str | None, *, counts: bool) -> None:
        self._position += 1
        if counts:
            self._latest = f"{path} ({error})"
        if not counts or path in self._known:
            self._streak = 0
            self._num_read += not counts
            return
        self._streak += 1
        self._recent.append(self._position)
        while self._recent[0] <= self._position - self._last:
            self._recent.popleft()
        if self._verdict is not None:
            return
        if self._streak >= _STREAK:
            self._verdict = f"{self._streak} images in a row failed, the last: {self._latest}"
        elif len(self._recent) >= max(_FEWEST, self._last // _SHARE):
            self._verdict = (
                f"{len(self._recent)} of the last {min(self._last, self._position)} images failed, "
                f"the last: {self._latest}"
            )


def readable_samples(rows: pa.Table) -> list[str]:
    """The first, a middle and the last image, those of them that this process can read."""
    places = sorted({0, rows.num_rows // 2, rows.num_rows - 1})
    paths = [rows["path"][place].as_py() for place in places] if rows.num_rows else []
    return [path for path in paths if _problem(path) is None]


def unreadable(samples: Sequence[str]) -> str | None:
    """Why none of the samples can be read; None if one can."""
    problems = [_problem(path) for path in samples]
    if not problems or None in problems:
        return None
    return f"{samples[0]} ({problems[0]})"


def check_process(samples: Sequence[str]) -> None:
    """Raise SourceError if this process can read none of what the one that sent them can."""
    reason = unreadable(samples)
    if reason is not None:
        raise SourceError(
            f"the scoring process on {socket.gethostname()} cannot read the images, though this "
            f"one can: {reason}"
        )


def _problem(path: str) -> str | None:
    try:
        # an archive is not looked through for that
        filesystem.read_first(archives.archive_of(path), 1)
    except OSError as error:
        return s3.reason(error) or type(error).__name__
    return None
