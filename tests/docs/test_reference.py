"""docs/reference.md, and every command line in the pages, the jobs and the cluster files."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cnnjobs.errors import ConfigError
from tests.support.command_lines import (
    COMMANDS,
    FENCED,
    GROUP,
    PAGES,
    USAGE_ERROR,
    check,
    command_lines,
    documented,
    inline,
)
from tests.support.paths import ROOT

REFERENCE = ROOT / "docs" / "reference.md"


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
    blocks = FENCED.findall(REFERENCE.read_text())
    assert len(blocks) == 1 + len(COMMANDS)
    assert max(len(line) for _, block in blocks for line in block.splitlines()) <= 80


def test_the_committed_reference_is_up_to_date_whatever_the_width_of_the_terminal():
    done = _reference("--check", COLUMNS="200")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_reference_that_is_out_of_date_exits_1_and_says_what_to_run(tmp_path):
    script = tmp_path / "reference.py"
    script.write_text((ROOT / "docs" / "reference.py").read_text())
    complaint = "docs/reference.md is out of date; run: make docs\n"
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
    assert [parameter.name for parameter in command.params if not parameter.help] == []


def test_every_command_for_a_cluster_has_an_example_in_the_pages_and_in_its_script():
    named = {(Path(where).parent.name, words[0]) for where, words in documented()}
    commands = (
        "index", "inspect", "train", "tune", "crossval", "evaluate", "compare", "audit", "explain",
        "predict", "report",
    )  # fmt: skip
    assert named >= {(where, verb) for where in ("docs", "jobs") for verb in commands}


def test_every_manifest_and_unit_has_a_command_line():
    named = {where for where, _ in documented()}
    expected = {"ray-cluster.yaml", "infra/systemd/cnnjobs-predict.service"}
    assert named >= expected | {
        str(file.relative_to(ROOT)) for file in ROOT.glob("infra/ray*job-*")
    }


def test_every_documented_command_line_is_valid(subtests):
    for where, words in documented():
        with subtests.test(f"{where}: cnnjobs {shlex.join(words)}"):
            check(words)


def test_every_command_and_option_named_in_a_sentence_exists(subtests):
    named = [(page, words) for page in PAGES for words in inline(page.read_text(encoding="utf-8"))]
    assert len(named) > 20
    for page, words in named:
        with subtests.test(f"{page.name}: cnnjobs {' '.join(words)}"):
            command = COMMANDS.get(" ".join(words[:2])) or GROUP.commands[words[0]]
            options = [[*param.opts, *param.secondary_opts] for param in command.params]
            known = {"--help"}.union(*options)
            assert {word for word in words if word.startswith("-")} <= known


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
        "python -m cnnjobs predict run data",
        "python -m jobs.nothing data -o run",
        "python -m cnnjobs nothing data -o run",
        "cnnjobs submit train data -o run --epoch 3",
    ],
)
def test_an_invalid_line_in_a_page_is_found(line):
    [words] = command_lines(f"```sh\n{line}\n```")
    with pytest.raises((USAGE_ERROR, ConfigError)):
        check(words)


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
        ("python -m cnnjobs demo", ["demo"]),
        ("ray job submit -- \\\n  python -m jobs.train d -o r", ["train", "d", "-o", "r"]),
        ("ray job submit -- python -m cnnjobs train d", ["train", "d"]),
        (
            "cnnjobs index x --group-regex '(p[0-9]+)_'",
            ["index", "x", "--group-regex", "(p[0-9]+)_"],
        ),
    ],
)
def test_a_line_is_read_as_a_shell_reads_it(text, words):
    assert list(command_lines(f"prose\n\n```console\n{text}\n```\n")) == [words]


def test_prose_and_trees_are_not_command_lines():
    page = "cnnjobs trains.\n\n```text\ncnnjobs/  the package\npip install cnnjobs\n```\n"
    assert list(command_lines(page)) == []


def _reference(*arguments, script=ROOT / "docs" / "reference.py", **environment):
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
