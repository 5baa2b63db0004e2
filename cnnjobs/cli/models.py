"""`cnnjobs models`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cnnjobs.cli.app import app
from cnnjobs.cli.help_page import Command
from cnnjobs.cli.options import Debug, Json
from cnnjobs.cli.runner import say
from cnnjobs.cli.tables import table
from cnnjobs.storage import json_files

if TYPE_CHECKING:
    from cnnjobs.models import Architecture


@app.command(cls=Command)
def models(as_json: Json = False, debug: Debug = False) -> None:
    """List the architectures."""
    from cnnjobs.models import ARCHITECTURES

    say(json_files.text(ARCHITECTURES) if as_json else models_text(ARCHITECTURES.values()))


def models_text(architectures: Iterable["Architecture"]) -> str:
    """The architectures in a table, then the layers of each; at most 80 columns wide."""
    rows = [
        [known.name, f"{known.height}x{known.width}x1", known.num_parameters, known.num_labels]
        for known in architectures
    ]
    layers = [[known.name, known.summary] for known in architectures]
    return "\n\n".join(
        [
            table(["model", "input", "parameters", "classes"], rows),
            table(["model", "layers"], layers),
        ]
    )
