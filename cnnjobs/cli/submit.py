"""Commands that run others on a cluster: `submit` and `jobs`."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer import Argument, Option

from cnnjobs.cli import cluster_text
from cnnjobs.cli.app import app, jobs
from cnnjobs.cli.command import KINDS, job
from cnnjobs.cli.options import Debug, Json
from cnnjobs.cli.runner import Stage, json_text, settings
from cnnjobs.cluster import node_registry
from cnnjobs.config import Config, SubmitConfig
from cnnjobs.errors import ConfigError
from cnnjobs.progress import Progress

Head = Annotated[
    str | None,
    Option(
        metavar="URL",
        help="Head of the cluster, http://HEAD:8265. Default: RAY_ADDRESS, or the head that "
        "runs on this machine.",
    ),
]
Job = Annotated[str, Argument(metavar="JOB", help="Name of the job, as `submit` tells it.")]

#: Flags of every command that its config does not hold.
_FLAGS = ("as_json", "quiet", "debug", "dry_run")


@job(
    app,
    SubmitConfig,
    # what stands behind the command is the command's own
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def submit(
    command: Annotated[
        str | None, Argument(metavar="COMMAND", help="predict, train, evaluate, tune and so on.")
    ] = None,
    arguments: Annotated[
        list[str] | None, Argument(metavar="ARGS", help="All that the command takes.")
    ] = None,
    address: Head = SubmitConfig.address,
    wait: Annotated[
        bool, Option(help="Print what the job writes until it ends, and end with its exit code.")
    ] = SubmitConfig.wait,
    pip: Annotated[
        bool,
        Option(
            help="Install what the project needs, in this environment's versions, for this job; "
            "for a cluster that has Ray alone."
        ),
    ] = SubmitConfig.pip,
    shared_path: Annotated[
        list[str] | None,
        Option(help="Folder that the cluster's machines have, too; may be repeated."),
    ] = None,
) -> Stage:
    """Run a command as a job of a Ray cluster.

    The command is checked here, and its local paths are refused unless the cluster sees them.
    This project's code goes along, with small files that the command names (--space, --groups,
    --weights, a model's .py), and nothing else. Options of `submit` stand before the command.

    cnnjobs submit predict s3://b/run s3://b/images -o s3://b/scored
    """
    from cnnjobs.cluster import jobs as stage
    from cnnjobs.cluster import submission as sending

    def prepared(config: SubmitConfig) -> Any:
        parsed, words = _parsed(config)
        return sending.prepare(config, parsed, words)

    def run(config: SubmitConfig, progress: Progress) -> Any:
        submission = prepared(config)
        name = sending.send(submission, config.command)
        if not config.wait:
            return stage.described(submission.client, name)
        typer.echo(f"job {name} at {submission.client.get_address()}", err=True)
        if config.pip:
            typer.echo("its packages are installed there first, which takes minutes", err=True)
        # as of every command, standard output is for the summary
        summary = _followed(submission.client, name, aside=True)
        stage.judge(summary)
        return summary

    def plan(config: SubmitConfig) -> dict[str, Any]:
        submission = prepared(config)
        return {
            "address": submission.client.get_address(),
            "entrypoint": submission.entrypoint,
            "files": len(submission.files),
            "bytes": submission.num_bytes,
            "runtime_env": submission.runtime_env,
        }

    return Stage(run, plan, cluster_text.job_text)


@jobs.command("list")
def list_jobs(address: Head = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the jobs of a cluster."""
    client = _client(address)
    from cnnjobs.cluster import jobs as stage

    found = stage.listed(client)
    typer.echo(json_text({"jobs": found}) if as_json else cluster_text.jobs_text(found))


@jobs.command()
def status(name: Job, address: Head = None, as_json: Json = False, debug: Debug = False) -> None:
    """Tell how a job is doing."""
    client = _client(address)
    from cnnjobs.cluster import jobs as stage

    summary = stage.described(client, name)
    typer.echo(json_text(summary) if as_json else cluster_text.job_text(summary))


@jobs.command()
def logs(
    name: Job,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Go on until the job ends, and end with its code.")
    ] = False,
    address: Head = None,
    debug: Debug = False,
) -> None:
    """Print what a job has written."""
    client = _client(address)
    from cnnjobs.cluster import jobs as stage

    if follow:
        stage.judge(_followed(client, name, aside=False))
        return
    typer.echo(stage.logs(client, name), nl=False)


@jobs.command()
def stop(name: Job, address: Head = None, as_json: Json = False, debug: Debug = False) -> None:
    """End a job."""
    client = _client(address)
    from cnnjobs.cluster import jobs as stage

    summary = stage.stop(client, name)
    typer.echo(json_text(summary) if as_json else cluster_text.job_text(summary))


def _client(address: str | None) -> Any:
    # before anything imports Ray
    node_registry.before_ray(address)
    from cnnjobs.cluster import head_client

    return head_client.client(address)


def _followed(client: Any, name: str, *, aside: bool) -> Any:
    """Follow a job; Ctrl-C asks what is meant by it."""
    from cnnjobs.cluster import jobs as stage

    try:
        return stage.follow(client, name, lambda text: typer.echo(text, nl=False, err=aside))
    except KeyboardInterrupt:
        if sys.stdin.isatty() and typer.confirm(f"\nstop the job {name}, too?", err=True):
            return stage.stop(client, name)
        raise stage.JobFailed(
            f"no longer followed; the job goes on: cnnjobs jobs logs -f {name} shows it, "
            f"cnnjobs jobs stop {name} ends it.",
            130,
        ) from None


def _parsed(config: SubmitConfig) -> tuple[Config, Callable[[Config], list[str]]]:
    """The settings of the command that is to run, and what makes a command line of such.

    The command's own parser reads the words, so that it also tells what is wrong with them.
    """
    from cnnjobs.cluster.submission import COMMANDS

    if config.command not in COMMANDS:
        raise ConfigError(f"command must be one of {', '.join(COMMANDS)}, got {config.command}.")
    group: Any = typer.main.get_command(app)
    command = group.commands[config.command]
    with command.make_context(f"cnnjobs {config.command}", list(config.arguments)) as context:
        parsed = settings(context, KINDS[config.command], context.params["config"])
    if getattr(parsed, "address", None) is not None:
        raise ConfigError(
            "--address belongs before the command: cnnjobs submit --address http://HEAD:8265 "
            f"{config.command} ..."
        )
    flags = [name for name in _FLAGS if context.params[name]]
    return parsed, lambda changed: words_of(command, changed, flags)


def words_of(command: Any, config: Config, flags: Sequence[str] = ()) -> list[str]:
    """The words behind a command's name that give it this config, and these flags."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    options, arguments = [], []
    for parameter in command.params:
        name = parameter.name
        value = name in flags if name in _FLAGS else getattr(config, name, None)
        if not name or value in (None, (), defaults.get(name, False)):
            continue
        values = value if isinstance(value, tuple) else (value,)
        if parameter.param_type_name == "argument":
            arguments += [str(each) for each in values]
        elif isinstance(value, bool):
            options.append(_longest(parameter.opts if value else parameter.secondary_opts))
        else:
            # with the sign of equality a value may begin with a dash
            options += [f"{_longest(parameter.opts)}={each}" for each in values]
    return [*options, "--", *arguments] if arguments else options


def _longest(names: Sequence[str]) -> str:
    return max(names, key=len)
