"""Small programs that run as jobs on a cluster's head and report what they find there."""

import contextlib
import inspect
import json
import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient

from cnnjobs.cluster import head_client, job_package, spilling
from cnnjobs.errors import CnnjobsError
from cnnjobs.storage import json_files

_TIMEOUT_S = 120

#: How long Ray takes to notice that a job has ended.
_SUPERVISOR_S = 2

#: Starts the line of a program's output that holds its report.
_MARK = "DOCTOR"

#: Needs only Ray and Python, which every cluster has.
_FACTS = (
    inspect.getsource(spilling)
    + """
import importlib.metadata, json, os, platform, sys
import ray
names = json.loads(sys.argv[1])
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
ray.init(log_to_driver=False, logging_level="ERROR")
resources = ray.cluster_resources()
shm = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
print("DOCTOR" + json.dumps({
    "python": platform.python_version(),
    "packages": {name: version(name) for name in names},
    "nodes": sum(node["Alive"] for node in ray.nodes()),
    "cpus": int(resources.get("CPU", 0)),
    "gpus": int(resources.get("GPU", 0)),
    "object_store_bytes": int(resources.get("object_store_memory", 0)),
    "shm_bytes": shm.f_blocks * shm.f_frsize if shm else 0,
    "spilled_bytes": by_machine(totals(targets(ray.nodes()))),
}, allow_nan=False))
"""
)

#: Lists an S3 prefix with this package's code, which is sent along.
_LIST = """
import json, sys
from cnnjobs import errors
from cnnjobs.storage import filesystem, s3
uri, settings = json.loads(sys.argv[1])
report = {"exists": False, "error": None}
try:
    s3.use(**settings)
    report["exists"] = filesystem.exists(uri)
except errors.CnnjobsError as error:
    report["error"] = str(error)
print("DOCTOR" + json.dumps(report, allow_nan=False))
"""


def facts(client: JobSubmissionClient, packages: list[str]) -> dict[str, Any]:
    """Versions of Python and the packages, and the cluster's machines and memory.

    Raises:
        CnnjobsError: the job fails, or does not end in time.
    """
    return _report(client, _FACTS, packages)


def s3_listing(
    client: JobSubmissionClient, uri: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Whether the URI `exists`, or the `error` of listing it with the cluster's own keys.

    Raises:
        CnnjobsError: the job fails, or does not end in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        job_package.copy_to(Path(folder), job_package.package_files())
        return _report(client, _LIST, [uri, settings], {"working_dir": folder})


def _report(
    client: JobSubmissionClient,
    program: str,
    argument: Any,
    runtime_env: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run a program as a job on the head, return its report, and delete the job."""
    entrypoint = shlex.join(["python", "-c", program, json_files.text(argument, indent=None)])
    job = client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
    end = time.monotonic() + _TIMEOUT_S
    try:
        while (status := client.get_job_status(job)) in (JobStatus.PENDING, JobStatus.RUNNING):
            if time.monotonic() > end:
                raise CnnjobsError(f"a test job did not end within {_TIMEOUT_S} s")
            time.sleep(0.3)
        lines = client.get_job_logs(job).splitlines()
        # Ray polls a job once a second, and would record a deleted one again
        time.sleep(_SUPERVISOR_S)
        client.delete_job(job)
    except (CnnjobsError, KeyboardInterrupt):
        with contextlib.suppress(*head_client.REQUEST_ERRORS):
            client.stop_job(job)
        raise
    reports = [line for line in lines if line.startswith(_MARK)]
    if status != JobStatus.SUCCEEDED or not reports:
        raise CnnjobsError(f"a test job failed: {lines[-1] if lines else 'it printed nothing'}")
    report: dict[str, Any] = json.loads(reports[-1].removeprefix(_MARK))
    return report
