"""The `ray start` command of a node: its addresses, ports, sizes and environment."""

import os
import sys
from pathlib import Path

from cnnjobs.cluster import machine, node_registry, preflight
from cnnjobs.config import ClusterStartConfig


def host(config: ClusterStartConfig) -> str | None:
    """The address to listen on; None: Ray picks the one from which the head is reachable."""
    return config.host or ("127.0.0.1" if config.head else None)


def check(config: ClusterStartConfig) -> None:
    """Check what `ray start` would only report after a while, or not at all.

    Raises:
        InputError: a port is taken, a TLS file is missing or does not match, or no head answers.
    """
    if not config.head:
        here = machine.check_head(str(config.address))
        preflight.check_tls(config.host or here)
        return
    preflight.check_tls(host(config))
    for name, port in (("--port", config.port), ("--dashboard-port", config.dashboard_port)):
        machine.check_port(str(host(config)), port, name)


def command(config: ClusterStartConfig) -> list[str]:
    """The command line; it runs until the node ends."""
    store = machine.store_bytes(config.object_store_gib)
    words = [str(Path(sys.executable).with_name("ray")), "start", "--block"]
    words += ["--disable-usage-stats", "--object-store-memory", str(store)]
    taken = (config.port, config.dashboard_port)
    agent_port, client_port = machine.free_ports(2, taken=taken)
    words += ["--dashboard-agent-listen-port", str(agent_port)]
    if config.head:
        words += ["--head", "--port", str(config.port), "--include-dashboard", "true"]
        words += ["--dashboard-host", str(host(config))]
        words += ["--dashboard-port", str(config.dashboard_port)]
        # only one head per machine could use the default, 10001
        words += ["--ray-client-server-port", str(client_port)]
    else:
        words += ["--address", str(config.address)]
    optional = {
        "--node-ip-address": host(config),
        "--num-cpus": config.num_cpus,
        "--num-gpus": config.num_gpus,
        # Ray gives a worker its head's
        "--temp-dir": config.temp_dir if config.head else None,
    }
    for name, value in optional.items():
        words += [] if value is None else [name, str(value)]
    return words


def environment(config: ClusterStartConfig) -> dict[str, str]:
    """The environment of the node and its jobs; it keeps Ray's TLS variables."""
    own = ("RAY_ADDRESS", *node_registry.LOOPBACK)
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    return {
        **inherited,
        "RAY_AUTH_MODE": "token",
        # jobs run this Python, even if its environment is not activated
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # under `uv run` Ray would rebuild the environment on every worker, for minutes
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        **(node_registry.LOOPBACK if is_private(config) else {}),
    }


def is_private(config: ClusterStartConfig) -> bool:
    """Whether only this machine can reach the node."""
    address = host(config)
    return address is not None and node_registry.is_loopback(address)
