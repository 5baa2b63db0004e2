"""`cnnjobs submit` and `cnnjobs jobs`: a command as a job of a cluster, followed to its end."""

import shlex
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

import cnnjobs
from cnnjobs.cluster import head_client, job_package
from cnnjobs.config import Config, SubmitConfig
from cnnjobs.errors import CnnjobsError, InputError

#: A head may be silent for so long while a job is followed.
_SILENCE_S = 60
_STOP_S = 60

#: So long after a lost answer a head is asked whether it has the job.
_LOST_S = 3

#: Verbs whose module cannot have their name: `python jobs/predict.py` puts `jobs` first on the
#: path, where an `inspect.py` would stand in the way of Python's own.
_MODULES = {"inspect": "inspection"}

_ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


#: How pip begins the lines of its errors.
_PIP = "ERROR: "


class JobFailed(CnnjobsError):  # noqa: N818 - not a fault here, but of the job
    """The job ended badly; `exit_code` is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is sent: the command of the job, its files, and their size together."""

    client: JobSubmissionClient
    entrypoint: str
    files: dict[str, Path]
    num_bytes: int
    runtime_env: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """One job as the cluster tells of it."""

    job: str
    status: str
    exit_code: int | None
    entrypoint: str
    seconds: float | None
    message: str | None


def verbs() -> list[str]:
    """The commands that have a job."""
    folder = Path(cnnjobs.__file__).parents[1] / "jobs"
    of_modules = {module: verb for verb, module in _MODULES.items()}
    found = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    return sorted(of_modules.get(stem, stem) for stem in found)


def prepare(
    config: SubmitConfig, job: Config, words: Callable[[Config], Sequence[str]]
) -> Submission:
    """Check all that can be checked before anything is sent.

    Args:
        config: of the submission.
        job: the settings of the command that is to run.
        words: the command line that gives such settings.

    Raises:
        InputError: no cluster, no token, a path it cannot see, or too much to send.
    """
    client = head_client.client(config.address)
    url = client.get_address()
    seen = ("/",) if head_client.is_here(url) else config.shared_path
    there, sent = job_package.placed(job, seen=seen, address=url)
    files = {**job_package.package_files(), **sent}
    module = _MODULES.get(config.command, config.command)
    return Submission(
        client=client,
        entrypoint=shlex.join(["python", "-m", f"jobs.{module}", *words(there)]),
        files=files,
        num_bytes=job_package.checked_size(files),
        runtime_env={"pip": {"packages": job_package.pins()}} if config.pip else {},
    )


def send(submission: Submission, verb: str) -> str:
    """Send the job and return its name; one that could not be sent is not left running.

    Raises:
        CnnjobsError: the cluster does not take it.
    """
    client = submission.client
    job = f"cnnjobs-{verb}-{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            job_package.lay_out(submission.files, Path(folder))
            client.submit_job(
                entrypoint=submission.entrypoint,
                submission_id=job,
                runtime_env={**submission.runtime_env, "working_dir": folder},
                metadata={"cnnjobs": cnnjobs.__version__},
            )
    except head_client.REQUEST_ERRORS as error:
        # where only the answer was lost, the job is there
        if not _is_there(client, job):
            raise CnnjobsError(f"the cluster did not take the job: {_first(error)}.") from error
    except KeyboardInterrupt:
        if _is_there(client, job):
            client.stop_job(job)
        raise
    return job


def follow(client: JobSubmissionClient, job: str, tell: Callable[[str], None]) -> JobSummary:
    """Tell what the job writes until it ends.

    Raises:
        InputError: there is no such job.
        CnnjobsError: the cluster is silent for a minute.
    """
    told, heard = 0, time.monotonic()
    described(client, job)
    while True:
        try:
            info = client.get_job_info(job)
            written = "" if info.status == JobStatus.PENDING else client.get_job_logs(job)
        except head_client.REQUEST_ERRORS as error:
            if time.monotonic() - heard > _SILENCE_S:
                raise CnnjobsError(
                    f"the cluster does not answer any more ({_first(error)}); {job} may go on: "
                    f"cnnjobs jobs logs -f {job}"
                ) from error
            time.sleep(1)
            continue
        heard = time.monotonic()
        if len(written) > told:
            tell(written[told:])
            told = len(written)
        if info.status in _ENDED:
            return _summary(info)
        time.sleep(0.5)


def judge(summary: JobSummary) -> None:
    """Raise JobFailed, with the job's own exit code, unless it succeeded."""
    if summary.status == "SUCCEEDED":
        return
    ended = "was stopped" if summary.status == "STOPPED" else "failed"
    code = summary.exit_code
    why = f" with exit code {code}" if code else ""
    if not why and summary.status == "FAILED" and summary.message:
        why = f": {_reason(summary.message)}"
    # killed by a signal: as a shell tells it
    own = 128 - code if code is not None and code < 0 else code
    raise JobFailed(f"{summary.job} {ended}{why}.", own or 1)


def _reason(message: str) -> str:
    """The line that says most: of packages that pip cannot install, the first of its errors."""
    lines = [line.strip() for line in message.strip().splitlines()]
    of_pip = [line.removeprefix(_PIP) for line in lines if line.startswith(_PIP)]
    return (of_pip or lines)[0].rstrip(".")


def described(client: JobSubmissionClient, job: str) -> JobSummary:
    """What the cluster tells of a job.

    Raises:
        InputError: it knows none of that name.
    """
    try:
        return _summary(client.get_job_info(job))
    except head_client.REQUEST_ERRORS as error:
        raise _unknown(client, job) from error


def listed(client: JobSubmissionClient) -> list[JobSummary]:
    """All jobs that were submitted to the cluster, the oldest first."""
    found = [info for info in client.list_jobs() if info.submission_id]
    return [_summary(info) for info in sorted(found, key=lambda info: info.start_time or 0)]


def logs(client: JobSubmissionClient, job: str) -> str:
    """What the job has written so far."""
    described(client, job)
    return str(client.get_job_logs(job))


def stop(client: JobSubmissionClient, job: str) -> JobSummary:
    """End a job and wait until it has ended: Ray gives it a few seconds to do so in order.

    Raises:
        InputError: there is no such job.
        CnnjobsError: it does not end.
    """
    described(client, job)
    client.stop_job(job)
    end = time.monotonic() + _STOP_S
    while time.monotonic() < end:
        summary = described(client, job)
        if JobStatus(summary.status) in _ENDED:
            return summary
        time.sleep(0.2)
    if summary.status == JobStatus.PENDING:
        raise CnnjobsError(f"{job} is still being prepared; it ends as soon as that is done.")
    raise CnnjobsError(f"{job} has not ended within {_STOP_S} s; try again.")


def _is_there(client: JobSubmissionClient, job: str) -> bool:
    """Whether the cluster has a job of which it is not known that it was taken.

    Raises:
        CnnjobsError: the cluster does not answer.
    """
    end = time.monotonic() + _LOST_S
    while True:
        try:
            client.get_job_info(job)
        except OSError as error:
            if time.monotonic() > end:
                raise CnnjobsError(
                    f"the cluster does not answer any more ({_first(error)}); if it has taken the "
                    f"job, end it: cnnjobs jobs stop {job}"
                ) from error
        except (RayError, RuntimeError):
            # it may still be at it
            if time.monotonic() > end:
                return False
        else:
            return True
        time.sleep(0.5)


def _summary(info: JobDetails) -> JobSummary:
    end = info.end_time or int(time.time() * 1000)
    return JobSummary(
        job=str(info.submission_id),
        status=info.status.value,
        exit_code=info.driver_exit_code,
        entrypoint=info.entrypoint,
        seconds=round((end - info.start_time) / 1000, 1) if info.start_time else None,
        message=info.message,
    )


def _unknown(client: JobSubmissionClient, job: str) -> InputError:
    return InputError(
        f"the cluster at {client.get_address()} knows no job {job}; see: cnnjobs jobs list"
    )


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
