"""Run the command line in this process, or Python in another."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from cnnjobs.cli import main
from tests.support.paths import ROOT

_END_OF_PLAN = "\ndry run: nothing was written.\n"


#: How far a job is, which is logged every 30 seconds: never on a machine that is fast enough.
_PROGRESS = re.compile(r"^\S+ \S+ INFO +\w+: [\d,]+ of [\d,]+.*\n", re.MULTILINE)


def without_progress(printed: str) -> str:
    """The lines but for those that depend on how long the job took."""
    return _PROGRESS.sub("", printed)


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
