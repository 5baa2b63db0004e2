"""The scripts in jobs/, which `ray job submit` runs."""

import sys

import pytest

from tests.support.cli import run_here, run_python
from tests.support.command_lines import GROUP
from tests.support.paths import ROOT

JOBS = (
    "audit", "compare", "crossval", "evaluate", "explain", "index", "inspect", "predict",
    "report", "train", "tune",
)  # fmt: skip
#: Modules that cannot be named as their command.
MODULES = {"inspect": "inspection"}


def test_every_command_for_a_cluster_has_a_script_of_at_most_20_lines():
    files = {file.stem: file for file in (ROOT / "jobs").glob("*.py") if file.stem != "__init__"}
    assert sorted(files) == sorted(MODULES.get(verb, verb) for verb in JOBS)
    # a script run by its path imports its neighbors before the standard library
    assert not set(files) & sys.stdlib_module_names
    for file in files.values():
        assert len(file.read_text().splitlines()) <= 20
    others = {
        *("cluster", "demo", "doctor", "fetch", "jobs", "models", "predict-one", "submit"),
        *("bundle", "export", "import", "quantize", "verify"),
    }
    assert set(GROUP.commands) == {*JOBS, *others}


@pytest.mark.parametrize("verb", JOBS)
def test_a_script_has_the_options_of_its_command(capsys, verb):
    done = run_python("-m", f"jobs.{MODULES.get(verb, verb)}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_here(capsys, verb, "--help")[1]


def test_a_script_exits_with_the_code_of_its_command(tmp_path):
    done = run_python("-m", "jobs.index", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet")
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("", f"error: {tmp_path}/absent does not exist.\n")
