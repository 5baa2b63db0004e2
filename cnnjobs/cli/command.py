"""Commands that run a job: their own options, the shared ones, and one way to run them."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import typer

from cnnjobs.cli.app import app
from cnnjobs.cli.help_page import Command
from cnnjobs.cli.options import OF_EVERY_JOB, OF_STORAGE, OF_TRAINING
from cnnjobs.cli.runner import Job, run, settings
from cnnjobs.cluster import node_registry
from cnnjobs.config import Config, S3Settings, names

#: Parameters listed before the shared options of training.
_FIRST = ("data", "output")

#: The config of each command that runs a job, by the command's words: `cluster start`.
CONFIGS: dict[str, type[Config]] = {}


def job(
    group: typer.Typer, config_type: type[Config], name: str, **typer_options: Any
) -> Callable[..., Any]:
    """Register a function, whose parameters are the job's own options, as the command `name`.

    The command also has the options shared by all jobs, all jobs on user data, or all trainings,
    as its config says. It makes the config and runs the Job that the function returns.
    """

    def register(function: Callable[..., Job]) -> Callable[..., Job]:
        own = inspect.signature(function).parameters
        storage = OF_STORAGE if issubclass(config_type, S3Settings) else {}
        parameters = [
            _parameter("context", typer.Context),
            *_with_training(own.values(), config_type),
            *(_parameter(name, *option) for name, option in {**storage, **OF_EVERY_JOB}.items()),
        ]

        @functools.wraps(function)
        def command(context: typer.Context, **values: Any) -> None:
            config = settings(context, config_type, values["config"])
            node_registry.before_ray(getattr(config, "address", None))
            run(
                config,
                function(**{name: values[name] for name in own}),
                dry_run=values["dry_run"],
                as_json=values["as_json"],
                quiet=values["quiet"],
            )

        # Typer reads the options from these two
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        group.command(name, cls=Command, **typer_options)(command)
        CONFIGS[name if group is app else f"{_name(group)} {name}"] = config_type
        return function

    return register


def _name(group: typer.Typer) -> str:
    return next(each.name for each in app.registered_groups if each.typer_instance is group) or ""


def _with_training(
    own: Iterable[inspect.Parameter], config_type: type[Config]
) -> list[inspect.Parameter]:
    """A job's own options; if it trains, also those of every training, after the first."""
    if not set(OF_TRAINING) <= set(names(config_type)):
        return list(own)
    training = [
        _parameter(name, option, getattr(config_type, name)) for name, option in OF_TRAINING.items()
    ]
    first = [each for each in own if each.name in _FIRST]
    return [*first, *training, *(each for each in own if each.name not in _FIRST)]


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation
    )
