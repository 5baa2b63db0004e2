"""A command that is a job: its own options, those of all jobs, and the same way of running."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import typer

from cnnjobs.cli.app import app
from cnnjobs.cli.options import OF_EVERY_JOB, OF_STORAGE, OF_TRAINING
from cnnjobs.cli.runner import Stage, run, settings
from cnnjobs.cluster import node_registry
from cnnjobs.config import Config, S3Settings, names

#: What stands before the options of a training.
_FIRST = ("data", "output")

#: The config of each command that is a job and stands in no group.
KINDS: dict[str, type[Config]] = {}


def job(
    group: typer.Typer, kind: type[Config], name: str | None = None, **more: Any
) -> Callable[..., Any]:
    """Make a command of a function whose parameters are the job's own options.

    Those of all jobs that train are added behind data and output, those of all jobs behind
    the last; what is given becomes a config of `kind`, and the stage that the function returns
    is run with it. `more` is for Typer.
    """

    def register(function: Callable[..., Stage]) -> Callable[..., Stage]:
        own = inspect.signature(function).parameters
        shared = OF_EVERY_JOB | (OF_STORAGE if issubclass(kind, S3Settings) else {})
        parameters = [
            _parameter("context", typer.Context),
            *_with_training(own.values(), kind),
            *(_parameter(name, *it) for name, it in shared.items() if name in OF_STORAGE),
            *(_parameter(name, *it) for name, it in shared.items() if name not in OF_STORAGE),
        ]

        @functools.wraps(function)
        def command(context: typer.Context, **given: Any) -> None:
            config = settings(context, kind, given["config"])
            node_registry.before_ray(getattr(config, "address", None))
            run(
                config,
                function(**{name: given[name] for name in own}),
                dry_run=given["dry_run"],
                as_json=given["as_json"],
                quiet=given["quiet"],
            )

        # Typer reads the options off these two
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        group.command(name, **more)(command)
        if group is app:
            KINDS[name or function.__name__] = kind
        return function

    return register


def _with_training(own: Iterable[inspect.Parameter], kind: type[Config]) -> list[inspect.Parameter]:
    """A job's own options, and of one that trains those of every training behind the first."""
    if not set(OF_TRAINING) <= set(names(kind)):
        return list(own)
    training = [
        _parameter(name, option, getattr(kind, name)) for name, option in OF_TRAINING.items()
    ]
    first = [each for each in own if each.name in _FIRST]
    return [*first, *training, *(each for each in own if each.name not in _FIRST)]


def _parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind
    )
