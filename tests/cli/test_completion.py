"""Shell completion: the scripts, their installation, and the words that they complete."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.cli import run_python

#: Each shell's part of the protocol between its script and the program, for `cnnjobs pre<TAB>`.
ASKED = {
    "bash": {"COMP_WORDS": "cnnjobs {}", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "cnnjobs {}"},
    "fish": {"_TYPER_COMPLETE_ARGS": "cnnjobs {}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}
#: Typer detects the shell by its process; with this variable the option takes its name.
NAMED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


@pytest.mark.parametrize("shell", ASKED)
def test_a_script_is_shown_for_each_shell(shell):
    done = run_python("-m", "cnnjobs", "--show-completion", shell, **NAMED)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_CNNJOBS_COMPLETE=complete_" + shell in done.stdout


@pytest.mark.parametrize(
    ("shell", "files"),
    [
        ("bash", [".bashrc", ".bash_completions/cnnjobs.sh"]),
        ("zsh", [".zshrc", ".zfunc/_cnnjobs"]),
        ("fish", [".config/fish/completions/cnnjobs.fish"]),
    ],
)
def test_a_script_is_installed_for_each_shell(tmp_path, shell, files):
    home = {"HOME": str(tmp_path)}
    done = run_python("-m", "cnnjobs", "--install-completion", shell, **NAMED, **home)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{shell} completion installed in {tmp_path / files[-1]}" in done.stdout
    shown = run_python("-m", "cnnjobs", "--show-completion", shell, **NAMED).stdout
    assert (tmp_path / files[-1]).read_text().strip() == shown.strip()
    assert all((tmp_path / file).is_file() for file in files)


@pytest.mark.parametrize("shell", ASKED)
def test_commands_are_completed_for_each_shell(shell):
    asked = {name: value.format("pre") for name, value in ASKED[shell].items()}
    done = run_python("-m", "cnnjobs", _CNNJOBS_COMPLETE=f"complete_{shell}", **asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert "predict-one" in done.stdout
    assert "train" not in done.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("cnnjobs tr", ["train"]),
        ("cnnjobs cluster st", ["start", "stop", "status"]),
        ("cnnjobs train --s3-an", ["--s3-anonymous"]),
        ("cnnjobs predict run data --rows", ["--rows-per-file"]),
    ],
)
def test_bash_completes_commands_and_options(tmp_path, words, completed):
    script = run_python("-m", "cnnjobs", "--show-completion", "bash", **NAMED).stdout
    program = tmp_path / "cnnjobs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cnnjobs "$@"\n')
    program.chmod(0o755)
    parts = words.split()
    asked = (
        f"{script}\nCOMP_WORDS=({words}); COMP_CWORD={len(parts) - 1}\n"
        f"_cnnjobs_completion {program} {parts[-1]} {parts[-2]}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == completed


@pytest.mark.parametrize("shell", [shell for shell in ASKED if shutil.which(shell)])
def test_the_shell_that_runs_it_is_detected(shell):
    # two commands, lest the shell replace itself by the program
    line = f"{sys.executable} -m cnnjobs --show-completion && true"
    done = subprocess.run(
        [shell, "-c", line], capture_output=True, text=True, check=True, env=os.environ
    )
    assert f"complete_{shell}" in done.stdout
