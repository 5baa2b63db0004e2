"""The command line: parse, call one function, print. Light at import."""

from cnnjobs.cli import fetch  # noqa: F401 - adds its command to the app
from cnnjobs.cli.commands import app
from cnnjobs.cli.running import main

__all__ = ["app", "main"]
