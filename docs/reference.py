"""Write docs/reference.md, the reference of all commands, from the command line's own help.

`python docs/reference.py` writes the page; with `--check` it writes nothing and exits 1 if the
page is not what would be written.
"""

import argparse
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from cnnjobs.cli import app

PAGE = Path(__file__).with_name("reference.md")

_HEAD = """\
# Reference

Made by `make docs` from the commands' own `--help`; edits here are lost.

## Exit codes

| code | meaning |
| ---: | --- |
| 0 | done |
| 1 | the job failed |
| 2 | bad usage or input |
| 3 | finished, with more bad images than `--max-errors` allows |
| 130, 143 | stopped by Ctrl-C, by SIGTERM |
"""


def main() -> int:
    """Write the page, or with `--check` say whether it is up to date."""
    parser = argparse.ArgumentParser(description="Write docs/reference.md from the commands' help.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print("docs/reference.md is not what the commands' --help says; run: make docs")
    return 1


def page() -> str:
    """The whole page: the exit codes, then a section a command in the order of `--help`."""
    sections = [
        _section("cnnjobs"),
        *(_section(f"cnnjobs {name}", *name.split()) for name in commands()),
    ]
    return "\n".join([_HEAD, *sections])


def commands() -> list[str]:
    """Names of all commands, in the order of `--help`; `jobs list` for one of a group."""
    group = typer.main.get_command(app)
    return [
        f"{name} {inner}" if inner else name
        for name, command in group.commands.items()
        for inner in getattr(command, "commands", [""])
    ]


def _section(title: str, *words: str) -> str:
    return f"## {title}\n\n```text\n{_help(*words)}```\n"


def _help(*words: str) -> str:
    """What `cnnjobs WORDS --help` prints on a terminal of 80 columns."""
    # the environment stands above the real terminal's width
    wide = {"COLUMNS": "80", "LANGUAGE": "C"}
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="cnnjobs", env=wide)
    if result.exit_code != 0:
        raise RuntimeError(f"cnnjobs {' '.join(words)} --help failed: {result.output}")
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
