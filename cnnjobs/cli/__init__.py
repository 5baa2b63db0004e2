"""The command line: parse, call one function, print. Light at import."""

# isort: off
# in the order of `cnnjobs --help`: each module adds its commands
from cnnjobs.cli import index, train, predict, explain, report, cluster, submit, models  # noqa: F401
from cnnjobs.cli.app import app
from cnnjobs.cli.runner import main
# isort: on

__all__ = ["app", "main"]
