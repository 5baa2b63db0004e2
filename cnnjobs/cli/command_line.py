"""A command and its settings back to a command line: the exact inverse of the parser."""

import functools
import shlex
from collections.abc import Mapping
from typing import Any

import typer

from cnnjobs.cli.app import app
from cnnjobs.config.files import presets

#: Settings that say how a run was started, not what it does.
_HOW_STARTED = ("resume", "update", "gone", "overwrite")


def command_line(name: str, settings: Mapping[str, Any]) -> str:
    """The shell line that runs the command `name` with these settings from the beginning."""
    repeated = {key: value for key, value in settings.items() if key not in _HOW_STARTED}
    return shlex.join(["cnnjobs", *name.split(), *words(name, repeated)])


def words(name: str, settings: Mapping[str, Any]) -> list[str]:
    """The words after the command `name` that parse to these settings; defaults are left out.

    `settings` are fields of the command's config, and flags such as `as_json`. Those without an
    option in this version are left out.
    """
    command = _command(name)
    # the parser would take what is left out from the recipe or the layout
    from_recipe = presets({name: settings.get(name) for name in ("recipe", "layout")})
    arguments: list[str] = []
    options: list[str] = []
    for parameter in command.params:
        value = settings.get(parameter.name)
        if value is None or (value == parameter.default and parameter.name not in from_recipe):
            continue
        values = [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
        if parameter.param_type_name == "argument":
            arguments += values
        elif parameter.is_flag:
            options.append(_longest(parameter.opts if value else parameter.secondary_opts))
        else:
            options += [word for each in values for word in _option(parameter.opts, each)]
    if command.context_settings.get("allow_interspersed_args", True) and not any(
        word.startswith("-") for word in arguments
    ):
        return [*arguments, *options]
    return [*options, "--", *arguments]


@functools.cache
def _command(name: str) -> Any:
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    return command


def _option(names: list[str], value: str) -> list[str]:
    name = _longest(names)
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _longest(names: list[str]) -> str:
    return max(names, key=len)
