"""The HTTP API of a cluster's head, with every failure as a one-line error."""

import contextlib
import http.client
import json
import logging
import os
import socket
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobSubmissionClient

from cnnjobs.cluster import auth_token, node_registry
from cnnjobs.errors import InputError

#: A head's default address.
_DEFAULT = "http://127.0.0.1:8265"

#: What Ray's client raises when a request fails; the errors of `requests` are OSErrors.
REQUEST_ERRORS = (RayError, RuntimeError, OSError)


def client(address: str | None) -> JobSubmissionClient:
    """Ray's job client for the cluster at `http://HEAD:PORT`; it sends this user's token.

    None uses RAY_ADDRESS, a head that was started here, or port 8265 of this machine.

    Raises:
        InputError: no head answers there, or it rejects the token.
    """
    where = url(address)
    # both would override the address passed to Ray
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.pop("RAY_API_SERVER_ADDRESS", None)
    check_answers(where)
    # Ray's client waits forever for a server that is silent
    facts(where)
    # it logs each upload, at a level of its own
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(where)
    except AuthenticationError as error:
        raise _rejected(where) from error
    except REQUEST_ERRORS as error:
        raise _not_a_head(where, first_line(error)) from error


def url(address: str | None) -> str:
    """The address of a cluster's job server, `http://HEAD:PORT`; see `client`.

    Raises:
        InputError: it is another kind of address.
    """
    target = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    for node in node_registry.nodes():
        if node.dashboard is not None and target in (None, "auto", node.address):
            return node.dashboard
    if target in (None, "auto"):
        return _DEFAULT
    with contextlib.suppress(ValueError):
        parts = urlsplit(str(target))
        # an invalid port raises ValueError
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return str(target).rstrip("/")
    raise InputError(f"{target} is not the URL of a job server; give --address http://HEAD:8265.")


def facts(where: str) -> dict[str, Any]:
    """What `/api/version` says of a head: `ray_version` and `session_name`, among others.

    Raises:
        InputError: it rejects the token, or is not a head.
    """
    try:
        answer: dict[str, Any] = get(f"{where}/api/version")
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (401, 403):
                raise _rejected(where) from error
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


def get(where: str, *, with_token: bool = True) -> Any:
    """GET JSON from a URL."""
    # settings name heads by http:// or https:// only
    request = urllib.request.Request(where)  # noqa: S310
    if with_token and (token := auth_token.find()) is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return json.loads(answer.read())


def is_here(where: str) -> bool:
    """Whether the head runs on this machine and therefore sees its files.

    A local port may be a tunnel to another machine, so this looks for the session's folder.
    """
    folders = [Path(node.temp_dir) for node in node_registry.nodes() if node.temp_dir]
    folders.append(Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray")
    session = facts(where)["session_name"]
    return any((folder / session).is_dir() for folder in folders)


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


def _rejected(where: str) -> InputError:
    if auth_token.find() is None:
        return InputError(
            f"the cluster at {where} requires a token; copy that of its head to "
            f"{auth_token.path()}, or set RAY_AUTH_TOKEN."
        )
    return InputError(
        f"the cluster at {where} rejects the token; put that of its head in {auth_token.path()}, "
        "or set RAY_AUTH_TOKEN."
    )


def _not_a_head(where: str, reason: str) -> InputError:
    return InputError(f"{where} answers, but not as the head of a cluster: {reason}.")
