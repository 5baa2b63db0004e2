import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cnnjobs import config as configs
from cnnjobs.cli import app
from cnnjobs.cli.running import settings
from cnnjobs.errors import ConfigError

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"

GROUP = typer.main.get_command(app)
#: By name; `bench train` for one of a group.
COMMANDS = {
    f"{name} {inner}".strip(): known
    for name, command in GROUP.commands.items()
    for inner, known in getattr(command, "commands", {"": command}).items()
}
USAGE_ERROR = typer.BadParameter.__base__

#: What may stand before a command on its line: a prompt, variables, a runner.
_BEFORE = r"(?:\$ )?(?:\w+=\S* )*(?:time |uv run |\.venv/bin/)*"
_COMMAND = re.compile(rf"^\s*(?:(?:.* -- )?{_BEFORE}cnnjobs|.*\bpython3? -m jobs\.(\w+)) (.*)$")
_FENCED = re.compile(r"^( *)```[^\n]*\n(.*?)^\1```\s*$", re.DOTALL | re.MULTILINE)


def test_every_command_has_a_section_with_its_help():
    headings = re.findall(r"^## (cnnjobs.*)$", REFERENCE.read_text(), re.MULTILINE)
    assert headings == ["cnnjobs", *(f"cnnjobs {name}" for name in COMMANDS)]
    sections = REFERENCE.read_text().split("\n## ")
    for name in COMMANDS:
        section = next(text for text in sections if text.startswith(f"cnnjobs {name}\n"))
        assert f"\n```text\nUsage: cnnjobs {name} " in section


def test_every_exit_code_is_in_the_table():
    codes = re.findall(r"^\| (\d) \|", REFERENCE.read_text(), re.MULTILINE)
    assert codes == ["0", "1", "2", "3"]


def test_no_line_of_the_reference_is_wider_than_80_columns():
    blocks = _FENCED.findall(REFERENCE.read_text())
    assert len(blocks) == 1 + len(COMMANDS)
    assert max(len(line) for _, block in blocks for line in block.splitlines()) <= 80


def test_the_committed_reference_is_the_generated_one_whatever_the_terminal():
    # wider than the page: its width must not come from where it is made
    done = _reference("--check", COLUMNS="200")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_reference_that_differs_exits_1_and_says_what_to_run(tmp_path):
    script = tmp_path / "reference.py"
    script.write_text((ROOT / "docs" / "reference.py").read_text())
    complaint = "docs/reference.md is not what the commands' --help says; run: make docs\n"
    for page in (None, REFERENCE.read_text() + "edited\n"):
        if page is not None:
            (tmp_path / "reference.md").write_text(page)
        done = _reference("--check", script=script)
        assert (done.stdout, done.stderr, done.returncode) == (complaint, "", 1)
    assert (tmp_path / "reference.md").read_text().endswith("edited\n")


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_option_and_argument_has_a_help_text(name):
    command = GROUP if name is None else COMMANDS[name]
    assert command.help
    silent = [parameter.name for parameter in command.params if not parameter.help]
    assert silent == []


def test_every_stage_has_an_example_in_its_help_and_in_its_job():
    named = {(Path(where).parent.name, words[0]) for where, words in _documented()}
    stages = ("index", "inspect", "train", "tune", "evaluate", "predict")
    assert named >= {(where, verb) for where in ("docs", "jobs") for verb in stages}


def test_every_command_line_in_the_pages_and_jobs_can_be_run_as_it_stands(subtests):
    for where, words in _documented():
        with subtests.test(f"{where}: cnnjobs {shlex.join(words)}"):
            _parse(words)


@pytest.mark.parametrize(
    "line",
    [
        "cnnjobs trian data -o run",
        "cnnjobs train data",
        "cnnjobs train data -o run --epoch 3",
        "cnnjobs train data -o run --epochs three",
        "cnnjobs train data -o run --epochs 0",
        "cnnjobs train data more -o run",
        "cnnjobs predict run data -o scored --split tset",
        "python -m jobs.nothing data -o run",
    ],
)
def test_a_wrong_line_in_a_page_would_be_found(line):
    [words] = _command_lines(f"```sh\n{line}\n```")
    with pytest.raises((USAGE_ERROR, ConfigError)):
        _parse(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$ cnnjobs demo", ["demo"]),
        ("cnnjobs models --json | jq .", ["models", "--json"]),
        ("cnnjobs models  # lists them", ["models"]),
        ("RAY_ADDRESS=auto cnnjobs demo && ls", ["demo"]),
        (
            "cnnjobs demo \\\n    --epochs 3 \\\n    --seed 1",
            ["demo", "--epochs", "3", "--seed", "1"],
        ),
        ("uv run cnnjobs demo > log.txt", ["demo"]),
        ("ray job submit -- \\\n  python -m jobs.train d -o r", ["train", "d", "-o", "r"]),
        (
            "cnnjobs index x --group-regex '(p[0-9]+)_'",
            ["index", "x", "--group-regex", "(p[0-9]+)_"],
        ),
    ],
)
def test_a_line_is_read_as_a_shell_would(text, words):
    assert list(_command_lines(f"prose\n\n```console\n{text}\n```\n")) == [words]


def test_prose_and_trees_are_not_taken_for_command_lines():
    page = "cnnjobs trains.\n\n```text\ncnnjobs/  the package\npip install cnnjobs\n```\n"
    assert list(_command_lines(page)) == []


def _documented():
    """Yield (file, words after `cnnjobs`) of every command line that a user may copy."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for words in _command_lines(page.read_text(encoding="utf-8")):
            yield str(page.relative_to(ROOT)), words
    for job in sorted((ROOT / "jobs").glob("*.py")):
        text = ast.get_docstring(ast.parse(job.read_text(encoding="utf-8"))) or ""
        for words in _command_lines(f"```\n{text}\n```"):
            yield str(job.relative_to(ROOT)), words


def _command_lines(page):
    for _, block in _FENCED.findall(page):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            match = _COMMAND.match(line)
            if match is None:
                continue
            job, rest = match.groups()
            yield [*([job] if job else []), *_first_command(rest)]


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


def _parse(words):
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
    if kind is not None:
        settings(inner, kind, None)


def _reference(*arguments, script=ROOT / "docs" / "reference.py", **environment):
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
