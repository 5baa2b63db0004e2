"""The Ray that a job starts for itself: nobody else reaches it or reads what it leaves."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.heads import CNNJOBS, environment_of_a_user, python
from tests.support.processes import descendants, listening, training_workers

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


#: A job in a process that has imported Ray for another reason.
_LATE = """
import ray
from cnnjobs.cluster import presence, session
print(ray.util.get_node_ip_address(), flush=True)
presence.before_ray("local")
with session.connected("local"):
    pass
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
    assert not _of_others(facts["ports"])


@pytest.mark.slow
def test_of_two_workers_that_train_on_it_only_tensorflow_listens_elsewhere(
    archive: Path, tmp_path: Path
) -> None:
    words = ["train", str(archive), "-o", str(tmp_path / "run"), "--workers", "2"]
    process = subprocess.Popen(
        [*CNNJOBS, *words, "--model", "digits", "--epochs", "3", "--address", "local"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment_of_a_user(HOME=str(tmp_path)),
    )
    ports: set[str] = set()
    by_workers: set[str] = set()
    while process.poll() is None:
        ports |= listening([process.pid, *descendants(process.pid)])
        by_workers |= listening(training_workers(process.pid))
        time.sleep(0.5)
    assert process.returncode == 0, process.communicate()[0]
    # TensorFlow's server takes no address: see docs/security.md
    assert len(_of_others(ports)) == 2
    assert _of_others(ports) <= by_workers
    assert len(by_workers) > 2


def test_its_token_and_temporary_folder_are_private_and_the_folder_is_deleted(
    facts: dict[str, object],
) -> None:
    assert (facts["token"], facts["folder"]) == (0o600, 0o700)
    assert (facts["code"], facts["left"]) == (0, False)


def test_it_is_refused_where_it_would_listen_on_other_addresses() -> None:
    done = python(_LATE)
    own = done.stdout.strip()
    if not _of_others({own}):
        pytest.skip("this machine has no address but loopback")
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"InputError: Ray was imported before this job, so a Ray of its own would listen on {own}; "
        "call ray.init() first, name a cluster by its address, or set "
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before Ray is imported.\n"
    )


def _of_others(ports: set[str]) -> set[str]:
    """The addresses that other machines could reach."""
    return {port for port in ports if not port.startswith(("127.", "::1:"))}
