"""What listens at an address, and whether its TLS matches ours: real gRPC servers, no Ray."""

import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

from cnnjobs.cluster import preflight
from cnnjobs.errors import InputError
from tests.support.certificates import Authority

TLS = ("RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TLS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return Authority(tmp_path_factory.mktemp("ours")).variables(HERE)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return Authority(tmp_path_factory.mktemp("theirs")).variables(HERE)


@pytest.fixture(scope="module")
def encrypted(ours: Mapping[str, str]) -> Iterator[str]:
    """A server that requires client certificates, as Ray's do with TLS."""
    cert, key, authority = (Path(ours[name]).read_bytes() for name in TLS[1:])
    credentials = grpc.ssl_server_credentials([(key, cert)], authority, require_client_auth=True)
    with _server() as server:
        port = server.add_secure_port(f"{HERE}:0", credentials)
        server.start()
        yield f"{HERE}:{port}"


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with _server() as server:
        port = server.add_insecure_port(f"{HERE}:0")
        server.start()
        yield f"{HERE}:{port}"


def test_a_server_without_tls_is_reached_from_this_machines_address(plain: str) -> None:
    assert preflight.check_ray(plain) == HERE


def test_a_server_with_our_tls_is_reached(
    encrypted: str, ours: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, ours)
    assert preflight.check_ray(encrypted) == HERE
    monkeypatch.setenv("RAY_USE_TLS", "true")
    assert preflight.check_ray(encrypted) == HERE


def test_a_server_that_requires_tls_is_recognized(encrypted: str) -> None:
    assert _refused(encrypted) == (
        f"{encrypted} requires TLS; set RAY_USE_TLS=1, RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY "
        "and RAY_TLS_CA_CERT, as on the cluster's machines."
    )


def test_certificates_of_another_cluster_are_recognized(
    encrypted: str,
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, theirs)
    assert _refused(encrypted).startswith(f"RAY_TLS_CA_CERT does not verify {encrypted} (")
    monkeypatch.setenv("RAY_TLS_CA_CERT", ours["RAY_TLS_CA_CERT"])
    assert _refused(encrypted) == (
        f"{encrypted} rejects the certificate {theirs['RAY_TLS_SERVER_CERT']}; it must be signed "
        "by that cluster's authority."
    )


def test_tls_on_this_side_only_is_recognized(
    plain: str, ours: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, ours)
    assert _refused(plain) == (
        f"{plain} does not use TLS, but RAY_USE_TLS=1 is set here; unset it, or start the head "
        "with it."
    )


def test_a_web_server_is_not_a_ray_head() -> None:
    with ThreadingHTTPServer((HERE, 0), BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"{HERE}:{server.server_port}"
        assert _refused(address).startswith(f"{address} is not a Ray head; give HOST:PORT")
        server.shutdown()


def test_a_connection_error_is_left_to_the_caller() -> None:
    with socket.socket() as taken:
        # bound but not listening: no other process gets the port
        taken.bind((HERE, 0))
        with pytest.raises(ConnectionRefusedError):
            preflight.check_ray(f"{HERE}:{taken.getsockname()[1]}")


@pytest.mark.parametrize(
    ("changed", "host", "message"),
    [
        (
            {},
            "10.1.2.3",
            "RAY_TLS_CA_CERT does not verify RAY_TLS_SERVER_CERT at 10.1.2.3 (IP address "
            "mismatch, certificate is not valid for '10.1.2.3'); the certificate must be signed "
            "by that authority and name the address.",
        ),
        (
            {"RAY_TLS_SERVER_KEY": "theirs"},
            HERE,
            "RAY_TLS_SERVER_CERT and RAY_TLS_SERVER_KEY must be a certificate and its key, and "
            "RAY_TLS_CA_CERT an authority's certificate, all in PEM format (key values mismatch).",
        ),
        (
            {"RAY_TLS_CA_CERT": "theirs"},
            HERE,
            "RAY_TLS_CA_CERT does not verify RAY_TLS_SERVER_CERT at 127.0.0.1 (certificate "
            "signature failure); the certificate must be signed by that authority and name the "
            "address.",
        ),
        (
            {"RAY_TLS_CA_CERT": "/nowhere"},
            HERE,
            "RAY_USE_TLS=1 needs RAY_TLS_CA_CERT to name a file; got /nowhere.",
        ),
    ],
)
def test_mismatched_files_are_refused_before_a_node_starts(
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    changed: Mapping[str, str],
    host: str,
    message: str,
) -> None:
    _set(monkeypatch, ours)
    preflight.check_tls(HERE)
    for name, value in changed.items():
        monkeypatch.setenv(name, theirs[name] if value == "theirs" else value)
    with pytest.raises(InputError) as refused:
        preflight.check_tls(host)
    assert str(refused.value) == message


def _set(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def _refused(address: str) -> str:
    with pytest.raises(InputError) as refused:
        preflight.check_ray(address)
    return str(refused.value)


@contextmanager
def _server() -> Iterator[grpc.Server]:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        yield server
        server.stop(None).wait()
