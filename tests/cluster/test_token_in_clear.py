"""The token over plain HTTP: refused to another machine, and not carried on by a redirection."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.heads import CNNJOBS, cnnjobs, running_head
from tests.support.hosts import Host, hosts, why_not
from tests.support.paths import ROOT
from tests.support.processes import wait_until

#: A head that requires a token, or redirects to another URL; it writes down the tokens it gets.
_HEAD = """
import json, socket, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
address, port, log, target = sys.argv[1:]
class Head(BaseHTTPRequestHandler):
    def do_GET(self):
        token = self.headers.get("Authorization")
        with open(log, "a") as file:
            print("request", token, file=file)
        if token is None:
            self.send_error(401)
        elif target:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
        else:
            body = json.dumps({"ray_version": "2.60.0", "session_name": "s"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
if ":" in address:
    ThreadingHTTPServer.address_family = socket.AF_INET6
server = ThreadingHTTPServer((address, int(port)), Head)
print("at", server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Host, Path]]:
    """A laptop with a token, and what the head at 10.89.0.1:8265 gets from it."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": _home(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path / "requests.txt"
    with ExitStack() as stack:
        head, laptop = stack.enter_context(hosts(2, environment))
        words = [sys.executable, "-c", _HEAD, head.address, "8265", str(log), ""]
        out = tmp_path / "head.txt"
        server = head.start(words, out)
        stack.callback(server.wait)
        stack.callback(server.kill)
        wait_until(lambda: "at 8265" in out.read_text())
        yield laptop, log


@pytest.mark.parametrize(
    "words", [["submit", "--address"], ["doctor"], ["jobs", "list", "--address"]], ids="-".join
)
def test_no_token_is_sent_in_clear_text_to_another_machine(
    machines: tuple[Host, Path], words: list[str]
) -> None:
    laptop, log = machines
    url = "http://10.89.0.1:8265"
    index = ["index", "a", "-o", "b.parquet"] if words[0] == "submit" else []
    done = laptop.run(*CNNJOBS, *words, url, *index)
    assert done.returncode == (1 if words == ["doctor"] else 2)
    assert (
        f"{url} is not encrypted: whoever reads the token on its way can run code on the cluster; "
        "open a tunnel, `ssh -N -L 8265:10.89.0.1:8265 10.89.0.1`, and give --address "
        "http://127.0.0.1:8265, or use https://, or --insecure."
    ) in done.stdout + done.stderr
    assert "a-secret" not in log.read_text()

    if words == ["doctor"]:
        laptop.run(*CNNJOBS, *words, url, "--insecure")
        assert "Bearer a-secret" in log.read_text()


def test_a_redirection_does_not_carry_the_token_elsewhere(tmp_path: Path) -> None:
    log, other_log = tmp_path / "requests.txt", tmp_path / "others.txt"
    home = _home(tmp_path)
    with ExitStack() as stack:
        target = stack.enter_context(_server(other_log, ""))
        url = stack.enter_context(_server(log, f"{target}/api/version"))
        done = cnnjobs("jobs", "list", "--address", url, HOME=home)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {url} answers, but not as the head of a cluster: it answers 302.\n",
    )
    assert "Bearer a-secret" in log.read_text()
    assert not other_log.exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_proxy_is_not_given_what_goes_to_this_machine(address: str, tmp_path: Path) -> None:
    log, proxy_log = tmp_path / "requests.txt", tmp_path / "of_the_proxy.txt"
    home = _home(tmp_path)
    with ExitStack() as stack:
        proxy = stack.enter_context(_server(proxy_log, ""))
        url = stack.enter_context(_server(log, "", address))
        for words in (["jobs", "list", "--address", url], ["doctor", url]):
            cnnjobs(*words, HOME=home, **_proxies(proxy))
    assert log.read_text().count("Bearer a-secret") >= 2
    assert not proxy_log.exists()


@pytest.mark.slow
def test_a_head_is_started_and_looked_at_without_the_proxy(tmp_path: Path) -> None:
    proxy_log = tmp_path / "of_the_proxy.txt"
    with (
        _server(proxy_log, "") as proxy,
        running_head(tmp_path / "home", **_proxies(proxy)) as head,
    ):
        status = json.loads(head.cnnjobs("cluster", "status", "--json").stdout)
    assert status["nodes"][0]["cluster"]["cpus"] == 2
    # Ray's own processes may send it something, without a token
    assert not proxy_log.exists() or "Bearer" not in proxy_log.read_text()


def _home(folder: Path, token: bytes = b"a-secret") -> str:
    """A home directory with this token."""
    file = folder / "home" / ".ray" / "auth_token"
    file.parent.mkdir(parents=True)
    file.write_bytes(token)
    return str(folder / "home")


def _proxies(url: str) -> dict[str, str]:
    return {"http_proxy": url, "HTTP_PROXY": url, "no_proxy": "", "NO_PROXY": ""}


@pytest.mark.parametrize(
    "token", [b"\xff\xfe", "\N{EURO SIGN}".encode(), b"a\nb\n", b"a\0b", b"\xef\xbb\xbfa"]
)
def test_a_token_that_cannot_be_one_is_named(token: bytes, tmp_path: Path) -> None:
    home = _home(tmp_path, token)
    with _server(tmp_path / "requests.txt", "") as url:
        done = cnnjobs("jobs", "list", "--address", url, HOME=home)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: the token {home}/.ray/auth_token is not one line of ASCII characters; copy that "
        "of the head again, or remove it.\n",
    )


def test_an_address_may_be_copied_from_a_browser(tmp_path: Path) -> None:
    with _server(tmp_path / "requests.txt", "") as url:
        done = cnnjobs("doctor", f"{url}/#/jobs", HOME=_home(tmp_path))
    assert f"ok   reachable  {url}\n" in done.stdout


@contextmanager
def _server(log: Path, target: str, address: str = "127.0.0.1") -> Iterator[str]:
    """The head above, on this machine; yields its URL."""
    words = [sys.executable, "-c", _HEAD, address, "0", str(log), target]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        host = f"[{address}]" if ":" in address else address
        yield f"http://{host}:{int(process.stdout.readline().split()[1])}"
    finally:
        process.kill()
        process.communicate()
