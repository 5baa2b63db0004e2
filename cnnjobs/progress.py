"""How a job reports its progress and its peak memory, and how that is shown."""

import io
import logging
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from cnnjobs.config.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

#: Characters of a note beside a bar.
_WIDEST_NOTE = 45

#: Seconds between two updates of the bars in a notebook, each of which is a message.
_SECONDS_BETWEEN_UPDATES = 0.2

#: Seconds between two lines that are logged.
_SECONDS_BETWEEN_LINES = 30.0

#: Steps of which a line is logged for each epoch, by their notes.
_TRAINING, _EPOCH = ("train", "tune"), re.compile(r"\bepoch \d+")

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Called from the job's own process whenever there is something new to report."""

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        """`done` of `total` (None: not known yet) in the named step of the job."""


def silent(step: str, done: int, total: int | None, note: str = "") -> None:
    """Report nothing."""


@contextmanager
def showing(progress: bool | Progress) -> Iterator[Progress]:
    """What to pass to a job, which is also logged; see `logged`.

    Args:
        progress: False shows nothing. True shows one bar per step: in a notebook below its
            cell, else on standard error if that is a terminal. A function is called instead.
    """
    if not isinstance(progress, bool):
        yield logged(progress)
    elif not progress:
        yield logged(silent)
    else:
        with _bars() as report:
            yield logged(report)


def logged(
    progress: Progress,
    *,
    seconds: float = _SECONDS_BETWEEN_LINES,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """The same, which also logs a line every so many seconds, or one for each epoch."""
    last = clock()
    pace = _Pace()

    def report(step: str, done: int, total: int | None, note: str = "") -> None:
        nonlocal last
        progress(step, done, total, note)
        now = clock()
        numbers = f"{done:,}" if total is None else f"{done:,} of {total:,}"
        if step not in _TRAINING:
            if now - last >= seconds:
                last = now
                _log.info("%s: %s%s", step, numbers, note and f", {note}")
        elif total is not None:
            left = pace.seconds_left(now, done, total)
            if _EPOCH.search(note):
                ending = "" if left is None else f", {_time(left)} left"
                _log.info("%s: %s, %s%s", step, numbers, note, ending)

    return report


class _Pace:
    """How fast a step of a job goes, from its first report, or from where it was restarted."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None
        self._done = 0

    def seconds_left(self, now: float, done: int, total: int) -> float | None:
        """From what has been done so far; None before that, and at the end."""
        if self._start is None or done < self._done:
            self._start = (now, done)
        self._done = done
        since, before = self._start
        if not before < done < total:
            return None
        return (now - since) / (done - before) * (total - done)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    bars = Bars(
        TextColumn("{task.description:>8}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        disable=not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}
    display = ExitStack()

    def report(step: str, done: int, total: int | None, note: str = "") -> None:
        if len(note) > _WIDEST_NOTE:
            # the whole line on an epoch would leave no room for the bar
            note = note[:_WIDEST_NOTE].rpartition(", ")[0] or note[:_WIDEST_NOTE]
        note = printable(note)
        if not tasks and not console.is_jupyter:
            # not before: a display without bars would overwrite what else is printed, and asked
            display.enter_context(bars)
        if step not in tasks:
            tasks[step] = bars.add_task(step, total=total, note=note)
        bars.update(tasks[step], completed=done, total=total, note=note)

    if console.is_jupyter:
        with _in_notebook(bars) as update:

            def report_and_update(step: str, done: int, total: int | None, note: str = "") -> None:
                report(step, done, total, note)
                update()

            yield report_and_update
    else:
        with display:
            yield report


@contextmanager
def _in_notebook(bars: "Bars") -> Iterator[Callable[[], None]]:
    """Show the bars as HTML below the cell; yields a function that updates them.

    Rich's own display in notebooks needs ipywidgets, which many notebooks lack.
    """
    from IPython.display import HTML, display

    shown = display(HTML(_html(bars)), display_id=True)
    last = time.monotonic()

    def update() -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_UPDATES:
            last = time.monotonic()
            shown.update(HTML(_html(bars)))

    try:
        yield update
    finally:
        shown.update(HTML(_html(bars)))


def _html(bars: "Bars") -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
    console.print(bars.get_renderable())
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def peak_memory_bytes() -> int:
    """The most memory this process has held since it started."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kibibytes
    return peak if sys.platform == "darwin" else peak * 1024
