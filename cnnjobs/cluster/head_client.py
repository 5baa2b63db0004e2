"""A cluster's head over HTTP: its jobs, its version, and in one line why it does not answer."""

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

#: Where a head listens that nobody told anything else.
_DEFAULT = "http://127.0.0.1:8265"

#: What Ray's client raises when a request fails; those of `requests` are OSErrors.
REQUEST_ERRORS = (RayError, RuntimeError, OSError)


def client(address: str | None) -> JobSubmissionClient:
    """Ray's client for jobs of the cluster at `http://HEAD:PORT`; it sends the token there is.

    None takes RAY_ADDRESS, a head that was started here, or port 8265 of this machine.

    Raises:
        InputError: no head answers there, or it refuses the token.
    """
    where = url(address)
    # Ray lets both win over what it is given
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.pop("RAY_API_SERVER_ADDRESS", None)
    check_answers(where)
    # Ray's client waits without end for a server that is silent
    facts(where)
    # it tells of each upload, with a level of its own
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(where)
    except AuthenticationError as error:
        raise _refused(where) from error
    except REQUEST_ERRORS as error:
        raise _no_head(where, str(error).strip().splitlines()[0].rstrip(".")) from error


def url(address: str | None) -> str:
    """Where the jobs of a cluster are taken: `http://HEAD:PORT`; see `client`.

    Raises:
        InputError: the address is of another kind.
    """
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    for node in node_registry.nodes():
        if node.dashboard is not None and given in (None, "auto", node.address):
            return node.dashboard
    if given in (None, "auto"):
        return _DEFAULT
    with contextlib.suppress(ValueError):
        parts = urlsplit(str(given))
        # a port that is none raises ValueError
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return str(given).rstrip("/")
    raise InputError(f"{given} is not where a cluster takes jobs; give --address http://HEAD:8265.")


def facts(where: str) -> dict[str, Any]:
    """What `/api/version` tells of a head: `ray_version` and `session_name`, among others.

    Raises:
        InputError: it refuses the token, or is no head.
    """
    try:
        answer: dict[str, Any] = get(f"{where}/api/version")
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (401, 403):
                raise _refused(where) from error
            raise _no_head(where, f"it says {error.code}") from error
    except OSError as error:
        # of one that urllib wraps, what it wraps
        reason = str(getattr(error, "reason", error)).rstrip(".")
        raise _no_head(where, reason) from error
    except (ValueError, http.client.HTTPException):
        answer = {}
    if "ray_version" not in answer:
        raise _no_head(where, "it tells no version of Ray")
    return answer


def get(place: str, *, with_token: bool = True) -> Any:
    """The JSON that a GET of the URL brings."""
    request = urllib.request.Request(place)
    if with_token and (token := auth_token.find()) is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def is_here(where: str) -> bool:
    """Whether the head runs on this machine, and so sees its files.

    A port of this machine may be a tunnel to another: the folder of Ray's session tells.
    """
    folders = [Path(node.temp_dir) for node in node_registry.nodes() if node.temp_dir]
    folders.append(Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray")
    session = facts(where)["session_name"]
    return any((folder / session).is_dir() for folder in folders)


def check_answers(where: str) -> None:
    """Raise InputError at once where nothing listens: Ray itself would wait for minutes."""
    parts = urlsplit(where)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((str(parts.hostname), port), timeout=10).close()
    except OSError as error:
        raise InputError(
            f"no head answers at {where} ({error.strerror or error}); start one with `cnnjobs "
            "cluster start --head`, or give --address http://HEAD:8265."
        ) from error


def _refused(where: str) -> InputError:
    if auth_token.find() is None:
        return InputError(
            f"the cluster at {where} asks for a token; copy that of its head to "
            f"{auth_token.path()}, or set RAY_AUTH_TOKEN."
        )
    return InputError(
        f"the cluster at {where} refuses the token; put that of its head in {auth_token.path()}, "
        "or set RAY_AUTH_TOKEN."
    )


def _no_head(where: str, reason: str) -> InputError:
    return InputError(f"{where} answers, and not as the head of a cluster: {reason}.")
