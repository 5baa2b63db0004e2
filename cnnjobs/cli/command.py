"""Commands that run a job: options from the settings of its config, and one way to run it."""

import dataclasses
import functools
import inspect
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from cnnjobs.cli.app import app
from cnnjobs.cli.help_page import Command
from cnnjobs.cli.options import FLAGS, OF_TRAINING, SHARED
from cnnjobs.cli.runner import Job, run, settings
from cnnjobs.cluster import presence
from cnnjobs.config import Config, names

#: Flags that are no switches.
_WITH_VALUE = ("config", "deadline", "log_file")

#: The config of each command that runs a job, by the command's words: `cluster start`.
CONFIGS: dict[str, type[Config]] = {}


def job(
    group: typer.Typer,
    name: str,
    config_type: type[Config],
    *,
    options: Mapping[str, Any] | None = None,
    **typer_options: Any,
) -> Callable[[Callable[[], Job]], Callable[[], Job]]:
    """Register the command `name`, whose function imports its job and has its help as docstring.

    Every setting of the config is an argument or option: the command's own, if `options` has
    it, else the shared one. Settings with neither are set only by --config.
    """
    flags_of_job = {
        flag: annotation
        for flag, annotation in FLAGS.items()
        if flag != "deadline" or "output" in names(config_type)
    }

    def register(load: Callable[[], Job]) -> Callable[[], Job]:
        parameters = [
            _parameter("context", typer.Context),
            *_of_settings(config_type, options or {}),
            *(
                _parameter(flag, annotation, None if flag in _WITH_VALUE else False)
                for flag, annotation in flags_of_job.items()
            ),
        ]

        @functools.wraps(load)
        def command(context: typer.Context, **values: Any) -> None:
            config = settings(context, config_type, values["config"])
            presence.before_ray(getattr(config, "address", None))
            flags = {flag: values[flag] for flag in flags_of_job.keys() - {"config", "debug"}}
            loaded = load()
            if "pyarrow" in sys.modules:
                from cnnjobs.storage.arrow_start import without_pandas

                without_pandas()
            run(config, loaded, **flags)

        # Typer reads the options from these two
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        group.command(name, cls=Command, **typer_options)(command)
        CONFIGS[name if group is app else f"{_name(group)} {name}"] = config_type
        return load

    return register


def _of_settings(config_type: type[Config], own: Mapping[str, Any]) -> Iterator[inspect.Parameter]:
    fields = {field.name: field for field in dataclasses.fields(config_type)}
    of_training = OF_TRAINING if "recipe" in fields else {}
    options = {**SHARED, **of_training, **own}
    for name in names(config_type):
        if name not in options:
            continue
        value_type, default = fields[name].type, fields[name].default
        if value_type == tuple[str, ...]:
            value_type, default = list[str] | None, None
        elif default is dataclasses.MISSING:
            # not required by Typer: --config may set it
            value_type, default = operator.or_(value_type, None), None
        annotation = operator.getitem(Annotated, (value_type, options[name]))
        yield _parameter(name, annotation, default)


def _name(group: typer.Typer) -> str | None:
    return next(each.name for each in app.registered_groups if each.typer_instance is group)


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation
    )
