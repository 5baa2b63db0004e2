"""Ray's mode, with or without a token, as the cluster at an address requires it.

A process whose mode differs from its cluster's fails late: a driver in token mode rejects the
workers of a cluster without a token. Ray decides by whether a token file exists, so one file left
by another Ray would break every job on a plain `ray start --head`.
"""

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cnnjobs.cluster import auth_token, preflight
from cnnjobs.errors import InputError

#: Ray's own question whether a head is alive (`ray health-check`, which takes 2 s): asked with an
#: empty request, it also names Ray's version.
_QUESTION = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_VERSION_FIELD = b"\x12"
_TIMEOUT_S = 5


@dataclass
class _Followed:
    """What `follow` has set in this process, which is no wish of the user.

    `needed` is the mode that Ray cannot take any more, because it was imported before.
    """

    mode: str | None = None
    needed: str | None = None


_followed = _Followed()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a head answers; `accepts` is whether it takes the token given, or needs none."""

    requires_token: bool
    accepts: bool
    ray_version: str | None


def follow(address: str) -> None:
    """Set RAY_AUTH_MODE as the head at `HOST:PORT` requires; call it before Ray is imported.

    It stays as it is if nothing answers, and if the user withholds the token (`check` says so).
    """
    with contextlib.suppress(InputError):
        answer = ask(address)
        if answer is None or (answer.requires_token and _is_withheld()):
            return
        mode = "token" if answer.requires_token else "disabled"
        if "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE", "disabled").lower() != mode:
            _followed.needed = mode
            return
        _followed.mode = mode
        _followed.needed = None
        os.environ["RAY_AUTH_MODE"] = mode


def forget() -> None:
    """Undo `follow`, for a Ray that the process starts for itself."""
    if _followed.mode is not None and os.environ.get("RAY_AUTH_MODE") == _followed.mode:
        del os.environ["RAY_AUTH_MODE"]
    _followed.mode = _followed.needed = None


def check(address: str) -> None:
    """Check the token and Ray's version for the head at `HOST:PORT`.

    Raises:
        InputError: it rejects the token, which may be missing, or runs another version of Ray.
    """
    from ray import __version__

    answer = ask(address)
    if answer is None:
        return
    if answer.requires_token and (_is_withheld() or not answer.accepts):
        raise rejected(address)
    if _followed.needed is not None:
        requires = "requires a token" if answer.requires_token else "uses no token"
        raise InputError(
            f"the cluster at {address} {requires}, and Ray was imported before that was known; "
            f"set RAY_AUTH_MODE={_followed.needed} before Python starts."
        )
    if answer.ray_version not in (None, __version__):
        raise InputError(
            f"the cluster at {address} runs Ray {answer.ray_version}, this machine {__version__}; "
            f"install Ray {answer.ray_version} here, or {__version__} there."
        )


def rejected(where: str) -> InputError:
    """The error that a cluster requires a token that is missing here, withheld or wrong."""
    file = auth_token.path()
    if _is_withheld():
        return InputError(
            f"the cluster at {where} requires a token, but RAY_AUTH_MODE=disabled is set here; "
            "unset it."
        )
    if auth_token.find() is None:
        return InputError(
            f"the cluster at {where} requires a token; copy that of its head to {file}, or set "
            "RAY_AUTH_TOKEN."
        )
    if os.environ.get("RAY_AUTH_TOKEN"):
        return InputError(
            f"the cluster at {where} rejects the token in RAY_AUTH_TOKEN, which overrides {file}; "
            "set it to that of its head, or unset it."
        )
    return InputError(
        f"the cluster at {where} rejects the token in {file}; put that of its head there, or set "
        "RAY_AUTH_TOKEN."
    )


def ask(address: str) -> Answer | None:
    """Ask the head at `HOST:PORT`; None if no Ray answers.

    The token is sent only to a head that requires one.
    """
    # imported here: most commands do without
    import grpc

    options = [("grpc.enable_http_proxy", 0)]
    credentials = _credentials()
    channel = (
        grpc.insecure_channel(address, options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options)
    )
    with channel:
        question = channel.unary_unary(_QUESTION)
        try:
            version = _version(question(b"", timeout=_TIMEOUT_S))
            return Answer(requires_token=False, accepts=True, ray_version=version)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                return None
        token = auth_token.find()
        if token is None:
            return Answer(requires_token=True, accepts=False, ray_version=None)
        sent = [("authorization", f"Bearer {token}")]
        try:
            version = _version(question(b"", timeout=_TIMEOUT_S, metadata=sent))
        except grpc.RpcError:
            return Answer(requires_token=True, accepts=False, ray_version=None)
        return Answer(requires_token=True, accepts=True, ray_version=version)


def find() -> str | None:
    """The token to send to a cluster that requires one; None also if the user withholds it."""
    return None if _is_withheld() else auth_token.find()


def _is_withheld() -> bool:
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    return mode == "disabled" and _followed.mode != mode


def _credentials() -> object | None:
    """Of Ray's TLS, whose files `preflight` checks; None without TLS."""
    import grpc

    if not preflight.uses_tls():
        return None
    preflight.check_tls()
    files = (os.environ[name] for name in preflight.FILES)
    certificate, key, authority = (Path(file).read_bytes() for file in files)
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _version(answer: bytes) -> str | None:
    """Ray's version, field 2 of the answer: a length, then the text."""
    at = answer.find(_VERSION_FIELD)
    if at < 0:
        return None
    length = answer[at + 1]
    return answer[at + 2 : at + 2 + length].decode("ascii", "replace")
