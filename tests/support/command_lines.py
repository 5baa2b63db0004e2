"""Every command line that a user may copy, or a cluster runs, and the parser of the program."""

import ast
import re
import shlex

import typer
import yaml

from cnnjobs import config as configs
from cnnjobs.cli import app
from cnnjobs.cli.runner import settings
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "infra" / "README.md"]
GROUP = typer.main.get_command(app)
USAGE_ERROR = typer.BadParameter.__base__

#: What may stand before a command on its line: a prompt, variables, a runner, a folder.
_BEFORE = r"(?:\$ )?(?:\w+=\S* )*(?:time |uv run |\.venv/bin/|/opt/cnnjobs/bin/)*"
_COMMAND = re.compile(
    rf"^\s*(?:(?:.* -- )?{_BEFORE}(?:python3? -m )?cnnjobs|.*\bpython3? -m jobs\.(\w+)) (.*)$"
)

#: A block of code in a page.
FENCED = re.compile(r"^( *)```[^\n]*\n(.*?)^\1```\s*$", re.DOTALL | re.MULTILINE)


def documented():
    """Yield (file, words after `cnnjobs`) of the pages, the jobs, and what clusters read."""
    for file, page in [*_pages(), *_docstrings(), *_manifests(), *_units()]:
        for words in command_lines(page):
            yield str(file.relative_to(ROOT)), words


def command_lines(page):
    """Yield the words after `cnnjobs`, or after `python -m`, of each line in a page's blocks."""
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
        # of `start\|stop` the first
        yield re.split(r"[\s=]+", re.sub(r"\\\|\S+", "", span).strip())


def parse(words):
    """Parse a command line as the command line does, and check its settings; run nothing."""
    try:
        context = GROUP.make_context("cnnjobs", list(words))
        name, command, rest = GROUP.resolve_command(context, list(words))
        inner = command.make_context(name, rest, parent=context)
        if hasattr(command, "commands"):
            inner_name, command, rest = command.resolve_command(inner, list(rest))
            inner = command.make_context(inner_name, rest, parent=inner)
            name = f"{name} {inner_name}"
    except typer.Exit:
        return  # --help and --version end here
    kind = getattr(configs, f"{name.title().replace(' ', '')}Config", None)
    if kind is None:
        return
    given = settings(inner, kind, None)
    if isinstance(given, configs.SubmitConfig):
        parse([given.command, *given.arguments])


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
        lines = [*comments, *_entrypoints(yaml.safe_load(text))]
        yield file, "```\n" + "\n".join(lines) + "\n```"


def _units():
    for file in sorted((ROOT / "infra" / "systemd").glob("*.service")):
        lines = re.findall(r"^ExecStart=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        yield file, "```\n" + "\n".join(lines) + "\n```"


def _entrypoints(value):
    for key, inner in value.items():
        if key == "entrypoint":
            yield inner
        elif isinstance(inner, dict):
            yield from _entrypoints(inner)
