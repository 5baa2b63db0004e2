"""`cnnjobs jobs list`, `jobs status`, `jobs logs` and `jobs stop`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from cnnjobs.cli.app import jobs
from cnnjobs.cli.help_page import Command
from cnnjobs.cli.options import HEAD, INSECURE, Debug, Json
from cnnjobs.cli.runner import say, show
from cnnjobs.cli.tables import table
from cnnjobs.cluster import presence
from cnnjobs.config.printable import printable, printable_log

if TYPE_CHECKING:
    from cnnjobs.cluster.jobs import JobSummary

Head = Annotated[str | None, HEAD]
Insecure = Annotated[bool, INSECURE]
Name = Annotated[str, Argument(metavar="JOB", help="Name of the job, as `submit` printed it.")]


@jobs.command("list", cls=Command)
def list_jobs(
    address: Head = None, insecure: Insecure = False, as_json: Json = False, debug: Debug = False
) -> None:
    """List a cluster's jobs."""
    client = _client(address, insecure=insecure)
    from cnnjobs.cluster import jobs as module

    listed = module.listed(client)
    show({"jobs": listed}, lambda shown: jobs_text(shown["jobs"]), as_json=as_json)


@jobs.command(cls=Command)
def status(
    name: Name,
    address: Head = None,
    insecure: Insecure = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the status of a job."""
    client = _client(address, insecure=insecure)
    from cnnjobs.cluster import jobs as module

    summary = module.described(client, name)
    show(summary, job_text, as_json=as_json)


@jobs.command(cls=Command)
def logs(
    name: Name,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Continue until the job ends, and exit with its code.")
    ] = False,
    address: Head = None,
    insecure: Insecure = False,
    debug: Debug = False,
) -> None:
    """Print the output of a job."""
    client = _client(address, insecure=insecure)
    from cnnjobs.cluster import jobs as module

    if follow:
        module.judge(follow_job(client, name, to_stderr=False))
        return
    say(printable_log(module.logs(client, name)), nl=False)


@jobs.command(cls=Command)
def stop(
    name: Name,
    address: Head = None,
    insecure: Insecure = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Stop a job."""
    client = _client(address, insecure=insecure)
    from cnnjobs.cluster import jobs as module

    summary = module.stop(client, name)
    show(summary, job_text, as_json=as_json)


def job_text(summary: "JobSummary") -> str:
    """How a job is doing, or how it ended."""
    duration = "" if summary.seconds is None else f" after {summary.seconds:.1f} s"
    ended = {"SUCCEEDED": "succeeded", "FAILED": "failed", "STOPPED": "was stopped"}
    if summary.status in ended:
        code = f", exit code {summary.exit_code}" if summary.exit_code else ""
        return f"{summary.job} {ended[summary.status]}{duration}{code}"
    return f"{summary.job} is {summary.status.lower()}; cnnjobs jobs logs -f {summary.job}"


def jobs_text(summaries: Sequence["JobSummary"]) -> str:
    """One line per job, the oldest first."""
    if not summaries:
        return "no jobs were submitted to this cluster."
    rows = [[each.job, each.status, each.seconds, each.entrypoint] for each in summaries]
    return table(["job", "status", "seconds", "entrypoint"], rows)


def follow_job(client: Any, name: str, *, to_stderr: bool, silence_s: float | None = None) -> Any:
    """Print a job's output until it ends; on Ctrl-C, ask whether to stop the job as well.

    `silence_s` is how long the cluster may be silent, in place of a minute.
    """
    from cnnjobs.cluster import jobs as module

    try:
        return module.follow(
            client,
            name,
            lambda text: say(printable_log(text), nl=False, err=to_stderr),
            silence_s=silence_s or module.SILENCE_S,
        )
    except KeyboardInterrupt:
        if sys.stdin.isatty() and _is_confirmed(f"stop the job {printable(name)} as well?"):
            return module.stop(client, name)
        raise module.JobFailed(
            f"no longer following {name}, which keeps running; cnnjobs jobs logs -f {name} shows "
            f"it, cnnjobs jobs stop {name} stops it.",
            130,
        ) from None


def _is_confirmed(question: str) -> bool:
    """Ask on the terminal; Ctrl-C and Ctrl-D mean no."""
    try:
        # a line of its own, after the ^C that the terminal shows
        return typer.confirm(f"\n{question}", err=True)
    except typer.Abort:
        say("", err=True)
        return False


def _client(address: str | None, *, insecure: bool) -> Any:
    # before anything imports Ray
    presence.before_ray(address)
    from cnnjobs.cluster import head_client

    return head_client.client(address, insecure=insecure)
