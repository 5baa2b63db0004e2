"""`cnnjobs doctor`: check whether a cluster can run this project's jobs, and how to fix it."""

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.job_submission import JobSubmissionClient

from cnnjobs.cluster import head_client, job_package, probe
from cnnjobs.cluster.head_client import first_line
from cnnjobs.config import DoctorConfig
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, s3

#: With less /dev/shm than this, Ray may put its object store on disk (Docker's default is 64 MiB).
_MIN_SHM_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check; `fix` says what to do if it is bad or could be better."""

    name: str
    ok: bool
    found: str
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class DoctorSummary:
    """All checks; those that could not run because an earlier one failed are left out."""

    address: str
    ok: bool
    checks: tuple[Check, ...]


def doctor(config: DoctorConfig, progress: Progress = silent) -> DoctorSummary:
    """Check a cluster through its head, without changing anything on it."""
    s3.use(**config.s3)
    url = head_client.url(config.address)
    checks = []
    for check in _checks(config, url):
        checks.append(check)
        progress("doctor", len(checks), None, check.name)
    return DoctorSummary(address=url, ok=all(check.ok for check in checks), checks=tuple(checks))


def plan(config: DoctorConfig) -> dict[str, Any]:
    """What `--dry-run` reports."""
    return {"address": head_client.url(config.address)}


def packages(on_cluster: Mapping[str, str | None]) -> Check:
    """Compare versions. This project may be missing there: its code is sent with each job."""
    here = {name: importlib.metadata.version(name) for name in on_cluster}
    different = [
        f"{name} {version or 'missing'} ({here[name]} here)"
        for name, version in on_cluster.items()
        if version != here[name] and (version is not None or name != "cnnjobs")
    ]
    if not different:
        return Check(name="packages", ok=True, found=f"{len(on_cluster)}, same versions as here")
    return Check(
        name="packages",
        ok=False,
        found=", ".join(different),
        fix="use the same image or constraints.txt on all machines, or submit with --pip",
    )


def _checks(config: DoctorConfig, url: str) -> Iterator[Check]:
    uri = None if config.s3_uri is None else filesystem.normalize(config.s3_uri)
    if uri is not None:
        yield _s3_here(uri)
    try:
        head_client.check_answers(url)
        sent = head_client.authorization(url, insecure=config.insecure)
        version = head_client.facts(url, sent)["ray_version"]
    except InputError as error:
        yield Check(name="reachable", ok=False, found="no", fix=str(error))
        return
    yield Check(name="reachable", ok=True, found=url)
    yield _same_version("Ray", version, ray.__version__)
    yield _token(is_required=bool(sent))
    try:
        client = head_client.client(url, insecure=config.insecure)
        names = ["cnnjobs", *(pin.split("==")[0] for pin in job_package.pins())]
        facts = probe.facts(client, names)
    except (CnnjobsError, *head_client.REQUEST_ERRORS) as error:
        fix = "restart the head, and see its logs"
        yield Check(name="jobs", ok=False, found=first_line(error), fix=fix)
        return
    yield Check(name="jobs", ok=True, found="run")
    yield _same_version("Python", _minor(facts["python"]), _minor(platform.python_version()))
    yield packages(facts["packages"])
    yield from _sizes(facts)
    if uri is not None:
        yield _s3_on_cluster(client, uri, config.s3)


def _same_version(name: str, there: str, here: str) -> Check:
    if there == here:
        return Check(name=name, ok=True, found=f"{here}, there and here")
    return Check(
        name=name,
        ok=False,
        found=f"{there} there, {here} here",
        fix=f"install {name} {there} here, or {here} on all machines of the cluster",
    )


def _minor(version: str) -> str:
    """The part of Python's version that packages are built for."""
    return ".".join(version.split(".")[:2])


def _token(*, is_required: bool) -> Check:
    if is_required:
        return Check(name="token", ok=True, found="required")
    return Check(
        name="token",
        ok=False,
        found="not required: anyone who can reach the cluster can run code on it",
        fix="start its nodes with `cnnjobs cluster start`, or with RAY_AUTH_MODE=token",
    )


def _sizes(facts: Mapping[str, Any]) -> Iterator[Check]:
    nodes, cpus, gpus = facts["nodes"], facts["cpus"], facts["gpus"]
    yield Check(
        name="machines",
        ok=cpus > 0,
        found=f"{nodes} nodes, {cpus} CPUs, {gpus} GPUs",
        fix=None if cpus else "add workers, or start the head with --num-cpus",
    )
    store, shm = facts["object_store_bytes"], facts["shm_bytes"]
    is_enough = shm >= min(_MIN_SHM_BYTES, store // max(nodes, 1))
    yield Check(
        name="memory",
        ok=is_enough,
        found=f"object store {_gib(store)} in all, /dev/shm {_gib(shm)} on the head",
        fix=None if is_enough else "give the container a larger /dev/shm (docker run --shm-size)",
    )
    spilled = ", ".join(f"{_gib(n)} on {name}" for name, n in facts["spilled_bytes"].items())
    if spilled:
        yield Check(
            name="spilled",
            # jobs still run, but slowly
            ok=True,
            found=f"{spilled} written to disk since the start because the object store was full",
            fix="enlarge it (cluster start --object-store-gib), or give jobs less work at once",
        )


def _s3_here(uri: str) -> Check:
    try:
        return _listed("S3", uri, "here", exists=filesystem.exists(uri))
    except InputError as error:
        return Check(name="S3", ok=False, found="no access from here", fix=str(error))


def _s3_on_cluster(client: JobSubmissionClient, uri: str, settings: Mapping[str, Any]) -> Check:
    """The same check with the cluster's own keys, by the code that jobs use."""
    name = "S3 there"
    try:
        listing = probe.s3_listing(client, uri, settings)
    except (CnnjobsError, *head_client.REQUEST_ERRORS) as error:
        return Check(name=name, ok=False, found=first_line(error), fix="fix packages; then retry")
    if listing["error"] is not None:
        found = "no access from the cluster"
        return Check(name=name, ok=False, found=found, fix=f"on its head: {listing['error']}")
    return _listed(name, uri, "the cluster", exists=listing["exists"])


def _listed(name: str, uri: str, source: str, *, exists: bool) -> Check:
    if not exists:
        return Check(name=name, ok=False, found=f"nothing is under {uri}", fix="check the name")
    return Check(name=name, ok=True, found=f"{uri} can be listed from {source}")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB"
