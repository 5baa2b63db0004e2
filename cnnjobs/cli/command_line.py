"""A command and its settings as the line that a shell takes."""

import shlex
from collections.abc import Mapping
from typing import Any

import typer

from cnnjobs.cli.app import app

#: Settings that say how a run was started, not what it does.
_HOW = ("resume", "update", "overwrite")


def command_line(name: str, settings: Mapping[str, Any]) -> str:
    """The words after which the command has these settings; defaults are left out.

    An option that the command no longer has is left out, too.
    """
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    arguments: list[str] = []
    options: list[str] = []
    for parameter in command.params:
        value = settings.get(parameter.name)
        if value in (None, (), [], parameter.default) or parameter.name in _HOW:
            continue
        values = [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
        if parameter.param_type_name == "argument":
            arguments += values
        elif parameter.is_flag:
            options.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            options += [word for each in values for word in (parameter.opts[0], each)]
    return shlex.join(["cnnjobs", name, *arguments, *options])
