"""A proxy in front of a real server that fails as networks and busy servers do."""

import contextlib
import http.client
import os
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

#: Answers instead of the server's.
ANSWERS = {
    "slow down": (503, "SlowDown", "Please reduce your request rate."),
    "internal error": (500, "InternalError", "We encountered an internal error."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "unknown key": (
        403,
        "InvalidAccessKeyId",
        "The key does not exist.",
    ),
    "region": (400, "AuthorizationHeaderMalformed", "the region 'x' is wrong; expecting 'y'"),
}

#: `reset`: the connection breaks before the server hears of it. `lost`: it has done what was asked,
#: and the connection breaks before its answer. `cut`: half of the body, then the connection
#: ends (of a request's body, where it has one). `delay`: the answer comes after DELAY_S.
#: `trickle`: the body comes in pieces of TRICKLE_BYTES, one every 10 ms.
KINDS = (*ANSWERS, "reset", "lost", "cut", "delay", "trickle")
DELAY_S = 0.3
TRICKLE_BYTES = 512


@dataclass
class Rule:
    """Requests whose `METHOD /path?query` matches fail in this way, so many times."""

    kind: str
    pattern: str
    times: float = float("inf")


@dataclass
class FaultProxy:
    """The running proxy; change `rates` and `rules` at any time.

    Attributes:
        endpoint: to be used in place of the server's.
        rates: the share of requests that fail in each way, drawn from the seed.
        rules: tried first, in order.
        injected: faults so far, by kind.
        num_requests: so far.
        latency_s: before each answer.
    """

    endpoint: str
    rates: Mapping[str, float] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    num_requests: int = 0
    latency_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def draw(self, request: str) -> str | None:
        """The fault of one request."""
        with self._lock:
            self.num_requests += 1
            kind = self._drawn(request)
            if kind is not None:
                self.injected[kind] += 1
            return kind

    def _drawn(self, request: str) -> str | None:
        for rule in self.rules:
            if rule.times > 0 and re.search(rule.pattern, request):
                rule.times -= 1
                return rule.kind
        chance = self._random.random()
        for kind, rate in self.rates.items():
            chance -= rate
            if chance < 0:
                return kind
        return None


class _Handler(BaseHTTPRequestHandler):
    """Passes requests on as they are: with the Host that the client has signed."""

    protocol_version = "HTTP/1.1"
    proxy: FaultProxy
    server_address: tuple[str, int]

    def _pass_on(self) -> None:
        fault = self.proxy.draw(f"{self.command} {self.path}")
        length = int(self.headers.get("Content-Length", 0))
        if fault == "reset" or (fault == "cut" and length > 1):
            self.rfile.read(length // 2)
            self._reset()
            return
        body = self.rfile.read(length)
        if fault in ANSWERS:
            self._refuse(*ANSWERS[fault])
            return
        time.sleep(self.proxy.latency_s)
        if fault == "delay":
            time.sleep(DELAY_S)
        status, headers, data = self._ask_server(body)
        if fault == "lost":
            self._reset()
            return
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if fault == "trickle":
            for start in range(0, len(data), TRICKLE_BYTES):
                self.wfile.write(data[start : start + TRICKLE_BYTES])
                time.sleep(0.01)
        elif fault == "cut":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - as http.server wants

    def _ask_server(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection(*self.server_address, timeout=30)
        with contextlib.closing(server):
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            data = answer.read()
        headers = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in ("connection", "transfer-encoding", "content-length")
        ]
        # of a HEAD: the length of what a GET would bring
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        if length is not None and answer.status != 204:
            headers.append(("Content-Length", length))
        return answer.status, headers, data

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _reset(self) -> None:
        """Close without a word: the other side gets `Connection reset by peer`."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    # clients that gave up leave broken pipes: no test's business
    def handle_error(self, *_: object) -> None:
        return


@contextlib.contextmanager
def proxy_of(server: str) -> Iterator[FaultProxy]:
    """A proxy of `http://host:port` while the block runs."""
    host, _, port = server.removeprefix("http://").partition(":")
    handler: Any = type("Handler", (_Handler,), {"server_address": (host, int(port))})
    listener = _Server(("127.0.0.1", 0), handler)
    listener.daemon_threads = True
    handler.proxy = proxy = FaultProxy(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@pytest.fixture
def faults(s3_environment: Callable[..., None]) -> Iterator[FaultProxy]:
    """A proxy, without faults at first, that all S3 requests of the test and its children take."""
    with proxy_of(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        s3_environment(AWS_ENDPOINT_URL=proxy.endpoint)
        yield proxy
