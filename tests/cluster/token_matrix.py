"""Every combination of a head, a token file, RAY_AUTH_MODE and a way to use the head, as a table:

python -m tests.cluster.token_matrix
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from cnnjobs.cluster import machine
from cnnjobs.data import synthetic
from tests.support import archives
from tests.support.heads import CNNJOBS, environment_of_a_user
from tests.support.paths import ROOT
from tests.support.processes import descendants, kill_all, wait_until

RAY = Path(sys.executable).with_name("ray")
HEADS = ("without a token", "with a token")
FILES = {"no file": None, "empty file": "", "its token": "a" * 64, "another's token": "b" * 64}
MODES = ("unset", "token", "disabled")
WAYS = ("driver", "submit", "ray job submit")

#: A job: a process of Ray asks the driver for a value, as those of Ray Data do.
_JOB = """
import sys
from cnnjobs.cluster import presence
presence.before_ray(None)
import ray
from cnnjobs.cluster import session
from cnnjobs.errors import CnnjobsError
try:
    with session.connected():
        task = ray.remote(num_cpus=0, max_retries=0)(lambda refs: ray.get(refs[0], timeout=60))
        print("it", ray.get(task.remote([ray.put("works")])))
except CnnjobsError as error:
    sys.exit(f"error: {error}")
"""


@dataclass(frozen=True)
class PlainHead:
    """A head of `ray start --head`, and the home folder of who uses it."""

    jobs: str
    home: Path
    #: Where Ray records the address.
    tmp: Path

    def used(self, way: str, file: str, mode: str) -> str:
        """The output of a job: `it works`, or why not."""
        token = self.home / ".ray" / "auth_token"
        token.parent.mkdir(exist_ok=True)
        token.unlink(missing_ok=True)
        if (text := FILES[file]) is not None:
            token.write_text(text)
        more = {"HOME": str(self.home), **({} if mode == "unset" else {"RAY_AUTH_MODE": mode})}
        if way == "driver":
            # the address is found as that of a plain `ray start --head` is
            more["RAY_TMPDIR"] = str(self.tmp)
        done = subprocess.run(
            self._words(way),
            env=environment_of_a_user(**more),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def _words(self, way: str) -> list[str]:
        if way == "driver":
            return [sys.executable, "-c", _JOB]
        if way == "submit":
            scored = (str(self.home / name) for name in ("bundle", "images", "run"))
            bundle, images, run = scored
            words = ["predict", bundle, images, "-o", run, "--overwrite"]
            return [*CNNJOBS, "submit", "--address", self.jobs, *words]
        path = json.dumps({"env_vars": {"PYTHONPATH": str(ROOT)}})
        script = [sys.executable, "-c", _JOB]
        return [
            *(str(RAY), "job", "submit", "--address", self.jobs),
            *("--runtime-env-json", path, "--", *script),
        ]


@contextmanager
def plain_head(kind: str) -> Iterator[PlainHead]:
    """Start a head in a home folder of its own; its token, if any, is `its token`."""
    # sockets have short names only
    folder = Path(tempfile.mkdtemp(prefix="cj-"))
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    archives.write_bundle(str(home / "bundle"))
    synthetic.write_archive(home / "images", num_images=4, num_broken=0, seed=1)
    # as in an activated environment: jobs run its `python`
    variables = {"HOME": str(home), "PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}"}
    if kind == "with a token":
        (home / ".ray" / "auth_token").write_text(str(FILES["its token"]))
        variables["RAY_AUTH_MODE"] = "token"
    port, jobs_port, client_port, agent_port = map(str, machine.free_ports(4))
    log = folder / "start.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(str(RAY), "start", "--head", "--block", "--disable-usage-stats"),
                *("--num-cpus", "1", "--temp-dir", str(folder / "ray"), "--port", port),
                *("--dashboard-port", jobs_port, "--ray-client-server-port", client_port),
                *("--dashboard-agent-listen-port", agent_port),
                *("--object-store-memory", "100000000"),
                *("--min-worker-port", "0", "--max-worker-port", "0"),
            ],
            env=environment_of_a_user(**variables),
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(lambda: process.poll() is not None or "Ray runtime started" in log.read_text())
        assert process.poll() is None, log.read_text()
        wait_until(lambda: _is_listening(int(jobs_port)))
        yield PlainHead(f"http://127.0.0.1:{jobs_port}", home, folder)
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
        kill_all(below)
        shutil.rmtree(folder, ignore_errors=True)


def _is_listening(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def is_as_expected(kind: str, file: str, mode: str, way: str, output: str) -> bool:
    """A head without a token takes every job; one with a token the right one, or names it."""
    works = "it works" in output or "succeeded" in output
    is_sent = file == "its token" and mode != "disabled"
    if way == "ray job submit":
        # Ray's own client sends a token only in this mode, in which it demands one
        is_sent = is_sent and mode == "token"
        is_missing = file in ("no file", "empty file") and mode == "token"
    else:
        is_missing = False
    if is_sent or (kind == "without a token" and not is_missing):
        return works
    return not works and "token" in output.lower()


def _verdict(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    if "it works" in output or "succeeded" in output:
        return "works"
    telling = [line for line in lines if "token" in line.lower()] or lines
    return telling[0].strip()[:60]


if __name__ == "__main__":
    for kind in HEADS:
        with plain_head(kind) as head:
            for file, mode, way in product(FILES, MODES, WAYS):
                output = head.used(way, file, mode)
                good = "ok " if is_as_expected(kind, file, mode, way, output) else "BAD"
                line = f"{good} {kind:<16} {file:<16} {mode:<9} {way:<15} {_verdict(output)}"
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
