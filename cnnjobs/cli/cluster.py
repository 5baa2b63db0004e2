"""Commands about clusters: `cluster start`, `cluster stop`, `cluster status`, `doctor`."""

from typing import Annotated

import typer
from typer import Argument, Option

from cnnjobs.cli import cluster_text
from cnnjobs.cli.app import app, cluster
from cnnjobs.cli.command import job
from cnnjobs.cli.options import Debug, Json
from cnnjobs.cli.runner import Stage, json_text
from cnnjobs.config import ClusterStartConfig, DoctorConfig


@job(cluster, ClusterStartConfig, "start")
def start(
    head: Annotated[bool, Option("--head", help="Start the head of a new cluster.")] = (
        ClusterStartConfig.head
    ),
    address: Annotated[
        str | None, Option(metavar="HEAD:PORT", help="Join the cluster of this head as a worker.")
    ] = ClusterStartConfig.address,
    host: Annotated[
        str | None,
        Option(
            help="Address of this machine to listen on. Default: 127.0.0.1 for a head, for a "
            "worker where its head can reach it."
        ),
    ] = ClusterStartConfig.host,
    port: Annotated[int, Option(help="Of a head, for jobs and workers.")] = (
        ClusterStartConfig.port
    ),
    dashboard_port: Annotated[
        int, Option(help="Of a head, for `cnnjobs submit` and the dashboard.")
    ] = ClusterStartConfig.dashboard_port,
    num_cpus: Annotated[
        int | None, Option(help="Cores that jobs may use. Default: all; 0: none.")
    ] = ClusterStartConfig.num_cpus,
    num_gpus: Annotated[int | None, Option(help="GPUs that jobs may use. Default: all.")] = (
        ClusterStartConfig.num_gpus
    ),
    object_store_gib: Annotated[
        float | None,
        Option(
            metavar="GIB",
            help="Memory for Ray's objects. Default: 30 % of all, and no more than /dev/shm "
            "holds: past that Ray would use the disk.",
        ),
    ] = ClusterStartConfig.object_store_gib,
    temp_dir: Annotated[
        str | None, Option(help="Folder of a head's logs and sockets. Default: Ray's, /tmp/ray.")
    ] = ClusterStartConfig.temp_dir,
) -> Stage:
    """Start a Ray node that asks for a token.

    It runs until `cnnjobs cluster stop`. The token is made if there is none, readable for you
    alone, in ~/.ray/auth_token; a worker needs a copy of its head's. Jobs on this machine find
    head and token by themselves.

    cnnjobs cluster start --head
    """
    from cnnjobs.cluster import local_nodes as stage

    return Stage(stage.start, stage.plan, cluster_text.start_text)


@cluster.command()
def stop(
    address: Annotated[
        str | None, Option(metavar="HEAD:PORT", help="Only nodes of this cluster.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Stop what `cluster start` started here, and no other Ray.

    Jobs that run on it end, too.
    """
    from cnnjobs.cluster import local_nodes as stage

    stopped = stage.stop(address)
    typer.echo(json_text(stage.facts(stopped)) if as_json else cluster_text.stop_text(stopped))


@cluster.command()
def status(as_json: Json = False, debug: Debug = False) -> None:
    """Tell which nodes run here, and what their clusters have."""
    from cnnjobs.cluster import local_nodes as stage

    found = stage.status()
    typer.echo(json_text({"nodes": found}) if as_json else cluster_text.status_text(found))


@job(app, DoctorConfig)
def doctor(
    address: Annotated[
        str | None,
        Argument(metavar="URL", help="Head of the cluster, http://HEAD:8265. Default: as submit."),
    ] = DoctorConfig.address,
    s3_uri: Annotated[
        str | None,
        Option(
            "--s3",
            metavar="URI",
            help="Whether this place can be listed with the keys here, and with the cluster's.",
        ),
    ] = DoctorConfig.s3_uri,
) -> Stage:
    """Check that a cluster can run jobs, and say what to fix.

    Whether it answers, its versions are those here, it asks for a token, a job runs, and what
    machines and memory that job sees. The exit code is 1 if something is bad.

    cnnjobs doctor http://head:8265 --s3 s3://bucket/archive
    """
    from cnnjobs.cluster import doctor as stage

    def judge(summary: stage.DoctorSummary) -> None:
        if not summary.ok:
            raise typer.Exit(1)

    return Stage(stage.doctor, stage.plan, cluster_text.doctor_text, judge)
