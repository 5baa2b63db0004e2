"""Run the command line in this process, or Python in another."""

import os
import subprocess
import sys

import pytest
import yaml

from cnnjobs.cli import main
from tests.support.paths import ROOT

_END_OF_PLAN = "\ndry run: nothing was written.\n"


def run_here(capsys, *words):
    """Run a command line here; return its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return (ended.value.code, *capsys.readouterr())


def run_python(*arguments, **environment):
    """Run Python in another process, with these variables and those of this one."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def plan_of(output):
    """The settings and the plan that `--dry-run` printed."""
    assert output.endswith(_END_OF_PLAN)
    return yaml.safe_load(output.removesuffix(_END_OF_PLAN))
