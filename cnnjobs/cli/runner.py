"""What all commands share: resolve settings, show progress, print the result, set the exit code."""

import dataclasses
import io
import logging
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import typer
import yaml

from cnnjobs import __version__
from cnnjobs.cli.deadline import EXIT_CODE, ending_after, exiting_on, seconds
from cnnjobs.cli.log import logging_to
from cnnjobs.config import AnyConfig, Config, as_dict, urls
from cnnjobs.config.files import resolve
from cnnjobs.config.printable import printable, printable_log, printable_values
from cnnjobs.errors import CnnjobsError
from cnnjobs.progress import Progress, showing
from cnnjobs.storage import json_files

#: What Ray prints about its own processes, even with `log_to_driver=False`: that one cannot be
#: scheduled at the moment, for example. On a busy machine this means nothing.
_BY_RAY = re.compile(r"(\x1b\[[\d;]*m)?\((raylet|autoscaler)\b")

_log = logging.getLogger(__name__)


class Job(NamedTuple):
    """What a command runs; its modules are imported only when the command is called.

    Attributes:
        run: the job.
        plan: what `--dry-run` prints instead.
        as_text: the summary as text.
        check: raises if the summary asks for another exit code than 0.
    """

    run: Callable[[Any, Progress], Any]
    plan: Callable[[Any], Mapping[str, Any]]
    as_text: Callable[[Any], str]
    check: Callable[[Any], None] = lambda summary: None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line (by default this process's) and exit with its code.

    0 done; 1 the job failed; 2 bad usage or input; 3 more images without a score than allowed;
    124 stopped by --deadline; 130 by Ctrl-C; 143 by SIGTERM.
    """
    from cnnjobs.cli.app import app

    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.excepthook = _with_traceback if debug else _one_line
    # `app()` would replace this hook with Typer's
    command = typer.main.get_command(app)
    try:
        # before a message shows one
        urls.refuse_words(words)
        # the name in help and completion, also under `python -m cnnjobs`
        command(words, prog_name="cnnjobs")
    except CnnjobsError as error:
        if debug:
            _with_traceback(type(error), error, error.__traceback__)
        _complain(str(error), error.exit_code, as_json="--json" in words)
        sys.exit(error.exit_code)


def settings(context: typer.Context, config_type: type[AnyConfig], file: Path | None) -> AnyConfig:
    """The config of a command: the settings of the file, overridden by the command line."""
    fields = {field.name for field in dataclasses.fields(config_type)}
    flags = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in context.params.items()
        if name in fields and _was_given(context, name)
    }
    return resolve(config_type, flags, file)


def run(
    config: Config,
    job: Job,
    *,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool = False,
    log_file: str | None = None,
    deadline: str | None = None,
) -> None:
    """Run the job, or with `dry_run` only plan it, and print the result."""
    if deadline is not None:
        # before the job has begun
        seconds(deadline)
    # standard output is for the result alone: libraries print warnings there
    aside = redirect_stdout(_Aside())
    if dry_run:
        with aside:
            plan = job.plan(config)
        _print_plan(config, plan, as_json=as_json)
        return
    with logging_to(log_file, verbose=verbose, quiet=quiet):
        _log.info("cnnjobs %s, %s", __version__, config)
        with (
            _stopped_by_signals(config, deadline),
            aside,
            showing(not (quiet or verbose)) as progress,
        ):
            summary = job.run(config, progress)
        _log.info("ended: %s", job.as_text(printable_values(summary)).partition("\n")[0])
        show(summary, job.as_text, as_json=as_json)
        warn_of_spilling()
        job.check(summary)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text whose newlines and tabs are meant; anything else that acts on a terminal is not.

    Names in it must have been escaped: a newline of theirs would look like one of ours.
    """
    typer.echo(printable(text, lines=True), err=err, nl=nl)


def show(summary: Any, as_text: Callable[[Any], str], *, as_json: bool) -> None:
    """Print a summary, as JSON or as text without what names in it would do to a terminal."""
    say(json_files.text(summary) if as_json else as_text(printable_values(summary)))


class _Aside(io.TextIOBase):
    """Passes output on to standard error, except for what Ray prints about its own processes."""

    _drops_newline = False

    def write(self, text: str) -> int:
        is_by_ray = _BY_RAY.match(text) is not None
        # `print` writes the end of the line separately
        if not is_by_ray and not (self._drops_newline and text == "\n"):
            sys.stderr.write(printable_log(text))
        self._drops_newline = is_by_ray
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()


def warn_of_spilling() -> None:
    """Say on standard error how much Ray spilled to disk during this process's job."""
    # imported here: it takes 30 ms, and most commands do without
    from cnnjobs.cluster import spilling

    spilled = ", ".join(
        f"{n / 1e6:.0f} MB on {name}" for name, n in (spilling.reported() or {}).items()
    )
    if spilled:
        say(
            f"warning: Ray's object memory was full and spilled to disk, {spilled}; see Memory in "
            "docs/clusters.md.",
            err=True,
        )


@contextmanager
def _stopped_by_signals(config: Config, deadline: str | None) -> Iterator[None]:
    """Let SIGTERM and the deadline stop a job as Ctrl-C does, cleanly and with one line."""
    try:
        with exiting_on(signal.SIGTERM, 128 + signal.SIGTERM), ending_after(deadline):
            yield
    except (KeyboardInterrupt, SystemExit) as end:
        flag = "--update" if getattr(config, "update", False) else "--resume"
        hint = f"; continue with {flag}" if hasattr(config, "resume") else ""
        is_late = getattr(end, "code", None) == EXIT_CODE
        say(f"stopped{f' after {deadline} (--deadline)' if is_late else ''}{hint}", err=True)
        raise


def _print_plan(config: Config, plan: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        say(json_files.text({"config": as_dict(config), "plan": plan}))
        return
    shown = printable_values(
        json_files.parsed(json_files.text({"settings": as_dict(config), "plan": plan}))
    )
    say(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())
    say("dry run: nothing was written.")


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def _complain(message: str, code: int, *, as_json: bool) -> None:
    if as_json and code != 3:
        say(json_files.text({"error": message, "exit_code": code}))
    say(f"error: {printable(message)}", err=True)


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for an unexpected error, in place of the traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = f": {lines[-1].strip()}" if lines else ""
    say(f"error: {kind.__name__}{printable(reason)} (--debug shows the traceback)", err=True)


def _with_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    say("".join(traceback.format_exception(kind, error, trace)), err=True, nl=False)
