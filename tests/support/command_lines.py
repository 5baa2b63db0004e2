"""The command lines that users copy and clusters run, and the program's own parser."""

import ast
import re
import shlex

import typer
import yaml

from cnnjobs.cli import app
from cnnjobs.cli.command import CONFIGS
from cnnjobs.cli.runner import settings
from cnnjobs.config import SubmitConfig
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "infra" / "README.md"]
GROUP = typer.main.get_command(app)
USAGE_ERROR = typer.BadParameter.__base__

#: Every command by its words: `train`, `jobs list`.
COMMANDS = {
    f"{name} {inner}".strip(): known
    for name, command in GROUP.commands.items()
    for inner, known in getattr(command, "commands", {"": command}).items()
}

#: What may precede a command on its line: a prompt, variables, a runner, a folder.
_BEFORE = r"(?:\$ )?(?:\w+=\S* )*(?:time |uv run |python3? -m |\.venv/bin/|/opt/cnnjobs/bin/)*"
_COMMAND = re.compile(rf"^\s*(?:(?:.* -- )?{_BEFORE}cnnjobs|.*\bpython3? -m jobs\.(\w+)) (.*)$")

#: A code block of a page.
FENCED = re.compile(r"^( *)```[^\n]*\n(.*?)^\1```\s*$", re.DOTALL | re.MULTILINE)


def documented():
    """Yield (file, words after `cnnjobs`) from the pages, the jobs and the cluster files."""
    for file, page in [*_pages(), *_docstrings(), *_manifests(), *_units()]:
        for words in command_lines(page):
            yield str(file.relative_to(ROOT)), words


def command_lines(page):
    """Yield the words after `cnnjobs` or `python -m jobs.` of each line in the code blocks."""
    for _, block in FENCED.findall(page):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            match = _COMMAND.match(line)
            if match is None:
                continue
            job, rest = match.groups()
            verb = {"inspection": "inspect"}.get(job, job)
            yield [*([verb] if verb else []), *_first_command(rest)]


def inline(page):
    """Yield the words after `cnnjobs` of each command named in a sentence or a table."""
    for span in re.findall(r"`cnnjobs ([a-z][^`]*)`", FENCED.sub("", page)):
        # the first of `start\|stop`
        yield re.split(r"[\s=]+", re.sub(r"\\\|\S+", "", span).strip())


def check(words):
    """Parse a command line and, for `submit`, the one it submits; run nothing."""
    config = parse(words)
    if isinstance(config, SubmitConfig):
        check([config.command, *config.arguments])


def parse(words):
    """The config that the program makes of a command line; None if the command has none."""
    try:
        context = GROUP.make_context("cnnjobs", list(words))
        name, command, rest = GROUP.resolve_command(context, list(words))
        inner = command.make_context(name, rest, parent=context)
        if hasattr(command, "commands"):
            inner_name, command, rest = command.resolve_command(inner, list(rest))
            inner = command.make_context(inner_name, rest, parent=inner)
            name = f"{name} {inner_name}"
    except typer.Exit:
        return None  # --help and --version end here
    return settings(inner, CONFIGS[name], None) if name in CONFIGS else None


def _first_command(line):
    """Split a line as a shell does, up to a pipe, a redirection or the next command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if set(word) <= set("|&;<>()"):
            break
        words.append(word)
    return words


def _pages():
    return [(file, file.read_text(encoding="utf-8")) for file in PAGES]


def _docstrings():
    for job in sorted((ROOT / "jobs").glob("*.py")):
        text = ast.get_docstring(ast.parse(job.read_text(encoding="utf-8"))) or ""
        yield job, f"```\n{text}\n```"


def _manifests():
    """The comments and the entrypoints of the YAML files."""
    for file in [ROOT / "ray-cluster.yaml", *sorted((ROOT / "infra").rglob("*.yaml"))]:
        text = file.read_text(encoding="utf-8")
        comments = re.findall(r"^ *# ?(.*)$", text, re.MULTILINE)
        lines = [*comments, *_entrypoints(list(yaml.safe_load_all(text)))]
        yield file, "```\n" + "\n".join(lines) + "\n```"


def _units():
    for file in sorted((ROOT / "infra" / "systemd").glob("*.service")):
        lines = re.findall(r"^ExecStart=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        yield file, "```\n" + "\n".join(lines) + "\n```"


def _entrypoints(value):
    if isinstance(value, list):
        for inner in value:
            yield from _entrypoints(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "entrypoint":
                yield inner
            # a patch of Kustomize is YAML in YAML
            yield from _entrypoints(yaml.safe_load(inner) if key == "patch" else inner)
