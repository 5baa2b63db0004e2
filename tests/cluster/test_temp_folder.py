"""The temporary folder of a job's own Ray is deleted, also after the job was killed."""

import subprocess
import sys
from pathlib import Path

from cnnjobs.cluster import temp_folder
from tests.support.heads import environment_of_a_user

#: Has a folder until it is killed.
_HOLDS = """
import sys
from pathlib import Path
from cnnjobs.cluster import temp_folder
with temp_folder.made(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_private_and_deleted_at_the_end(tmp_path: Path) -> None:
    with temp_folder.made(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "ray").mkdir()
    assert not folder.exists()


def test_the_folder_of_a_killed_job_is_deleted_and_that_of_a_running_one_is_not(
    tmp_path: Path,
) -> None:
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", _HOLDS, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_of_a_user(),
        )
        for _ in range(2)
    ]
    killed, running = jobs
    left, used = (Path(job.stdout.readline().strip()) for job in jobs if job.stdout)
    killed.kill()
    killed.communicate()
    assert left.exists()
    # nobody knows whose these are
    foreign = tmp_path / "cj-foreign"
    foreign.mkdir()
    (tmp_path / "cj-link").symlink_to(used)

    with temp_folder.made(tmp_path):
        assert not left.exists()
        assert used.exists()
        assert foreign.exists()
    running.communicate("")
    assert not used.exists()
