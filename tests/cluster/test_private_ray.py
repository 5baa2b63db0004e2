"""The Ray that a job starts for itself: nobody else reaches it or reads what it leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.heads import environment_of_a_user
from tests.support.processes import descendants, listening

#: A job that has used its Ray, and waits until its input ends.
_JOB = """
import sys
from cnnjobs.cluster import presence
presence.before_ray("local")
import ray
from cnnjobs.cluster import session
with session.connected("local"):
    ray.get(ray.remote(lambda: None).remote())
    print(ray.nodes()[0]["ObjectStoreSocketName"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What is seen of a running job: its ports, the modes of its files, what it leaves."""
    home = tmp_path_factory.mktemp("home")
    process = subprocess.Popen(
        [sys.executable, "-c", _JOB],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment_of_a_user(HOME=str(home)),
    )
    assert process.stdout is not None
    store = Path(process.stdout.readline().strip())
    ports = listening([process.pid, *descendants(process.pid)])
    # FOLDER/ray/session/sockets/plasma_store
    folder = store.parents[3]
    token = home / ".ray" / "auth_token"
    seen = {
        "ports": ports,
        "folder": folder.stat().st_mode & 0o777,
        "token": token.stat().st_mode & 0o777,
    }
    process.communicate("")
    return {**seen, "code": process.returncode, "left": folder.exists()}


def test_it_listens_on_loopback_only(facts: dict[str, set[str]]) -> None:
    assert facts["ports"]
    others = {port for port in facts["ports"] if not port.startswith(("127.", "::1:"))}
    assert not others


def test_its_token_and_temporary_folder_are_private_and_the_folder_is_deleted(
    facts: dict[str, object],
) -> None:
    assert (facts["token"], facts["folder"]) == (0o600, 0o700)
    assert (facts["code"], facts["left"]) == (0, False)
