"""Whether a Ray can be reached at an address, and spoken to: by its TLS, or without.

Ray itself tries for minutes where it is not understood, and then does not say why.
"""

import contextlib
import os
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cnnjobs.errors import InputError

_CERT, _KEY, _AUTHORITY = "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"

#: How a client of HTTP/2, which Ray's gRPC is, begins: a fixed line and empty settings. Any server
#: answers with settings of its own.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS, _TYPE_AT = 4, 3

_PATIENCE_S = 10


def uses_tls() -> bool:
    """Whether Ray is told to encrypt; it reads the variable so."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def check_tls(host: str | None = None) -> None:
    """Raise InputError where Ray's TLS is on and its files are missing or do not fit.

    Args:
        host: address of this machine that the certificate must name; None of one that serves
            nothing.
    """
    if not uses_tls():
        return
    for name in (_CERT, _KEY, _AUTHORITY):
        file = os.environ.get(name)
        if not file or not Path(file).is_file():
            given = f"got {file}" if file else "it is not set"
            raise InputError(f"RAY_USE_TLS=1 needs {name} to name a file; {given}.")
    client = _context(ssl.PROTOCOL_TLS_CLIENT)
    if host is None:
        return
    try:
        _handshake(client, _context(ssl.PROTOCOL_TLS_SERVER), host)
    except ssl.SSLError as error:
        raise InputError(
            f"{_AUTHORITY} does not vouch for {_CERT} at {host} ({_why(error)}); the certificate "
            "must be signed by that authority and name the address."
        ) from error


def check_ray(address: str) -> str:
    """See that a Ray listens at `HOST:PORT` which this environment can speak to.

    Returns:
        The address of this machine that reaches it.

    Raises:
        InputError: it is no such address, something else is there, or its TLS is not ours.
        OSError: nothing answers.
    """
    check_tls()
    host, port = _parts(address)
    with socket.create_connection((host, port), timeout=_PATIENCE_S) as connection:
        here = str(connection.getsockname()[0])
        answer = _encrypted(connection, address, host) if uses_tls() else _greeted(connection)
    if len(answer) > _TYPE_AT and answer[_TYPE_AT] == _SETTINGS:
        return here
    if uses_tls():
        raise InputError(
            f"{address} refuses the certificate {os.environ[_CERT]}; it must be signed by the "
            "authority of that cluster."
        )
    if _talks_tls(host, port):
        raise InputError(
            f"{address} asks for TLS; set RAY_USE_TLS=1, {_CERT}, {_KEY} and {_AUTHORITY}, as on "
            "its other machines."
        )
    raise InputError(
        f"what listens at {address} is no Ray; give HOST:PORT as its head has told it, by default "
        "HEAD:6379 (and to `cnnjobs submit` http://HEAD:8265)."
    )


def _parts(address: str) -> tuple[str, int]:
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{address}")
        if parts.hostname and parts.port and not parts.path:
            return parts.hostname, parts.port
    raise InputError(
        f"{address} is no address of a Ray; give HOST:PORT as its head has told it, by default "
        "HEAD:6379."
    )


def _encrypted(connection: socket.socket, address: str, host: str) -> bytes:
    """What the other side answers through TLS; nothing if it refuses our certificate."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    try:
        with context.wrap_socket(connection, server_hostname=host) as encrypted:
            return _greeted(encrypted)
    except ssl.SSLCertVerificationError as error:
        raise InputError(
            f"{_AUTHORITY} does not vouch for {address} ({_why(error)}); all machines of a cluster "
            "need certificates of one authority, which name their addresses."
        ) from error
    except (ssl.SSLError, ConnectionError) as error:
        raise InputError(
            f"{address} talks no TLS, and RAY_USE_TLS=1 is set here; unset it, or start the head "
            "with it."
        ) from error


def _greeted(connection: socket.socket) -> bytes:
    """The first bytes of the answer to a greeting; none if the connection ends."""
    try:
        connection.sendall(_GREETING)
        return connection.recv(9)
    except (ssl.SSLError, ConnectionError):
        return b""


def _talks_tls(host: str, port: int) -> bool:
    """Whether there is a server with TLS, whoever vouches for it: nothing is told to it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # as any client of gRPC: without it Ray ends the connection
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE_S) as connection:
            context.wrap_socket(connection, server_hostname=host).close()
    except OSError:
        return False
    return True


def _context(protocol: int) -> ssl.SSLContext:
    """Both ends of Ray's TLS show a certificate, and want one of the same authority."""
    context = ssl.SSLContext(protocol)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(os.environ[_AUTHORITY])
        # Ray asks for no password either
        context.load_cert_chain(os.environ[_CERT], os.environ[_KEY], password="")
    except ssl.SSLError as error:
        raise InputError(
            f"{_CERT} and {_KEY} must be a certificate and its key, and {_AUTHORITY} an "
            f"authority's certificate, all as PEM ({_why(error)})."
        ) from error
    return context


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> None:
    """Let two ends greet each other in memory."""
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
    """OpenSSL's reason, without where in its code it was found."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return str(error.reason or error).lower().replace("_", " ")
