"""The program and its groups of commands."""

from typing import Annotated

import typer
from typer import Option

from cnnjobs.cli.help_page import Group

app = typer.Typer(
    name="cnnjobs",
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

cluster = typer.Typer(cls=Group, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(cluster, name="cluster")

jobs = typer.Typer(cls=Group, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(jobs, name="jobs")

bundle = typer.Typer(cls=Group, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(bundle, name="bundle")

imports = typer.Typer(cls=Group, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(imports, name="import")


def _print_version(requested: bool) -> None:
    if requested:
        from cnnjobs import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def cnnjobs(
    version: Annotated[
        bool, Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Train a CNN on chest X-rays and score archives of them, on a laptop or a Ray cluster.

    Start with `cnnjobs demo`. Not a medical device.
    """


@cluster.callback()
def _cluster() -> None:
    """Start and stop Ray on this machine."""


@bundle.callback()
def _bundle() -> None:
    """Show what a model bundle is, and check that it is unchanged."""


@imports.callback()
def _imports() -> None:
    """Take weights that others have trained."""


@jobs.callback()
def _jobs() -> None:
    """List, follow and stop a cluster's jobs."""
