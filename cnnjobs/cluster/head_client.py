"""The HTTP API of a cluster's head, with every failure as a one-line error."""

import contextlib
import http.client
import json
import logging
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobSubmissionClient

from cnnjobs.cluster import auth_mode, auth_token, node_registry, presence
from cnnjobs.config import urls
from cnnjobs.errors import InputError

#: A head's default address.
_DEFAULT = "http://127.0.0.1:8265"

#: What Ray's client raises when a request fails; the errors of `requests` are OSErrors.
REQUEST_ERRORS = (RayError, RuntimeError, OSError)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection."""

    def redirect_request(self, *args: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def client(address: str | None, *, insecure: bool = False) -> JobSubmissionClient:
    """Ray's job client for the cluster at `http://HEAD:PORT`; it sends this user's token.

    None uses RAY_ADDRESS, a head that was started here, or port 8265 of this machine. A token goes
    only to a cluster that requires one, and over plain HTTP only to this machine, or anywhere
    with `insecure`.

    Raises:
        InputError: no head answers there, it rejects the token, or that could be read on its way.
    """
    where = url(address)
    # both would override the address passed to Ray
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.pop("RAY_API_SERVER_ADDRESS", None)
    check_answers(where)
    sent = authorization(where, insecure=insecure)
    # Ray's client waits forever for a server that is silent
    facts(where, sent)
    # it logs each upload, at a level of its own
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # without a header of ours, Ray in token mode would send the token of its own accord
        return JobSubmissionClient(where, headers=sent or {"Authorization": "none"})
    except AuthenticationError as error:
        raise auth_mode.rejected(where) from error
    except REQUEST_ERRORS as error:
        raise _not_a_head(where, first_line(error)) from error


def url(address: str | None) -> str:
    """The address of a cluster's job server, `http://HEAD:PORT`; see `client`.

    Raises:
        InputError: it is another kind of address.
    """
    target = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    urls.refuse("address", target)
    if target in (None, "auto"):
        presence.check_one_head()
    for node in node_registry.nodes():
        if node.dashboard is not None and target in (None, "auto", node.address):
            return node.dashboard
    if target in (None, "auto"):
        return _DEFAULT
    with contextlib.suppress(ValueError):
        parts = urlsplit(str(target))
        # an invalid port raises ValueError
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            # in lower case, as Ray's client expects it; a browser adds `/#/jobs`
            return parts._replace(fragment="").geturl().rstrip("/")
    raise InputError(f"{target} is not the URL of a job server; give --address http://HEAD:8265.")


def authorization(where: str, *, insecure: bool) -> dict[str, str]:
    """The header that a head requires: none, or this user's token.

    What goes to this machine goes to no proxy from then on.

    Raises:
        InputError: there is no token, or it would travel in clear text to another machine.
    """
    parts = urlsplit(where)
    name, port = str(parts.hostname), parts.port or 80
    host = f"[{name}]" if ":" in name else name
    is_own = _is_own(name)
    if is_own:
        auth_token.keep_from_proxies(where)
    if not requires_token(where):
        return {}
    token = auth_mode.find()
    if token is None:
        raise auth_mode.rejected(where)
    if parts.scheme != "https" and not insecure and not is_own:
        raise InputError(
            f"{where} is not encrypted: whoever reads the token on its way can run code on the "
            f"cluster; open a tunnel, `ssh -N -L {port}:{host}:{port} {name}`, and give --address "
            f"http://127.0.0.1:{port}, or use https://, or --insecure."
        )
    return {"Authorization": f"Bearer {token}"}


def _is_own(host: str) -> bool:
    """Whether a host name is this machine's, so that what is sent there stays on it."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        for family, kind, _, _, address in found:
            with socket.socket(family, kind) as tried:
                # only a machine's own addresses can be bound
                tried.bind(address)
    except OSError:
        return False
    return True


def requires_token(where: str) -> bool:
    """Whether a head refuses a request without a token; False if it is not a head."""
    try:
        get(f"{where}/api/version")
    except urllib.error.HTTPError as error:
        with error:
            return error.code in (401, 403)
    except (OSError, ValueError, http.client.HTTPException):
        pass
    return False


def facts(where: str, sent: Mapping[str, str]) -> dict[str, Any]:
    """What `/api/version` says of a head: `ray_version` and `session_name`, among others.

    Args:
        where: URL of the head.
        sent: its `authorization`.

    Raises:
        InputError: it rejects the token, or is not a head.
    """
    try:
        answer: dict[str, Any] = get(f"{where}/api/version", sent)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (401, 403):
                raise auth_mode.rejected(where) from error
            raise _not_a_head(where, f"it answers {error.code}") from error
    except OSError as error:
        # the cause, if urllib wraps one
        reason = str(getattr(error, "reason", error)).rstrip(".")
        raise _not_a_head(where, reason) from error
    except (ValueError, http.client.HTTPException):
        answer = {}
    if "ray_version" not in answer:
        raise _not_a_head(where, "it does not name a Ray version")
    return answer


def get(where: str, headers: Mapping[str, str] | None = None) -> Any:
    """GET JSON from a URL; a redirection, which could take a token elsewhere, is an HTTPError."""
    # settings name heads by http:// or https:// only
    request = urllib.request.Request(where, headers=dict(headers or {}))  # noqa: S310
    with _OPENER.open(request, timeout=20) as answer:
        return json.loads(answer.read())


def is_here(where: str, *, insecure: bool) -> bool:
    """Whether the head runs on this machine and therefore sees its files.

    A local port may be a tunnel to another machine or a container, so this looks for the session's
    folder: in the usual places, then on the command lines of this machine's processes.
    """
    session = facts(where, authorization(where, insecure=insecure))["session_name"]
    folders = [Path(node.temp_dir) for node in node_registry.nodes() if node.temp_dir]
    folders.append(presence.ray_folder())
    if any((folder / session).is_dir() for folder in folders):
        return True
    return any(folder.is_dir() for folder in _on_command_lines(session))


def _on_command_lines(session: str) -> Iterator[Path]:
    """The folders of a session that processes of this machine, not of a container, are given."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            named = [word.partition("=")[2] for word in words if word.endswith(f"/{session}")]
            if named and _sees_our_files(process):
                yield from map(Path, named)


def _sees_our_files(process: Path) -> bool:
    try:
        return (process / "ns" / "mnt").samefile("/proc/self/ns/mnt")
    except PermissionError:
        # another user's: a container's folder would have to exist here under the same name
        return True


def check_answers(where: str) -> None:
    """Raise InputError at once if nothing listens there; Ray itself would wait for minutes."""
    parts = urlsplit(where)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((str(parts.hostname), port), timeout=10).close()
    except OSError as error:
        raise InputError(
            f"no head answers at {where} ({error.strerror or error}); start one with `cnnjobs "
            "cluster start --head`, or give --address http://HEAD:8265."
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def _not_a_head(where: str, reason: str) -> InputError:
    return InputError(f"{where} answers, but not as the head of a cluster: {reason}.")
