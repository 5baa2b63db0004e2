"""`--help`, `--version`, and what importing the command line costs."""

import json
import re

import pytest

import cnnjobs
from cnnjobs.cli.help_page import HEADINGS
from tests.support.cli import run_here, run_python
from tests.support.command_lines import COMMANDS, GROUP

#: Each takes from 0.05 s (rich) to 5 s (tensorflow) to import.
HEAVY = {
    "boto3", "cv2", "keras", "matplotlib", "numpy", "pandas", "pyarrow", "ray", "rich", "sklearn",
    "tensorflow",
}  # fmt: skip


def test_help_and_models_import_nothing_slow():
    lines = [["--help"], ["--version"], *([*name.split(), "--help"] for name in COMMANDS)]
    program = (
        "import contextlib, io, json, sys\n"
        "from cnnjobs.cli import main\n"
        f"for line in {[*lines, ['models'], ['--show-completion']]!r}:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        main(line)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = run_python("-c", program)
    imported = set(json.loads(done.stdout))
    assert "typer" in imported
    assert imported & HEAVY == set()


def test_help_lists_every_command_with_its_first_line(capsys):
    code, out, err = run_here(capsys, "--help")
    assert (code, err) == (0, "")
    for name, command in GROUP.commands.items():
        first = command.help.splitlines()[0]
        assert f"  {name:<11}  {first}\n" in out


@pytest.mark.parametrize("name", ["train", "jobs", "jobs list"])
def test_short_and_long_help_are_the_same(capsys, name):
    words = name.split()
    assert run_here(capsys, *words, "-h") == run_here(capsys, *words, "--help")


def test_the_version_is_printed_alone(capsys):
    assert run_here(capsys, "--version") == (0, f"{cnnjobs.__version__}\n", "")


def test_without_a_command_help_is_shown_and_the_exit_code_is_2(capsys):
    code, out, err = run_here(capsys)
    assert code == 2
    assert out + err == run_here(capsys, "--help")[1]


def test_python_m_cnnjobs_is_the_same_program(capsys):
    done = run_python("-m", "cnnjobs", "train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_here(capsys, "train", "--help")[1]
    assert done.stdout.startswith("Usage: cnnjobs train ")


@pytest.mark.parametrize("name", ["train", "tune", "crossval", "predict", "evaluate", "index"])
def test_a_long_page_lists_each_option_once_under_a_heading(capsys, name):
    _, page, _ = run_here(capsys, name, "--help")
    headings = re.findall(r"^(\w.*):$", page, re.MULTILINE)
    assert headings[0] == "Arguments"
    assert headings[1:] == [heading for heading in HEADINGS if heading in headings]
    assert len(headings) > 4
    _, options = page.split("\nArguments:\n")
    listed = re.findall(r"^  (?:-\w, )?(--[\w-]+)", options, re.MULTILINE)
    known = [parameter for parameter in COMMANDS[name].params if parameter.opts[0][0] == "-"]
    assert sorted(listed) == sorted([max(each.opts, key=len) for each in known] + ["--help"])


def test_the_options_of_a_training_are_under_the_heading_that_fits(capsys):
    _, page, _ = run_here(capsys, "train", "--help")
    under = dict(re.findall(r"^(\w.*):\n((?:  .*\n)+)", page, re.MULTILINE))
    assert "--resume" in under["Output"]
    assert "--weights" in under["Model"]
    assert "--augment" in under["Images"]
    assert "--learning-rate" in under["Training"]
    assert "--threshold-rule" in under["Model selection and threshold"]
    assert "--workers" in under["Workers and hardware"]
    assert "--s3-endpoint" in under["S3"]
    assert "--dry-run" in under["General"]


def test_every_heading_of_an_option_is_a_known_one():
    panels = {
        parameter.rich_help_panel
        for command in COMMANDS.values()
        for parameter in command.params
        if parameter.rich_help_panel is not None
    }
    assert panels == set(HEADINGS) - {"General"}


def test_a_short_page_is_one_list(capsys):
    _, page, _ = run_here(capsys, "jobs", "list", "--help")
    assert re.findall(r"^(\w.*):$", page, re.MULTILINE) == ["Options"]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_help_page_is_wider_than_80_columns_or_has_loose_ends(capsys, name):
    code, page, err = run_here(capsys, *name.split(), "--help")
    assert (code, err) == (0, "")
    lines = page.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
