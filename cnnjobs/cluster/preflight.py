"""Check that a Ray answers at an address, and that both sides agree on TLS.

Ray itself would retry for minutes and then not say why it failed.
"""

import contextlib
import os
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cnnjobs.errors import InputError

#: Ray's variables for its certificate, its key and the authority's certificate.
FILES = _CERT, _KEY, _AUTHORITY = "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"

#: How an HTTP/2 client such as gRPC begins: a fixed line and empty settings. Every server answers
#: with its settings.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS, _TYPE_AT = 4, 3

_TIMEOUT_S = 10


def uses_tls() -> bool:
    """Whether Ray encrypts, parsed from its environment variable as Ray does."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def check_tls(host: str | None = None) -> None:
    """Raise InputError if Ray's TLS is on and its files are missing or do not match.

    Args:
        host: address of this machine that the certificate must name; None if it serves nothing.
    """
    if not uses_tls():
        return
    for name in FILES:
        file = os.environ.get(name)
        if not file or not Path(file).is_file():
            found = f"got {file}" if file else "it is not set"
            raise InputError(f"RAY_USE_TLS=1 needs {name} to name a file; {found}.")
    client = _context(ssl.PROTOCOL_TLS_CLIENT)
    if host is None:
        return
    try:
        _handshake(client, _context(ssl.PROTOCOL_TLS_SERVER), host)
    except ssl.SSLError as error:
        raise InputError(
            f"{_AUTHORITY} does not verify {_CERT} at {host} ({_why(error)}); the certificate "
            "must be signed by that authority and name the address."
        ) from error


def check_ray(address: str) -> str:
    """Check that a Ray listens at `HOST:PORT`, with or without TLS as in this environment.

    Returns:
        The address of this machine from which it is reached.

    Raises:
        InputError: the address is invalid, something else listens there, or its TLS differs.
        OSError: nothing answers.
    """
    check_tls()
    host, port = _parsed(address)
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
        here = str(connection.getsockname()[0])
        answer = _encrypted(connection, address, host) if uses_tls() else _greeted(connection)
    if len(answer) > _TYPE_AT and answer[_TYPE_AT] == _SETTINGS:
        return here
    if uses_tls():
        raise InputError(
            f"{address} rejects the certificate {os.environ[_CERT]}; it must be signed by that "
            "cluster's authority."
        )
    if _server_uses_tls(host, port):
        raise InputError(
            f"{address} requires TLS; set RAY_USE_TLS=1, {_CERT}, {_KEY} and {_AUTHORITY}, as on "
            "the cluster's machines."
        )
    raise InputError(
        f"{address} is not a Ray head; give HOST:PORT as printed when the head started, by default "
        "HEAD:6379 (for `cnnjobs submit`, http://HEAD:8265)."
    )


def _parsed(address: str) -> tuple[str, int]:
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{address}")
        if parts.hostname and parts.port and not parts.path:
            return parts.hostname, parts.port
    raise InputError(
        f"{address} is not the address of a Ray head; give HOST:PORT as printed when the head "
        "started, by default HEAD:6379."
    )


def _encrypted(connection: socket.socket, address: str, host: str) -> bytes:
    """The server's answer through TLS; empty if it rejects our certificate."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    try:
        with context.wrap_socket(connection, server_hostname=host) as encrypted:
            return _greeted(encrypted)
    except ssl.SSLCertVerificationError as error:
        raise InputError(
            f"{_AUTHORITY} does not verify {address} ({_why(error)}); all machines of a cluster "
            "need certificates from one authority that name their addresses."
        ) from error
    except (ssl.SSLError, ConnectionError) as error:
        raise InputError(
            f"{address} does not use TLS, but RAY_USE_TLS=1 is set here; unset it, or start the "
            "head with it."
        ) from error


def _greeted(connection: socket.socket) -> bytes:
    """The first bytes of the answer to a greeting; empty if the connection ends."""
    try:
        connection.sendall(_GREETING)
        return connection.recv(9)
    except (ssl.SSLError, ConnectionError):
        return b""


def _server_uses_tls(host: str, port: int) -> bool:
    """Whether a server uses TLS. Its certificate is not verified, because nothing is sent to it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # like any gRPC client: without it Ray ends the connection
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            context.wrap_socket(connection, server_hostname=host).close()
    except OSError:
        return False
    return True


def _context(protocol: int) -> ssl.SSLContext:
    """A context for either end of Ray's TLS: both present a certificate of the same authority."""
    context = ssl.SSLContext(protocol)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(os.environ[_AUTHORITY])
        # an empty password, so that OpenSSL does not prompt; Ray does not support one either
        context.load_cert_chain(os.environ[_CERT], os.environ[_KEY], password="")
    except ssl.SSLError as error:
        raise InputError(
            f"{_CERT} and {_KEY} must be a certificate and its key, and {_AUTHORITY} an "
            f"authority's certificate, all in PEM format ({_why(error)})."
        ) from error
    return context


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> None:
    """Perform a TLS handshake in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in tuple(ends):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                ends.remove(end)


def _why(error: ssl.SSLError) -> str:
    """OpenSSL's reason, without the location in its source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return str(error.reason or error).lower().replace("_", " ")
