"""`cnnjobs submit`: check a command, pack it with the code it needs, and send it as a job."""

import shlex
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

import cnnjobs
from cnnjobs.cluster import head_client, job_package
from cnnjobs.cluster.head_client import first_line
from cnnjobs.config import Config, SubmitConfig
from cnnjobs.errors import CnnjobsError

#: The commands that can run as a job.
COMMANDS = (
    "audit", "compare", "crossval", "evaluate", "explain", "index", "inspect", "predict", "report",
    "train", "tune",
)  # fmt: skip

#: How long to ask a head whether it has a job, after its answer was lost.
_LOST_ANSWER_S = 3

#: What a head says until it can start jobs, and how long that may take.
_NO_AGENT, _HEAD_STARTS_S = "No available agent to submit job", 60


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is sent: the job's command line, its files, and their total size."""

    client: JobSubmissionClient
    entrypoint: str
    files: dict[str, Path]
    num_bytes: int
    runtime_env: dict[str, Any]


def prepare(
    config: SubmitConfig, job: Config, arguments: Callable[[Config], Sequence[str]]
) -> Submission:
    """Check everything that can be checked before the job is sent.

    Args:
        config: of the submission.
        job: the config of the command to run.
        arguments: turns such a config back into command-line arguments.

    Raises:
        InputError: no cluster, no token, a path the cluster cannot see, or too much to send.
    """
    client = head_client.client(config.address, insecure=config.insecure)
    url = client.get_address()
    is_here = head_client.is_here(url, insecure=config.insecure)
    visible = ("/",) if is_here else config.shared_path
    adapted, sent = job_package.adapt(job, visible=visible, address=url)
    files = {**job_package.package_files(), **sent}
    return Submission(
        client=client,
        entrypoint=shlex.join(["python", "-m", "cnnjobs", config.command, *arguments(adapted)]),
        files=files,
        num_bytes=job_package.checked_size(files),
        runtime_env={"pip": {"packages": job_package.pins()}} if config.pip else {},
    )


def send(submission: Submission, command: str) -> str:
    """Send the job and return its name; a job that could not be sent is not left running.

    Raises:
        CnnjobsError: the cluster does not accept it.
    """
    client = submission.client
    job = f"cnnjobs-{command}-{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            job_package.copy_to(Path(folder), submission.files)
            _submit(
                client,
                entrypoint=submission.entrypoint,
                submission_id=job,
                runtime_env={**submission.runtime_env, "working_dir": folder},
                metadata={"cnnjobs": cnnjobs.__version__},
            )
    except head_client.REQUEST_ERRORS as error:
        # if only the answer was lost, the job exists
        if not _exists(client, job):
            reason = first_line(error)
            raise CnnjobsError(f"the cluster did not accept the job: {reason}.") from error
    except KeyboardInterrupt:
        if _exists(client, job):
            client.stop_job(job)
        raise
    return job


def _submit(client: JobSubmissionClient, **job: Any) -> None:
    """Submit a job, if need be again: a head answers before it can start jobs."""
    end = time.monotonic() + _HEAD_STARTS_S
    while True:
        try:
            client.submit_job(**job)
        except RuntimeError as error:
            if _NO_AGENT not in str(error) or time.monotonic() > end:
                raise
            time.sleep(1)
        else:
            return


def _exists(client: JobSubmissionClient, job: str) -> bool:
    """Whether the cluster has a job that it may or may not have accepted.

    Raises:
        CnnjobsError: the cluster does not answer.
    """
    end = time.monotonic() + _LOST_ANSWER_S
    while True:
        try:
            client.get_job_info(job)
        except OSError as error:
            if time.monotonic() > end:
                raise CnnjobsError(
                    f"the cluster no longer answers ({first_line(error)}); if it accepted the job, "
                    f"stop it with: cnnjobs jobs stop {job}"
                ) from error
        except (RayError, RuntimeError):
            # it may still be processing the request
            if time.monotonic() > end:
                return False
        else:
            return True
        time.sleep(0.5)
