"""The Ray that a job starts for itself, on a machine that is too busy for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from cnnjobs.cluster import node_registry
from tests.support.heads import environment_of_a_user
from tests.support.processes import descendants

#: Delays Ray's agent, without which the raylet ends after 15 s (ray#65983), in the first starts.
_DELAY = """
import pathlib, sys, time
if any("dashboard/agent.py" in word for word in sys.orig_argv):
    left = pathlib.Path(__file__).with_name("left")
    number = int(left.read_text())
    if number:
        left.write_text(str(number - 1))
        time.sleep(60)
"""

_JOB = """
import sys
from cnnjobs.cluster import presence
presence.before_ray("local")
import ray
from cnnjobs.cluster import session
from cnnjobs.errors import CnnjobsError
try:
    with session.connected("local"):
        print(ray.get(ray.remote(lambda: "answers").remote()), flush=True)
        sys.stdin.read()
except CnnjobsError as error:
    print(error, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delayed", "answer", "heads"),
    [
        (1, "answers", 1),
        (
            3,
            "Ray did not start on this machine in 3 attempts (The current node timed out during "
            "startup); run the job again when the machine is less busy, or start Ray first with "
            "`cnnjobs cluster start`.",
            0,
        ),
    ],
)
def test_a_start_that_fails_is_tried_again_and_leaves_no_processes(
    tmp_path: Path, delayed: int, answer: str, heads: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_DELAY)
    (tmp_path / "left").write_text(str(delayed))
    job = subprocess.Popen(
        [sys.executable, "-c", _JOB],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment_of_a_user(HOME=str(tmp_path), PYTHONPATH=str(tmp_path)),
    )
    assert job.stdout is not None
    try:
        assert job.stdout.readline().strip() == answer
        # what was killed and not yet waited for has no birth
        running = [pid for pid in descendants(job.pid) if node_registry.birth(pid) is not None]
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in running]
        assert names.count("gcs_server") == heads
        assert names.count("raylet") == heads
    finally:
        job.communicate("")
    assert job.returncode == 0
