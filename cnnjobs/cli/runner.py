"""What every command does alike: resolve settings, show progress, print, end with a code."""

import dataclasses
import json
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

from cnnjobs.config import AnyConfig, Config, as_dict
from cnnjobs.config.files import resolve
from cnnjobs.errors import CnnjobsError
from cnnjobs.progress import Progress, showing


class Stage(NamedTuple):
    """What a command runs, imported only now that it runs.

    Attributes:
        do: the job.
        plan: what `--dry-run` tells in its place.
        describe: the summary as text.
        judge: raises what the summary says of the exit code.
    """

    do: Callable[[Any, Progress], Any]
    plan: Callable[[Any], Mapping[str, Any]]
    describe: Callable[[Any], str]
    judge: Callable[[Any], None] = lambda summary: None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line (by default the process's own) and exit with its code.

    0 done; 1 the job failed; 2 bad usage or input; 3 more bad images than allowed;
    130 stopped by Ctrl-C; 143 stopped by SIGTERM.
    """
    from cnnjobs.cli.app import app

    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if not debug:
        sys.excepthook = _one_line
    # called itself, the app would put a hook of its own in place of ours
    command = typer.main.get_command(app)
    try:
        command(words, prog_name="cnnjobs")
    except CnnjobsError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error), error.exit_code, as_json="--json" in words)
        sys.exit(error.exit_code)


def settings(context: typer.Context, kind: type[AnyConfig], file: Path | None) -> AnyConfig:
    """The config of a command: the file's settings, and over them the flags that were given."""
    fields = {field.name for field in dataclasses.fields(kind)}
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in context.params.items()
        if name in fields and _was_given(context, name)
    }
    return resolve(kind, given, file)


def run(config: Config, stage: Stage, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Do the stage's job, or with `dry_run` only plan it, and print what came of it."""
    # where the result goes nothing else does: Ray prints its warnings there
    aside = redirect_stdout(sys.stderr)
    if dry_run:
        with aside:
            plan = stage.plan(config)
        _print_plan(config, plan, as_json=as_json)
        return
    with _stopped_by_signals(config), aside, showing(not quiet) as progress:
        summary = stage.do(config, progress)
    typer.echo(json_text(summary) if as_json else stage.describe(summary))
    warn_of_spilling()
    stage.judge(summary)


def warn_of_spilling() -> None:
    """Say on standard error what Ray has put on disk in this process's job, if it has."""
    # imported here: it takes 30 ms, and most commands do without
    from cnnjobs.cluster import spilling

    told = ", ".join(
        f"{n / 1e6:.0f} MB on {name}" for name, n in (spilling.reported() or {}).items()
    )
    if told:
        typer.echo(
            f"warning: Ray's memory for objects was full and it wrote to disk, {told}; "
            "docs/clusters.md (Memory) says what helps.",
            err=True,
        )


@contextmanager
def _stopped_by_signals(config: Config) -> Iterator[None]:
    """Let SIGTERM end a job as Ctrl-C does, in order and with one line."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        flag = "--update" if getattr(config, "update", False) else "--resume"
        typer.echo(f"stopped; {flag} goes on" if hasattr(config, "resume") else "stopped", err=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def json_text(value: Any) -> str:
    """A summary as one JSON document; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=2)


def _print_plan(config: Config, plan: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json_text({"config": as_dict(config), "plan": plan}))
        return
    shown = json.loads(json_text({"settings": as_dict(config), "plan": plan}))
    typer.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())
    typer.echo("dry run: nothing was written.")


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def _finite(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def _complain(message: str, code: int, *, as_json: bool) -> None:
    if as_json and code != 3:
        typer.echo(json_text({"error": message, "exit_code": code}))
    typer.echo(f"error: {message}", err=True)


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What stands in place of a traceback for an error nobody foresaw."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = f": {lines[-1].strip()}" if lines else ""
    typer.echo(f"error: {kind.__name__}{reason} (--debug shows where)", err=True)
