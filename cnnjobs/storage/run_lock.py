"""One writer per run: a lock file in the run directory, on local disk and on S3.

On local disk the kernel's lock (flock) decides, and ends with its holder, however that dies. S3
has no such thing: the lock is an object created only if absent (PUT with If-None-Match), which
its holder renews; one that has not been renewed for a while belongs to a holder that is dead. A
server that ignores the condition is noticed by reading the object back.
"""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from cnnjobs.errors import RunInUseError, StorageError
from cnnjobs.storage import filesystem, json_files, s3, s3_errors, s3_retries

NAME = ".lock"

#: Seconds between two renewals of a lock on S3, and without one until its holder counts as dead.
RENEW_S, DEAD_AFTER_S = 20.0, 120.0

#: Seconds in which another process that also saw no lock will have written its own.
_SETTLE_S = 1.0

#: What a file system without locks answers to flock.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

#: Answers of S3: the condition does not hold (or another request was faster), or is unknown.
_REFUSED, _UNKNOWN = (409, 412), 501


class _Found(NamedTuple):
    """A lock on S3; `age` is in seconds by the clock of the server."""

    data: bytes
    etag: str
    age: float


@contextlib.contextmanager
def hold(run_uri: str) -> Iterator[None]:
    """Be the only writer of a run while the block runs.

    Raises:
        RunInUseError: another process is writing the run; it is named.
        StorageError: nothing can be written there.
    """
    held = _held_on_s3 if filesystem.is_s3(run_uri) else _held_locally
    with held(filesystem.join(run_uri, NAME)):
        yield


def check(run_uri: str) -> None:
    """Raise RunInUseError if another process is writing the run."""
    owner = holder(run_uri)
    if owner is not None:
        raise _in_use(run_uri, owner)


def holder(run_uri: str) -> str | None:
    """Who is writing the run, in words; None if nobody is."""
    uri = filesystem.join(run_uri, NAME)
    if filesystem.is_s3(run_uri):
        found = _find(uri.removeprefix("s3://"))
        return None if found is None or _is_dead(found) else _in_words(found.data)
    with contextlib.suppress(OSError), Path(uri).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _in_words(file.read())
    return None


@contextlib.contextmanager
def _held_locally(uri: str) -> Iterator[None]:
    path = Path(uri)
    try:
        made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        file = _locked(path)
    except OSError as error:
        raise StorageError(f"{uri} cannot be written: {error.strerror}.") from error
    try:
        yield
    finally:
        # while it is still locked, so that nobody locks a file that no longer has its name
        path.unlink(missing_ok=True)
        os.close(file)
        for folder in made:
            with contextlib.suppress(OSError):  # unless the job has written something there
                folder.rmdir()


def _locked(path: Path) -> int:
    """An open descriptor of the lock file, locked by this process."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = path.stat()
        except BlockingIOError:
            owner = _in_words(os.pread(file, 1000, 0))
            os.close(file)
            raise _in_use(path.parent, owner) from None
        except FileNotFoundError:
            os.close(file)  # its holder has just removed it
            continue
        except OSError as error:
            os.close(file)
            if error.errno in _NO_LOCKS:
                raise StorageError(
                    f"{path.parent} is on a file system without locks, so two jobs could write "
                    "one run; choose a local disk, or mount it with locks (flock)."
                ) from error
            raise
        if os.path.samestat(current, os.fstat(file)):
            os.ftruncate(file, 0)
            os.pwrite(file, _identity(""), 0)
            return file
        os.close(file)


@contextlib.contextmanager
def _held_on_s3(uri: str) -> Iterator[None]:
    path = uri.removeprefix("s3://")
    run = uri.removesuffix(f"/{NAME}")
    token = uuid.uuid4().hex
    try:
        _take(path, run, token)
    except OSError as error:
        raise StorageError(f"{uri} cannot be written: {s3.reason(error)}.") from error
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, token, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(OSError):
            found = _find(path)
            if found is not None and _token(found.data) == token:
                s3.delete(path, one_key=True)


def _take(path: str, run: str, token: str) -> None:
    found = _find(path)
    if found is not None and not _is_dead(found):
        raise _in_use(run, _in_words(found.data))
    if _put_if(path, _identity(token), etag=None if found is None else found.etag):
        # a server that knows no conditions accepts everybody; the last one to write has the lock
        time.sleep(_SETTLE_S)
    now = _find(path)
    if now is None or _token(now.data) != token:
        raise _in_use(run, "another process" if now is None else _in_words(now.data))


def _find(path: str) -> _Found | None:
    bucket, key = s3.split(path)
    try:
        answer = s3.asked(lambda: s3.client().get_object(Bucket=bucket, Key=key))
    except FileNotFoundError:
        return None
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return _Found(
        answer["Body"].read(), answer["ETag"], (now - answer["LastModified"]).total_seconds()
    )


def _put_if(path: str, data: bytes, *, etag: str | None) -> bool:
    """Put an object if the present one has this ETag, or if there is none (None)."""
    bucket, key = s3.split(path)
    condition: Any = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
    try:
        s3_retries.patiently(
            lambda: s3.client().put_object(Bucket=bucket, Key=key, Body=data, **condition)
        )
    except ClientError as error:
        status = s3_errors.status(error)
        if status in _REFUSED:
            return False
        if status != _UNKNOWN:
            raise s3_errors.translated(error) from error
        s3.write(path, data)
    return True


def _renew(path: str, token: str, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with contextlib.suppress(OSError):  # an outage: tried again after the next wait
            found = _find(path)
            if found is not None and _token(found.data) != token:
                # after an outage so long that this process was taken for dead: stop like Ctrl-C
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
            _put_if(path, _identity(token), etag=None if found is None else found.etag)


def _is_dead(found: _Found) -> bool:
    """Whether the holder has died: its process is gone, or it has not renewed its lock."""
    identity = _read(found.data)
    if identity.get("host") == socket.gethostname() and not _is_alive(identity):
        return True
    return found.age > DEAD_AFTER_S


def _identity(token: str) -> bytes:
    identity = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": _birth(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": token,
    }
    return json_files.text(identity, indent=None).encode()


def _is_alive(identity: dict[str, Any]) -> bool:
    """Whether the process on this machine still runs, and is not another one with its number."""
    try:
        os.kill(int(identity["pid"]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, KeyError, ValueError):
        return True
    return identity.get("born") == _birth(int(identity["pid"]))


def _birth(pid: int) -> str | None:
    """When a process started, in ticks since the machine did (proc(5), field 22 of stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _read(data: bytes) -> dict[str, Any]:
    try:
        identity = json_files.parsed(data)
    except ValueError:
        return {}
    return identity if isinstance(identity, dict) else {}


def _token(data: bytes) -> Any:
    return _read(data).get("token")


def _in_words(data: bytes) -> str:
    identity = _read(data)
    if not identity:
        return "another process"
    return f"process {identity.get('pid')} on {identity.get('host')} since {identity.get('since')}"


def _in_use(run: object, owner: str) -> RunInUseError:
    return RunInUseError(
        f"{run} is being written by {owner}; wait for it or stop it, or choose another directory."
    )
