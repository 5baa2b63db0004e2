"""Bad and odd files, each named for what is wrong or odd with it, and what must become of it.

    python -m tests.support.corpus FOLDER

writes them to a new folder. All but the few that say otherwise show the same drawn chest.
"""

import os
from pathlib import Path
from typing import NamedTuple

from tests.support.corpus import bombs, dicoms, jpegs, no_images, others, pngs
from tests.support.corpus.base import ABSENT, CHEST, HEIGHT, SOUND, WARNING, WIDTH, Odd

__all__ = ["ABSENT", "CHEST", "HEIGHT", "SOUND", "WARNING", "WIDTH", "Odd", "Outcome"]


class Outcome(NamedTuple):
    """What becomes of a file: `sound`, `warning`, `absent` (no row), or an error's category.

    `kept` is the same where damaged files are kept.
    """

    default: str
    kept: str


def write(folder: Path) -> dict[str, Outcome]:
    """Write the corpus to a folder and return what must become of each file by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    for name, odd in files().items():
        (folder / name).write_bytes(odd.data)
        outcomes[name] = Outcome(odd.outcome, odd.kept or odd.outcome)
    (folder / "a directory.png").mkdir()
    os.mkfifo(folder / "a pipe.png")
    (folder / "a link to nothing.png").symlink_to("nothing")
    outcomes |= {name: Outcome(ABSENT, ABSENT) for name in ("a directory.png", "a pipe.png")}
    return outcomes | {"a link to nothing.png": Outcome("missing", "missing")}


def files() -> dict[str, Odd]:
    """All regular files of the corpus by name."""
    return {
        **no_images.no_images(),
        **no_images.names(),
        **pngs.pngs(),
        **pngs.cut_pngs(),
        **jpegs.jpegs(),
        **jpegs.damaged_jpegs(),
        **others.tiffs(),
        **others.webps(),
        **others.bmps(),
        **dicoms.dicoms(),
        **bombs.bombs(),
    }
