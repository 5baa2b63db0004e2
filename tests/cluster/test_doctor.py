"""What doctor reports of faulty heads; `test_head.py` has a healthy one."""

import importlib.metadata
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray

from cnnjobs.cluster import auth_token, doctor
from cnnjobs.config import DoctorConfig
from cnnjobs.errors import ConfigError
from cnnjobs.storage import filesystem
from tests.support.heads import cnnjobs


class _OldHead(BaseHTTPRequestHandler):
    """Answers like the head of an older Ray that requires no token."""

    def do_GET(self) -> None:
        body = json.dumps({"version": "4", "ray_version": "2.40.0", "session_name": "s"}).encode()
        self.send_response(200 if self.path == "/api/version" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


@pytest.fixture
def old_head() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _OldHead) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    auth_token.ensure()


def test_another_version_and_an_open_cluster_are_reported_with_a_fix(
    old_head: str, tmp_path: Path
) -> None:
    # in a separate process: Ray keeps the first token it finds for the life of a process
    done = cnnjobs("doctor", old_head, HOME=str(tmp_path))
    here = ray.__version__
    assert done.returncode == 1
    assert done.stdout.splitlines()[:5] == [
        f"ok   reachable  {old_head}",
        f"BAD  Ray        2.40.0 there, {here} here",
        f"                fix: install Ray 2.40.0 here, or {here} on all machines of the cluster",
        "BAD  token      not required: anyone who can reach the cluster can run code on it",
        "                fix: start its nodes with `cnnjobs cluster start`, or with "
        "RAY_AUTH_MODE=token",
    ]
    assert any(line.startswith("BAD  jobs") for line in done.stdout.splitlines())


def test_a_missing_head_is_one_bad_check_and_exit_code_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        # bound but not listening: nothing answers, and no other process gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = cnnjobs("doctor", url, HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == (
        "BAD  reachable  no\n"
        f"                fix: no head answers at {url} (Connection refused); start one with "
        "`cnnjobs cluster start --head`, or give --address http://HEAD:8265.\n"
    )
    assert done.stderr == ""


def test_an_address_that_is_not_a_url_is_refused() -> None:
    refused = cnnjobs("doctor", "head:6379")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: head:6379 is not the URL of a job server; give --address http://HEAD:8265.\n",
    )


def test_an_invalid_s3_uri_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        DoctorConfig(s3_uri="bucket")
    assert str(refused.value) == "s3_uri must be s3://bucket/prefix, got bucket."


@pytest.mark.parametrize(
    ("name", "ok", "found"),
    [
        ("archive", True, "{s3}/archive can be listed from here"),
        ("nothing", False, "nothing is under {s3}/nothing"),
    ],
)
def test_an_s3_prefix_is_listed_with_the_keys_of_this_machine(
    s3: str, old_head: str, tmp_path: Path, name: str, ok: bool, found: str
) -> None:
    filesystem.write_bytes(f"{s3}/archive/a.png", b"image")
    done = cnnjobs("doctor", old_head, "--s3", f"{s3}/{name}", "--json", HOME=str(tmp_path))
    first = json.loads(done.stdout)["checks"][0]
    assert first["name"] == "S3"
    assert (first["ok"], first["found"]) == (ok, found.format(s3=s3))


def test_packages_with_other_versions_are_named() -> None:
    keras = importlib.metadata.version("keras")
    check = doctor.packages({"keras": "3.0.0", "ray": ray.__version__, "cnnjobs": None})
    assert (check.ok, check.found) == (False, f"keras 3.0.0 ({keras} here)")
