"""`cnnjobs submit`."""

import dataclasses
import time
from typing import Any

import typer
from typer import Argument, Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import CONFIGS, job
from cnnjobs.cli.command_line import words
from cnnjobs.cli.jobs import follow_job, job_text
from cnnjobs.cli.options import FLAGS, HEAD, INSECURE
from cnnjobs.cli.runner import Job, say, settings
from cnnjobs.config import (
    Config,
    PredictConfig,
    SubmitConfig,
    TrainConfig,
    TuneConfig,
    as_dict,
)
from cnnjobs.errors import ConfigError
from cnnjobs.progress import Progress

#: Seconds in which a head that was lost may be replaced, if its job is to be continued.
_HEAD_RETURNS_S = 600.0


@job(
    app,
    "submit",
    SubmitConfig,
    options={
        "command": Argument(
            metavar="COMMAND", help="Command to run: predict, train, evaluate, tune, ..."
        ),
        "arguments": Argument(metavar="ARGS", help="Arguments and options of the command."),
        "address": HEAD,
        "insecure": INSECURE,
        "wait": Option(help="Print the job's output until it ends, and exit with its code."),
        "pip": Option(
            help="Install what the project needs for this job, in the versions of this "
            "environment; for a cluster that has only Ray."
        ),
        "retries": Option(
            metavar="N",
            help="How often a job that was killed, or lost with its machine, is started again with "
            "--resume.",
        ),
        "shared_path": Option(
            metavar="DIR", help="Folder that all machines of the cluster have. Repeatable."
        ),
    },
    # everything after the command belongs to it
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def submit() -> Job:
    """Run a command as a job of a Ray cluster.

    The command is checked here first; local paths that the cluster cannot see are refused. The
    code of this project is sent along with small files that the command names (--space,
    --groups, --weights, a model's .py), and nothing else. Options of `submit` come before the
    command.

    cnnjobs submit predict s3://b/run s3://b/images -o s3://b/scored
    """
    from cnnjobs.cluster import jobs, submission
    from cnnjobs.storage import filesystem, run_lock

    def prepare(config: SubmitConfig, *, continues: bool = False) -> Any:
        parsed, flags = _parsed(config)
        if config.retries:
            # also before the first attempt, which may be the only one
            continuing = _continuing(parsed, config.command)
            parsed = continuing if continues else parsed
        return submission.prepare(
            config, parsed, lambda placed: words(config.command, {**as_dict(placed), **flags})
        )

    def attempt(config: SubmitConfig, number: int) -> Any:
        prepared = prepare(config, continues=number > 1)
        name = submission.send(prepared, config.command)
        if not config.wait:
            return jobs.described(prepared.client, name)
        say(f"job {name} at {prepared.client.get_address()}", err=True)
        if config.pip:
            say("its packages are installed there first, which takes minutes", err=True)
        silence_s = _HEAD_RETURNS_S if config.retries else None
        # standard output is for the summary, as in every command
        summary = follow_job(prepared.client, name, to_stderr=True, silence_s=silence_s)
        jobs.judge(summary)
        return summary

    def run(config: SubmitConfig, progress: Progress) -> Any:
        for number in range(1, config.retries + 1):
            try:
                return attempt(config, number)
            except jobs.JobFailed as error:
                if not error.by_machine:
                    raise
                say(f"{error} Attempt {number + 1} of {config.retries + 1} continues it.", err=True)
            if filesystem.is_s3(str(getattr(_parsed(config)[0], "output", None))):
                # the lock of a job that was killed ends when it has not been renewed for a while
                time.sleep(run_lock.DEAD_AFTER_S)
        return attempt(config, config.retries + 1)

    def plan(config: SubmitConfig) -> dict[str, Any]:
        prepared = prepare(config)
        return {
            "address": prepared.client.get_address(),
            "entrypoint": prepared.entrypoint,
            "files": len(prepared.files),
            "bytes": prepared.num_bytes,
            "runtime_env": prepared.runtime_env,
        }

    return Job(run, plan, job_text)


def _continuing(config: Config, command: str) -> Config:
    """The settings that continue a job which was killed.

    Raises:
        ConfigError: no option of the command does that.
    """
    if not isinstance(config, PredictConfig | TrainConfig | TuneConfig):
        raise ConfigError(f"--retries needs a command with --resume, got {command}.")
    if isinstance(config, PredictConfig) and config.update:
        return config
    return dataclasses.replace(config, resume=True, overwrite=False)


def _parsed(config: SubmitConfig) -> tuple[Config, dict[str, Any]]:
    """The config of the command to run, and its flags that no config holds, such as --json.

    They are parsed by the command's own parser, which reports what is wrong with them.
    """
    from cnnjobs.cluster.submission import COMMANDS

    if config.command not in COMMANDS:
        raise ConfigError(f"command must be one of {', '.join(COMMANDS)}, got {config.command}.")
    group: Any = typer.main.get_command(app)
    command = group.commands[config.command]
    with command.make_context(f"cnnjobs {config.command}", list(config.arguments)) as context:
        parsed = settings(context, CONFIGS[config.command], context.params["config"])
    if getattr(parsed, "address", None) is not None:
        raise ConfigError(
            "--address belongs before the command: cnnjobs submit --address http://HEAD:8265 "
            f"{config.command} ..."
        )
    flags = {
        name: context.params[name] for name in FLAGS.keys() - {"config"} & context.params.keys()
    }
    return parsed, flags
