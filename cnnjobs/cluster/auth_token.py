"""Ray's token, without which a cluster that asks for one runs nothing: where it is, a new one.

Ray's own places, in its own order: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, and
`~/.ray/auth_token`. Ray itself writes that file readable for all users of a machine.
"""

import os
import secrets
from pathlib import Path

from cnnjobs.errors import InputError


def path() -> Path:
    """The file that holds the token where no variable does."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def find() -> str | None:
    """The token, or None if there is none.

    Raises:
        InputError: the file is there and may not be read.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"].strip()
    try:
        return path().read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"the token {path()} cannot be read: {error.strerror}.") from error


def ensure() -> None:
    """See that there is a token, and that no other user of this machine can read its file.

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
            # made with its mode: between writing and chmod others could open it
            number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "w", encoding="utf-8") as opened:
                opened.write(secrets.token_hex(32))
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)
    except OSError as error:
        raise InputError(f"the token {file} cannot be kept: {error.strerror}.") from error
