"""`cnnjobs doctor`."""

from typing import TYPE_CHECKING

import typer
from typer import Argument, Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.options import INSECURE
from cnnjobs.cli.runner import Job
from cnnjobs.config import DoctorConfig

if TYPE_CHECKING:
    from cnnjobs.cluster.doctor import DoctorSummary


@job(
    app,
    "doctor",
    DoctorConfig,
    options={
        "address": Argument(
            metavar="URL",
            help="Head of the cluster, http://HEAD:8265. Default: as for `cnnjobs submit`.",
        ),
        "insecure": INSECURE,
        "s3_uri": Option(
            "--s3",
            metavar="URI",
            help="Also check that this prefix can be listed with the keys here and with the "
            "cluster's.",
        ),
    },
)
def doctor() -> Job:
    """Check that a cluster can run jobs, and say what to fix.

    Checks that it responds, has the same versions as this machine, requires a token and runs a
    job, and shows the machines and memory of that job. The exit code is 1 if a check fails.

    cnnjobs doctor http://head:8265 --s3 s3://bucket/archive
    """
    from cnnjobs.cluster import doctor as module

    return Job(module.doctor, module.plan, doctor_text, _check)


def doctor_text(summary: "DoctorSummary") -> str:
    """One line per check, and how to fix a failed one."""
    lines = []
    for check in summary.checks:
        lines.append(f"{'ok ' if check.ok else 'BAD'}  {check.name:<9}  {check.found}")
        if check.fix is not None:
            lines.append(f"     {'':<9}  fix: {check.fix}")
    return "\n".join(lines)


def _check(summary: "DoctorSummary") -> None:
    if not summary.ok:
        raise typer.Exit(1)
