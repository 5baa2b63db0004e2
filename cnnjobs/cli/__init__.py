"""The command line: parse, call one function, print. Light at import."""

# isort: off
# in the order of `cnnjobs --help`: importing a module registers its command
from cnnjobs.cli import index, inspect, fetch  # noqa: F401
from cnnjobs.cli import train, tune, crossval, import_weights  # noqa: F401
from cnnjobs.cli import evaluate, compare, predict, verify, predict_one  # noqa: F401
from cnnjobs.cli import audit, explain, quantize, export, report, bundle  # noqa: F401
from cnnjobs.cli import doctor, submit, demo, models, cluster, jobs  # noqa: F401
from cnnjobs.cli.app import app
from cnnjobs.cli.runner import main
# isort: on

__all__ = ["app", "main"]
