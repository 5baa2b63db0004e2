"""A command that is a job: its own options, those of all jobs, and the same way of running."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import typer

from cnnjobs.cli.options import OF_EVERY_JOB, OF_STORAGE
from cnnjobs.cli.running import Stage, run, settings
from cnnjobs.config import Config, S3Settings


def job(group: typer.Typer, kind: type[Config], name: str | None = None) -> Callable[..., Any]:
    """Make a command of a function whose parameters are the job's own options.

    The options of all jobs are added behind them; what is given becomes a config of `kind`,
    and the stage that the function returns is run with it.
    """

    def register(function: Callable[..., Stage]) -> Callable[..., Stage]:
        own = inspect.signature(function).parameters
        shared = OF_EVERY_JOB | (OF_STORAGE if issubclass(kind, S3Settings) else {})
        parameters = [
            _parameter("context", typer.Context),
            *own.values(),
            *(_parameter(name, *it) for name, it in shared.items() if name in OF_STORAGE),
            *(_parameter(name, *it) for name, it in shared.items() if name not in OF_STORAGE),
        ]

        @functools.wraps(function)
        def command(context: typer.Context, **given: Any) -> None:
            stage = function(**{name: given[name] for name in own})
            run(
                settings(context, kind, given["config"]),
                stage,
                dry_run=given["dry_run"],
                as_json=given["as_json"],
                quiet=given["quiet"],
            )

        # Typer reads the options off these two
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        group.command(name)(command)
        return function

    return register


def _parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind
    )
