"""`cnnjobs jobs`: list the jobs of a cluster, and follow or stop one of them."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cnnjobs.cluster import head_client
from cnnjobs.cluster.head_client import first_line
from cnnjobs.errors import CnnjobsError, InputError

#: Seconds that a head may be silent while a job is followed.
SILENCE_S = 60.0
_STOP_S = 60

_ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)

#: How Ray calls the failure of a job whose machine is gone.
_LOST = ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE")

#: Exit codes of a program that was killed, as a shell reports it, and of one that was asked to end,
#: as on a machine that is taken away.
_KILLED = (128 + signal.SIGKILL, 128 + signal.SIGTERM)

#: Prefix of pip's error messages.
_PIP = "ERROR: "


class JobFailed(CnnjobsError):  # noqa: N818 - an error of the job, not of this process
    """The job failed.

    Attributes:
        exit_code: the job's.
        by_machine: whether it was killed or lost its machine, and did not end by itself.
    """

    def __init__(self, message: str, exit_code: int, *, by_machine: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.by_machine = by_machine


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """One job, as the cluster describes it; `error_type` is Ray's name for why it failed."""

    job: str
    status: str
    exit_code: int | None
    entrypoint: str
    seconds: float | None
    message: str | None
    error_type: str | None = None


def follow(
    client: JobSubmissionClient,
    job: str,
    write: Callable[[str], None],
    *,
    silence_s: float = SILENCE_S,
) -> JobSummary:
    """Write the job's output as it appears, until the job ends.

    Args:
        client: of the cluster.
        job: its name.
        write: called with each piece of its output.
        silence_s: how long the cluster may be silent.

    Raises:
        InputError: there is no such job.
        JobFailed: the cluster has restarted, without the job.
        CnnjobsError: the cluster is silent for too long.
    """
    num_written, last_answer = 0, time.monotonic()
    described(client, job)
    while True:
        try:
            info = client.get_job_info(job)
            output = "" if info.status == JobStatus.PENDING else client.get_job_logs(job)
        except head_client.REQUEST_ERRORS as error:
            if _is_forgotten(client, job):
                raise JobFailed(
                    f"{job} was lost with its head: the cluster at {client.get_address()} has "
                    "restarted and does not know it.",
                    1,
                    by_machine=True,
                ) from error
            if time.monotonic() - last_answer > silence_s:
                raise CnnjobsError(
                    f"the cluster no longer answers ({first_line(error)}); {job} may still be "
                    f"running: cnnjobs jobs logs -f {job}"
                ) from error
            time.sleep(1)
            continue
        last_answer = time.monotonic()
        if len(output) > num_written:
            write(output[num_written:])
            num_written = len(output)
        if info.status in _ENDED:
            return _summary(info)
        time.sleep(0.5)


def judge(summary: JobSummary) -> None:
    """Raise JobFailed, with the job's exit code, unless the job succeeded."""
    if summary.status == "SUCCEEDED":
        return
    outcome = "was stopped" if summary.status == "STOPPED" else "failed"
    code = summary.exit_code
    why = f" with exit code {code}" if code else ""
    if not why and summary.status == "FAILED" and summary.message:
        why = f": {_reason(summary.message)}"
    # killed by a signal: the code that a shell would report
    exit_code = 128 - code if code is not None and code < 0 else code
    message = f"{summary.job} {outcome}{why}."
    raise JobFailed(message, exit_code or 1, by_machine=_is_by_machine(summary))


def described(client: JobSubmissionClient, job: str) -> JobSummary:
    """The cluster's description of a job.

    Raises:
        InputError: it has no job of that name.
    """
    try:
        return _summary(client.get_job_info(job))
    except head_client.REQUEST_ERRORS as error:
        raise InputError(
            f"the cluster at {client.get_address()} has no job {job}; see: cnnjobs jobs list"
        ) from error


def listed(client: JobSubmissionClient) -> list[JobSummary]:
    """All jobs submitted to the cluster, oldest first."""
    found = [info for info in client.list_jobs() if info.submission_id]
    return [_summary(info) for info in sorted(found, key=lambda info: info.start_time or 0)]


def logs(client: JobSubmissionClient, job: str) -> str:
    """The job's output so far."""
    described(client, job)
    return str(client.get_job_logs(job))


def stop(client: JobSubmissionClient, job: str) -> JobSummary:
    """Stop a job and wait until it has ended; Ray gives it a few seconds to shut down cleanly.

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
        raise CnnjobsError(f"{job} is still being set up; it ends as soon as that is done.")
    raise CnnjobsError(f"{job} did not end within {_STOP_S} s; try again.")


def _is_by_machine(summary: JobSummary) -> bool:
    """Whether a job that did not succeed was killed or lost its machine."""
    if summary.status != "FAILED":
        return False
    if summary.exit_code is None:
        return summary.error_type in _LOST
    return summary.exit_code < 0 or summary.exit_code in _KILLED


def _is_forgotten(client: JobSubmissionClient, job: str) -> bool:
    """Whether the cluster answers, but has no such job."""
    try:
        return all(info.submission_id != job for info in client.list_jobs())
    except head_client.REQUEST_ERRORS:
        return False


def _reason(message: str) -> str:
    """The most telling line: the first of pip's errors if it cannot install a package."""
    lines = [line.strip() for line in message.strip().splitlines()]
    of_pip = [line.removeprefix(_PIP) for line in lines if line.startswith(_PIP)]
    return (of_pip or lines)[0].rstrip(".")


def _summary(info: JobDetails) -> JobSummary:
    end = info.end_time or int(time.time() * 1000)
    return JobSummary(
        job=str(info.submission_id),
        status=info.status.value,
        exit_code=info.driver_exit_code,
        entrypoint=info.entrypoint,
        seconds=round((end - info.start_time) / 1000, 1) if info.start_time else None,
        message=info.message,
        error_type=getattr(info.error_type, "value", info.error_type),
    )
