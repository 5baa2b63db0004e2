"""The command line: parse, call one function, print. Light at import."""

from cnnjobs.cli import fetch, tune  # noqa: F401 - they add their commands to the app
from cnnjobs.cli.commands import app
from cnnjobs.cli.running import main

__all__ = ["app", "main"]
