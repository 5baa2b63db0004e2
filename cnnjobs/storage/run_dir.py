"""The run directory: `run.json` records what was done, `_SUCCESS` is written last."""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cnnjobs import schema
from cnnjobs.config.regular_files import NotAFileError, TooLargeError
from cnnjobs.errors import RunExistsError
from cnnjobs.storage import apart, filesystem, json_files, run_files, run_lock, versions
from cnnjobs.storage.run_files import RECORD, SUCCESS

#: Of what is read back from a record.
_KINDS = {"run_id": str, "command": str, "status": str, "started": str, "config": dict}

#: Facts that a resumed run takes over from its record.
_KEPT = ("threads", "parts")

SpilledBytes = Callable[[], Mapping[str, int] | None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One job's output directory, while the job writes to it.

    Attributes:
        spilled_bytes: returns what Ray has put on disk for this job, by machine; None if unknown.
        facts: part of every record, next to the settings.
        writes: patterns of the names of its files.
        seen: the record of the run to resume, as it was when that was decided; None for a new run.
        overwrite: whether a new run may replace an older one of the same command.
    """

    uri: str
    run_id: str
    command: str
    config: Mapping[str, Any]
    started: datetime
    spilled_bytes: SpilledBytes = lambda: None
    facts: dict[str, Any] = field(default_factory=dict)
    writes: Sequence[str]
    seen: Mapping[str, Any] | None = None
    overwrite: bool = False

    def path(self, *names: str) -> str:
        """The URI of a file in the run directory."""
        return filesystem.join(self.uri, *names)

    def seconds(self) -> float:
        """Seconds since the run was started (for the first time, if it was resumed)."""
        return (datetime.now(UTC) - self.started).total_seconds()

    def record(self, status: str, **facts: Any) -> dict[str, Any]:
        """Write `run.json` with what is known so far; returns what was written."""
        now = datetime.now(UTC)
        record = {
            "run_version": schema.RUN_VERSION,
            "run_id": self.run_id,
            "command": self.command,
            "status": status,
            "started": self.started.isoformat(timespec="seconds"),
            "ended": now.isoformat(timespec="seconds") if status != "running" else None,
            "seconds": round(self.seconds(), 3),
            "config": dict(self.config),
            "writes": list(self.writes),
            "code_version": versions.code_version(),
            "versions": versions.package_versions(),
            "spilled_bytes": self.spilled_bytes() if status != "running" else None,
            **self.facts,
            **facts,
        }
        filesystem.write_bytes(self.path(RECORD), json_files.text(record).encode())
        _log.info("%s: status %s", self.path(RECORD), status)
        return record

    def learn(self, **facts: Any) -> None:
        """Add facts that become known while the run is under way, and record them."""
        self.facts.update(facts)
        self.record("running")

    @contextlib.contextmanager
    def writing(self, **facts: Any) -> Iterator[None]:
        """Be the only writer of the run; an older run that it replaces is deleted first.

        Records in `run.json` that the run failed or was stopped if the block does not finish.

        Raises:
            RunInUseError: another process is writing the run.
            RunExistsError: the directory has changed since it was checked.
        """
        with run_lock.hold(self.uri):
            self._take_over()
            self.learn(**facts)
            with contextlib.ExitStack() as stack:
                stack.push(lambda kind, error, _: self._record_end(kind, error))
                yield

    def _take_over(self) -> None:
        """Check the directory again, now that nobody else writes to it, and reopen it."""
        if self.seen is not None:
            if read_record(self.uri) != self.seen:
                raise RunExistsError(
                    f"another process has written {self.uri} in the meantime; start again."
                )
            # before anything in it changes
            if is_finished(self.uri):
                filesystem.delete(self.path(SUCCESS))
            return
        _check_content(self.uri, self.command, overwrite=self.overwrite)
        record = read_record(self.uri)
        if record is not None:
            run_files.delete(self.uri, record)

    def _record_end(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is None:
            return
        if issubclass(kind, KeyboardInterrupt | SystemExit):
            self.record("stopped")
        else:
            lines = str(error).strip().splitlines() or [kind.__name__]
            self.record("failed", error=lines[-1].strip())

    def finish(self, **facts: Any) -> dict[str, Any]:
        """Write the final `run.json`, then `_SUCCESS`."""
        record = self.record("done", **facts)
        filesystem.write_bytes(self.path(SUCCESS), b"")
        return record


def check_free(
    uri: str,
    command: str,
    *,
    overwrite: bool,
    inputs: Iterable[str | None] = (),
    resumable: bool = False,
) -> None:
    """Raise unless a run may start here; nothing is deleted, and only a probe is written.

    Args:
        uri: the directory.
        command: of the run.
        overwrite: whether it may replace an older run of the same command.
        inputs: what the job reads; see `apart.check`.
        resumable: whether the command has `--resume`.

    Raises:
        InputError: the directory is, contains or is inside an input.
        RunExistsError: the directory contains a run and `overwrite` is off, or something else; or
            another process is writing it.
        StorageError: nothing can be written there.
    """
    apart.check(uri, inputs)
    run_lock.check(uri)
    _check_content(uri, command, overwrite=overwrite, resumable=resumable)
    filesystem.check_writable(uri)


def _check_content(uri: str, command: str, *, overwrite: bool, resumable: bool = False) -> None:
    """Raise if there is anything in the directory that may not be deleted."""
    if filesystem.is_file(uri):
        raise RunExistsError(f"{uri} is a file; give a directory.")
    record = read_record(uri)
    if record is not None:
        _check_replaceable(uri, command, record, overwrite=overwrite, resumable=resumable)
    elif not all(map(run_files.is_left_over, run_files.names(uri))):
        raise RunExistsError(f"{uri} is not empty and is not a run; choose another directory.")


def _check_replaceable(
    uri: str, command: str, record: Mapping[str, Any], *, overwrite: bool, resumable: bool
) -> None:
    """Raise unless all of an older run may be deleted."""
    if record.get("command") != command:
        raise RunExistsError(
            f"{uri} contains a run of {record.get('command')}, which {command} does not replace; "
            "choose another directory."
        )
    if not overwrite:
        ways = "--resume to continue it, --overwrite" if resumable else "--overwrite"
        raise RunExistsError(
            f"{uri} already contains a run; add {ways} to replace it, or choose another directory."
        )
    foreign = next(run_files.foreign(uri, record), None)
    if foreign is not None:
        raise RunExistsError(
            f"{uri} contains {foreign}, which its run did not write; move it away, or choose "
            "another directory."
        )


def start(
    uri: str,
    command: str,
    config: Mapping[str, Any],
    *,
    spilled_bytes: SpilledBytes = lambda: None,
    writes: Sequence[str] = (),
) -> Run:
    """A new run in a directory that passed `check_free`; nothing is written before `Run.writing`.

    Args:
        uri: the directory.
        command: of the run.
        config: its settings.
        spilled_bytes: see `Run`.
        writes: names of files that it writes besides `run_files.writes`.
    """
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    return Run(
        uri=uri,
        run_id=run_id,
        command=command,
        config=config,
        started=now,
        spilled_bytes=spilled_bytes,
        writes=[*run_files.writes(command), *writes],
        overwrite=bool(config.get("overwrite")),
    )


def find_same(
    uri: str,
    command: str,
    same: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    spilled_bytes: SpilledBytes = lambda: None,
) -> Run | None:
    """The run in a directory, to resume it (or find it finished); None if there is none.

    Args:
        uri: the directory.
        command: the run's command must be the same.
        same: facts and settings that must not have changed.
        defaults: of settings that a run of an older version does not know.
        spilled_bytes: see `Run`.

    Raises:
        RunExistsError: it is a different run; the differences are named.
        RunInUseError: another process is writing it.
    """
    run_lock.check(uri)
    record = read_record(uri)
    if record is None:
        return None
    # a setting overrides a fact: `model` is the architecture's name, and then the bundle's
    known = {**(defaults or {}), **record, **record["config"]}
    differences = [
        f"{key} was {known.get(key)}, is {value}"
        for key, value in {"command": command, **same}.items()
        if not _is_same(known.get(key), value)
    ]
    if differences:
        raise RunExistsError(
            f"{uri} contains a different run ({'; '.join(differences)}); resume with the same "
            "settings, or choose another directory."
        )
    return Run(
        uri=uri,
        run_id=record["run_id"],
        command=record["command"],
        config=record["config"],
        started=datetime.fromisoformat(record["started"]),
        spilled_bytes=spilled_bytes,
        facts={name: record[name] for name in _KEPT if name in record},
        # an older version wrote fewer files
        writes=list(dict.fromkeys([*record.get("writes", ()), *run_files.writes(command)])),
        seen=record,
    )


def _is_same(recorded: Any, now: Any) -> bool:
    """Whether a setting is as recorded: a tuple as a list, and new ones not at all."""
    recorded, now = (list(item) if isinstance(item, tuple) else item for item in (recorded, now))
    return bool(recorded == now) or (recorded is None and now in ([], False))


def read_record(uri: str) -> dict[str, Any] | None:
    """The contents of `run.json`; None if there is no run, or it is another program's file.

    Raises:
        RunExistsError: it is not JSON.
    """
    try:
        data = filesystem.read_bytes(filesystem.join(uri, RECORD), limit=json_files.MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (NotAFileError, TooLargeError) as error:
        raise RunExistsError(f"{uri}/{RECORD} cannot be read: {error}.") from error
    damaged = f"{uri}/{RECORD} is damaged; choose another directory, or delete this one."
    try:
        record = json_files.parsed(data)
    except ValueError as error:
        raise RunExistsError(damaged) from error
    if not isinstance(record, dict) or "run_version" not in record:
        return None
    if not all(isinstance(record.get(name, kind()), kind) for name, kind in _KINDS.items()):
        raise RunExistsError(damaged)
    return record


def is_finished(uri: str) -> bool:
    """Whether the run in the directory has finished."""
    return filesystem.exists(filesystem.join(uri, SUCCESS))
