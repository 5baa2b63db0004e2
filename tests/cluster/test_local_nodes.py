"""Tokens, the registry of nodes, and the command that starts one; without Ray."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cnnjobs.cluster import auth_token, local_nodes, machine, node_registry, presence, ray_start
from cnnjobs.cluster.node_registry import Node
from cnnjobs.config import ClusterStartConfig
from cnnjobs.errors import ConfigError, InputError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        # set first, to undo at the end what the code sets
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_token_is_created_once_and_private_to_its_owner(home: Path) -> None:
    assert auth_token.find() is None
    auth_token.ensure()
    created = auth_token.find()
    auth_token.ensure()
    assert auth_token.find() == created == (home / ".ray" / "auth_token").read_text()
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_a_token_that_ray_left_readable_for_all_becomes_private(home: Path) -> None:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("from ray\n")
    file.chmod(0o644)
    auth_token.ensure()
    assert (auth_token.find(), file.stat().st_mode & 0o777) == ("from ray", 0o600)


def test_rays_variables_decide_where_the_token_comes_from(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "elsewhere").write_text("from a file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "elsewhere"))
    assert auth_token.find() == "from a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from the variable")
    assert auth_token.find() == "from the variable"


def test_a_node_is_listed_as_long_as_its_process_lives() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    node_registry.record(_head(process.pid))
    # another process with the same pid
    node_registry.record(_head(os.getpid(), born="1"))
    assert [node.pid for node in node_registry.nodes()] == [process.pid]
    process.communicate(b"\n")
    assert node_registry.nodes() == []
    assert list(node_registry.folder().iterdir()) == []


@pytest.mark.parametrize("address", [None, "auto", "127.0.0.1:7001", "localhost:7001"])
def test_a_job_finds_the_head_on_this_machine(address: str | None) -> None:
    node_registry.record(_head(os.getpid()))
    presence.before_ray(address)
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert presence.resolved(address) == (
        address if address not in (None, "auto") else "127.0.0.1:7001"
    )


@pytest.mark.parametrize("address", ["10.1.2.3:7001", "127.0.0.1:7002"])
def test_a_job_for_another_cluster_does_not_use_the_head_on_this_machine(address: str) -> None:
    node_registry.record(_head(os.getpid()))
    presence.before_ray(address)
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
    assert presence.resolved(address) == address


def test_a_record_of_a_head_that_was_killed_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    record = tmp_path / "ray" / "ray_current_cluster"
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        record.write_text(f"{address}\n")
        assert presence.resolved(None) is None
        listening.listen()
        assert presence.resolved(None) == address


def test_two_heads_on_this_machine_are_not_chosen_between(monkeypatch: pytest.MonkeyPatch) -> None:
    node_registry.record(_head(os.getpid()))
    presence.check_one_head()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    node_registry.record(_head(process.pid))
    with pytest.raises(InputError) as refused:
        presence.check_one_head()
    process.communicate(b"\n")
    assert str(refused.value).startswith("2 heads run on this machine, 127.0.0.1:7001 (jobs at ")
    assert str(refused.value).endswith("; give --address.")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "[::1]"])
def test_every_loopback_address_is_one(host: str) -> None:
    assert node_registry.is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.5", "head", "127.0.0.1.example.org", "0.0.0.0", "::"])
def test_no_other_address_is_loopback(host: str) -> None:
    assert not node_registry.is_loopback(host)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {},
            "cluster start needs --head (for a new cluster) or --address HEAD:PORT (to join one), "
            "got neither.",
        ),
        (
            {"head": True, "address": "a:1"},
            "cluster start needs --head (for a new cluster) or --address HEAD:PORT (to join one), "
            "got both.",
        ),
        ({"address": "head"}, "address must be HOST:PORT of a head, got head."),
        ({"head": True, "port": 0}, "port must be 1 to 65535, got 0."),
        ({"head": True, "num_cpus": -1}, "num_cpus must be at least 0, got -1."),
        (
            {"head": True, "object_store_gib": 0.01},
            "object_store_gib must be at least 0.1, got 0.01.",
        ),
    ],
)
def test_settings_that_cannot_start_a_node_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        ClusterStartConfig(**settings)  # type: ignore[arg-type]
    assert str(refused.value) == message


def test_a_head_listens_on_this_machine_only_unless_a_host_is_given() -> None:
    command = local_nodes.plan(ClusterStartConfig(head=True))["command"]
    assert "--dashboard-host 127.0.0.1" in command
    assert "--node-ip-address 127.0.0.1" in command
    command = local_nodes.plan(ClusterStartConfig(head=True, host="10.0.0.5"))["command"]
    assert "--dashboard-host 10.0.0.5" in command
    worker = local_nodes.plan(ClusterStartConfig(address="10.0.0.5:6379"))["command"]
    assert "--node-ip-address" not in worker


def test_the_object_store_is_large_enough_for_ray_even_with_little_shared_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private.ray_constants import OBJECT_STORE_MINIMUM_MEMORY_BYTES

    def small(_: object) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 16384, 16384, 16384, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", small)
    assert machine.store_bytes(None) >= OBJECT_STORE_MINIMUM_MEMORY_BYTES > 16384 * 4096


def test_tls_without_its_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with pytest.raises(InputError) as refused:
        local_nodes.start(ClusterStartConfig(head=True))
    assert str(refused.value) == (
        "RAY_USE_TLS=1 needs RAY_TLS_SERVER_CERT to name a file; it is not set."
    )


def test_a_worker_without_a_head_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        local_nodes.start(ClusterStartConfig(address=f"{socket.gethostname()}:1"))
    assert "no head answers at" in str(refused.value)


def test_a_head_for_the_network_does_not_inherit_that_jobs_here_stay_on_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    assert ray_start.environment(ClusterStartConfig(head=True))[name] == "0"
    assert name not in ray_start.environment(ClusterStartConfig(head=True, host="10.0.0.5"))


def _head(pid: int, born: str | None = None) -> Node:
    return Node(
        pid=pid,
        born=born or str(node_registry.birth(pid)),
        machine=socket.gethostname(),
        address="127.0.0.1:7001",
        dashboard="http://127.0.0.1:7002",
        temp_dir=None,
        log="",
    )
