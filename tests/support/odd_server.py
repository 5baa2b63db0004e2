"""A server that answers every request as a test says, for what no real S3 server would do."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Answer = tuple[int, Mapping[str, str], bytes]


#: What S3 says once a key was revoked.
NO_KEY: Answer = (
    403,
    {"Content-Type": "application/xml"},
    b"<Error><Code>InvalidAccessKeyId</Code><Message>it does not exist</Message></Error>",
)


@dataclass
class OddServer:
    """The running server; set `answer`, which takes method and path.

    Attributes:
        endpoint: of the server.
        answer: status, headers and body for a request.
        requests: method, path and headers of each so far.
    """

    endpoint: str
    answer: Callable[[str, str], Answer] = lambda method, path: (404, {}, b"")
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    odd: OddServer

    def _respond(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.odd.requests.append((self.command, self.path, dict(self.headers)))
        status, headers, body = self.odd.answer(self.command, self.path)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _respond  # noqa: N815 - as http.server wants

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def odd(s3_environment: Callable[..., None]) -> Iterator[OddServer]:
    """A server that all S3 requests of the test go to."""
    handler = type("Handler", (_Handler,), {})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listener.daemon_threads = True
    handler.odd = server = OddServer(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    s3_environment(
        AWS_ENDPOINT_URL=server.endpoint,
        AWS_REQUEST_CHECKSUM_CALCULATION=None,
        AWS_RESPONSE_CHECKSUM_VALIDATION=None,
    )
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
