"""`cnnjobs doctor`: whether a cluster can run this project's jobs, and what to fix."""

import contextlib
import importlib.metadata
import inspect
import json
import platform
import shlex
import tempfile
import time
import urllib.error
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.job_submission import JobStatus, JobSubmissionClient

from cnnjobs.cluster import head_client, job_package, spilling
from cnnjobs.config import DoctorConfig
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, s3

#: A job that only looks must end in such a time.
_LOOK_S = 120

_WATCH_S = 2

#: Less of it and Ray puts its objects on disk (a container has 64 MiB unless it is told).
_LEAST_SHM_BYTES = 1 << 30

#: What the job that looks runs: Ray and Python alone, which every cluster has.
_LOOK = (
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
has = ray.cluster_resources()
shm = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
print("DOCTOR" + json.dumps({
    "python": platform.python_version(),
    "packages": {name: version(name) for name in names},
    "nodes": sum(node["Alive"] for node in ray.nodes()),
    "cpus": int(has.get("CPU", 0)),
    "gpus": int(has.get("GPU", 0)),
    "object_store_bytes": int(has.get("object_store_memory", 0)),
    "shm_bytes": shm.f_blocks * shm.f_frsize if shm else 0,
    "spilled_bytes": by_machine(totals(targets(ray.nodes()))),
}))
"""
)

#: What the job runs that lists a place on S3; this project's code goes along.
_LIST = """
import json, sys
from cnnjobs import errors
from cnnjobs.storage import filesystem, s3
uri, place = json.loads(sys.argv[1])
told = {"there": False, "error": None}
try:
    s3.use(**place)
    told["there"] = filesystem.exists(uri)
except errors.CnnjobsError as error:
    told["error"] = str(error)
print("DOCTOR" + json.dumps(told))
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at; `fix` says what to do where it is bad, or could be better."""

    name: str
    ok: bool
    found: str
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class DoctorSummary:
    """All that was looked at; a check that another's fault prevents is left out."""

    address: str
    ok: bool
    checks: tuple[Check, ...]


def doctor(config: DoctorConfig, progress: Progress = silent) -> DoctorSummary:
    """Look at a cluster through its head; nothing of it is changed."""
    s3.use(**config.s3)
    url = head_client.url(config.address)
    checks = []
    for check in _checks(config, url):
        checks.append(check)
        progress("doctor", len(checks), None, check.name)
    return DoctorSummary(address=url, ok=all(check.ok for check in checks), checks=tuple(checks))


def plan(config: DoctorConfig) -> dict[str, Any]:
    """What `--dry-run` tells."""
    return {"address": head_client.url(config.address)}


def packages(there: Mapping[str, str | None]) -> Check:
    """Of the project itself only another version counts: its code goes along with each job."""
    here = {name: importlib.metadata.version(name) for name in there}
    odd = [
        f"{name} {version or 'missing'} ({here[name]} here)"
        for name, version in there.items()
        if version != here[name] and (version is not None or name != "cnnjobs")
    ]
    if not odd:
        return Check(name="packages", ok=True, found=f"{len(there)}, alike there and here")
    return Check(
        name="packages",
        ok=False,
        found=", ".join(odd),
        fix="use one image or constraints.txt on all machines, or submit with --pip",
    )


def _checks(config: DoctorConfig, url: str) -> Iterator[Check]:
    uri = None if config.s3_uri is None else filesystem.normalize(config.s3_uri)
    if uri is not None:
        yield _s3_here(uri)
    try:
        head_client.check_answers(url)
        facts = head_client.facts(url)
    except InputError as error:
        yield Check(name="reachable", ok=False, found="no", fix=str(error))
        return
    yield Check(name="reachable", ok=True, found=url)
    yield _alike("Ray", facts["ray_version"], ray.__version__)
    yield _token(url)
    try:
        client = head_client.client(url)
        names = ["cnnjobs", *(pin.split("==")[0] for pin in job_package.pins())]
        seen = _told(client, _LOOK, names)
    except (CnnjobsError, *head_client.REQUEST_ERRORS) as error:
        found = str(error).strip().splitlines()[0].rstrip(".")
        fix = "start the head anew, and see its logs"
        yield Check(name="jobs", ok=False, found=found, fix=fix)
        return
    yield Check(name="jobs", ok=True, found="run")
    yield _alike("Python", *(_minor(each) for each in (seen["python"], platform.python_version())))
    yield packages(seen["packages"])
    yield from _sizes(seen)
    if uri is not None:
        yield _s3_there(client, uri, config.s3)


def _alike(name: str, there: str, here: str) -> Check:
    if there == here:
        return Check(name=name, ok=True, found=f"{here}, there and here")
    return Check(
        name=name,
        ok=False,
        found=f"{there} there, {here} here",
        fix=f"install {name} {there} here, or {here} on all machines of the cluster",
    )


def _minor(version: str) -> str:
    """Python's version as far as packages are built for it."""
    return ".".join(version.split(".")[:2])


def _token(url: str) -> Check:
    try:
        head_client.get(f"{url}/api/version", with_token=False)
    except urllib.error.HTTPError as error:
        with error:
            asked = error.code in (401, 403)
        if asked:
            return Check(name="token", ok=True, found="asked for")
    except OSError:
        pass
    return Check(
        name="token",
        ok=False,
        found="not asked for: whoever reaches the cluster can run any code on it",
        fix="start its nodes with `cnnjobs cluster start`, or with RAY_AUTH_MODE=token",
    )


def _told(
    client: JobSubmissionClient, program: str, asked: Any, runtime_env: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a small program tells that runs as a job on the head, of which nothing stays.

    Raises:
        CnnjobsError: it fails, or does not end in time.
    """
    entrypoint = shlex.join(["python", "-c", program, json.dumps(asked)])
    job = client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
    end = time.monotonic() + _LOOK_S
    try:
        while (status := client.get_job_status(job)) in (JobStatus.PENDING, JobStatus.RUNNING):
            if time.monotonic() > end:
                raise CnnjobsError(f"a job that only looks has not ended within {_LOOK_S} s")
            time.sleep(0.3)
        lines = client.get_job_logs(job).splitlines()
        # what watches over a job looks once a second, and would write one anew that is gone
        time.sleep(_WATCH_S)
        client.delete_job(job)
    except (CnnjobsError, KeyboardInterrupt):
        with contextlib.suppress(*head_client.REQUEST_ERRORS):
            client.stop_job(job)
        raise
    told = [line for line in lines if line.startswith("DOCTOR")]
    if status != JobStatus.SUCCEEDED or not told:
        raise CnnjobsError(f"a job that only looks failed: {lines[-1] if lines else 'no word'}")
    seen: dict[str, Any] = json.loads(told[-1].removeprefix("DOCTOR"))
    return seen


def _sizes(seen: Mapping[str, Any]) -> Iterator[Check]:
    nodes, cpus, gpus = seen["nodes"], seen["cpus"], seen["gpus"]
    yield Check(
        name="machines",
        ok=cpus > 0,
        found=f"{nodes} nodes, {cpus} CPUs, {gpus} GPUs",
        fix=None if cpus else "add workers, or start the head with --num-cpus",
    )
    store, shm = seen["object_store_bytes"], seen["shm_bytes"]
    roomy = shm >= min(_LEAST_SHM_BYTES, store // max(nodes, 1))
    yield Check(
        name="memory",
        ok=roomy,
        found=f"object store {_gib(store)} in all, /dev/shm {_gib(shm)} on the head",
        fix=None if roomy else "give the container a larger /dev/shm (docker run --shm-size)",
    )
    spilled = ", ".join(f"{_gib(n)} on {name}" for name, n in seen["spilled_bytes"].items())
    if spilled:
        yield Check(
            name="spilled",
            # jobs run all the same, slowly
            ok=True,
            found=f"{spilled} written to disk since the start, the object store was full",
            fix="give the nodes more of it (cluster start --object-store-gib), or jobs less to do",
        )


def _s3_here(uri: str) -> Check:
    try:
        return _listed("S3", uri, "here", there=filesystem.exists(uri))
    except InputError as error:
        return Check(name="S3", ok=False, found="no access from here", fix=str(error))


def _s3_there(client: JobSubmissionClient, uri: str, place: Mapping[str, Any]) -> Check:
    """The same with the cluster's own keys, by the code that its jobs read with."""
    name = "S3 there"
    try:
        with tempfile.TemporaryDirectory() as folder:
            job_package.lay_out(job_package.package_files(), Path(folder))
            seen = _told(client, _LIST, [uri, place], {"working_dir": folder})
    except (CnnjobsError, *head_client.REQUEST_ERRORS) as error:
        found = str(error).strip().splitlines()[0].rstrip(".")
        return Check(name=name, ok=False, found=found, fix="see packages; then ask again")
    if seen["error"] is not None:
        found = "no access from the cluster"
        return Check(name=name, ok=False, found=found, fix=f"on its head: {seen['error']}")
    return _listed(name, uri, "the cluster", there=seen["there"])


def _listed(name: str, uri: str, place: str, *, there: bool) -> Check:
    if not there:
        return Check(name=name, ok=False, found=f"nothing is under {uri}", fix="look at its name")
    return Check(name=name, ok=True, found=f"{uri} can be listed from {place}")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB"
