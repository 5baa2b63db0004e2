"""Ray's authentication token: find it, or create one.

Ray looks for it in RAY_AUTH_TOKEN, in the file RAY_AUTH_TOKEN_PATH, then in `~/.ray/auth_token`.
When Ray itself writes that file, every user of the machine can read it.
"""

import os
import re
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from cnnjobs.errors import InputError


def path() -> Path:
    """The file that holds the token if RAY_AUTH_TOKEN does not."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def find() -> str | None:
    """The token, or None.

    Raises:
        InputError: the file exists but cannot be read, or no request can carry what it holds.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return _checked(os.fsencode(os.environ["RAY_AUTH_TOKEN"]), "in RAY_AUTH_TOKEN")
    try:
        data = path().read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"the token {path()} cannot be read: {error.strerror}.") from error
    return _checked(data, str(path())) or None


def ensure() -> None:
    """Create a token unless there is one, and make its file private to this user.

    Raises:
        InputError: the file cannot be written.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    file = path()
    try:
        if find() is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            # created with its mode: others could open it between a write and a chmod
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(secrets.token_hex(32))
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)
    except OSError as error:
        raise InputError(f"the token {file} cannot be written: {error.strerror}.") from error


def keep_from_proxies(where: str) -> None:
    """Have this process send what goes to the host of a URL to no proxy; call it for its own."""
    name = str(urlsplit(where).hostname)
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    # urllib looks for an IPv6 address with brackets, Ray's client without
    os.environ["no_proxy"] = ",".join({name, f"[{name}]", *others.split(",")} - {""})


def _checked(data: bytes, where: str) -> str:
    token = data.strip()
    if not re.fullmatch(rb"[ -~]*", token):
        raise InputError(
            f"the token {where} is not one line of ASCII characters; copy that of the head again, "
            "or remove it."
        )
    return token.decode("ascii")
