"""A head of `cnnjobs cluster start`: who can reach it, its jobs, and what stops it."""

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnjobs.storage import filesystem
from tests.support import archives
from tests.support.fault_proxy import Rule, proxy_of
from tests.support.heads import (
    CNNJOBS,
    Head,
    cnnjobs,
    connect,
    environment_of_a_user,
    python,
    running_head,
)
from tests.support.paths import ROOT
from tests.support.processes import all_listening
from tests.support.terminals import terminal

#: Puts more into a Ray than its object store can hold, and waits until its metrics show it.
_SPILL = """
import sys, time
from cnnjobs.cluster import presence
presence.before_ray(sys.argv[1])
import ray
from cnnjobs.cluster import session, spilling
with session.connected(sys.argv[1]):
    objects = [ray.put(bytes(50_000_000)) for _ in range(6)]
    while not any(spilling.totals(spilling.targets(ray.nodes())).values()):
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[Head]:
    """A head whose environment has the keys of the S3 server."""
    with running_head(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.mark.parametrize(("token", "code"), [("right", 200), ("wrong", 403), (None, 401)])
def test_a_request_is_answered_only_with_the_right_token(
    head: Head, token: str | None, code: int
) -> None:
    request = urllib.request.Request(f"{head.dashboard}/api/version")
    if token is not None:
        sent = head.token if token == "right" else "0" * 64
        request.add_header("Authorization", f"Bearer {sent}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answered = answer.status
    except urllib.error.HTTPError as error:
        with error:
            answered = error.code
    assert answered == code


def test_the_token_is_readable_only_for_its_owner(head: Head) -> None:
    file = Path(head.environment["HOME"]) / ".ray" / "auth_token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(head.token) == 64


def test_a_head_listens_only_on_this_machine(head: Head) -> None:
    for address in (head.address, head.dashboard.removeprefix("http://")):
        port = address[address.rindex(":") :]
        found = {each for _, each in all_listening() if each.endswith(port)}
        assert found == {f"127.0.0.1{port}"}


def test_a_job_connects_by_address_with_its_users_token(head: Head, tmp_path: Path) -> None:
    connected = connect(head.address, **head.environment)
    assert (connected.returncode, connected.stdout) == (0, "2\n"), connected.stderr

    refused = connect(head.address, **head.environment, RAY_AUTH_TOKEN="0" * 64)
    assert refused.returncode != 0
    assert (
        f"the cluster at {head.address} rejects the token in RAY_AUTH_TOKEN, which overrides "
        f"{head.environment['HOME']}/.ray/auth_token; set it to that of its head, or unset it."
    ) in refused.stderr


def test_status_shows_the_resources_of_the_cluster(head: Head) -> None:
    status = json.loads(head.cnnjobs("cluster", "status", "--json").stdout)
    [node] = status["nodes"]
    assert (node["kind"], node["address"]) == ("head", head.address)
    assert (node["cluster"]["nodes"], node["cluster"]["cpus"]) == (1, 2)
    line = head.cnnjobs("cluster", "status").stdout
    assert line.endswith(": 1 nodes, 2 CPUs, 0 GPUs, object store 0.2 GiB\n")


def test_a_submitted_command_is_followed_and_writes_its_output(
    head: Head, untrained: Path, archive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "an output"
    words = ["predict", str(untrained), str(archive), "-o", str(output)]
    done = head.cnnjobs("submit", "--address", head.dashboard, "--json", *words)
    assert done.returncode == 0, done.stderr
    assert "45 images: 40 scored, 5 failed" in done.stderr
    summary = json.loads(done.stdout)
    assert (summary["status"], summary["exit_code"]) == ("SUCCEEDED", 0)
    assert summary["entrypoint"].startswith("python -m cnnjobs predict ")
    # the path has a space
    assert f"'{output}'" in summary["entrypoint"]
    assert (output / "_SUCCESS").exists()
    assert summary["job"] in head.cnnjobs("jobs", "list").stdout


def test_an_installed_package_is_submitted_without_a_checkout(head: Head, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cnnjobs", tmp_path / "site" / "cnnjobs", ignore=ignored)
    # else Python would import from the current folder first
    installed = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    words = ["index", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet"]
    failed = head.cnnjobs("submit", *words, **installed)
    assert f"error: {tmp_path}/absent does not exist.\n" in failed.stderr
    assert failed.returncode == 2


def test_submit_ends_with_the_exit_code_of_the_job(head: Head, tmp_path: Path) -> None:
    failed = head.cnnjobs("submit", "index", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet")
    assert failed.returncode == 2
    assert f"error: {tmp_path}/absent does not exist.\n" in failed.stderr
    assert failed.stderr.endswith(" failed with exit code 2.\n")


def test_a_job_is_followed_even_if_the_answer_to_its_submission_is_lost(
    head: Head, tmp_path: Path
) -> None:
    words = ["index", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet"]
    with proxy_of(head.dashboard) as proxy:
        proxy.rules.append(Rule("lost", r"^POST /api/jobs/$", times=1))
        sent = head.cnnjobs("submit", "--address", proxy.endpoint, *words)
    assert proxy.injected == {"lost": 1}
    assert sent.returncode == 2
    assert f"error: {tmp_path}/absent does not exist.\n" in sent.stderr
    assert _num_jobs(head, words[1]) == 1


def test_a_job_that_is_not_accepted_is_an_error_and_leaves_nothing(
    head: Head, tmp_path: Path
) -> None:
    words = ["index", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet"]
    with proxy_of(head.dashboard) as proxy:
        proxy.rules.append(Rule("reset", r"^POST /api/jobs/$"))
        sent = head.cnnjobs("submit", "--address", proxy.endpoint, *words)
    assert sent.returncode == 1
    assert sent.stderr.startswith(
        "error: the cluster did not accept the job: ('Connection aborted.'"
    )
    assert _num_jobs(head, words[1]) == 0


def test_rays_own_command_line_submits_a_job(head: Head, tmp_path: Path) -> None:
    """By the path of a script, so that Python imports from `jobs` first."""
    ray = Path(sys.executable).with_name("ray")
    script = ["python", "jobs/index.py", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet"]
    done = subprocess.run(
        [ray, "job", "submit", "--address", head.dashboard, "--working-dir", ".", "--", *script],
        cwd=ROOT,
        env=environment_of_a_user(**head.environment, RAY_AUTH_MODE="token"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"error: {tmp_path}/absent does not exist." in done.stdout + done.stderr


def test_ctrl_c_leaves_the_job_running_until_it_is_stopped(head: Head, tmp_path: Path) -> None:
    following = head.start_cnnjobs("submit", *_long_job(tmp_path))
    assert following.stderr is not None
    name = following.stderr.readline().split()[1]
    _wait_for(head, name, "RUNNING")
    following.send_signal(signal.SIGINT)
    assert "which keeps running; cnnjobs jobs logs -f" in following.communicate()[1]
    assert following.returncode == 130

    stopped = head.cnnjobs("jobs", "stop", name)
    assert (stopped.returncode, stopped.stdout.split(" after ")[0]) == (0, f"{name} was stopped")
    assert head.cnnjobs("jobs", "logs", "-f", name).returncode != 0
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_doctor_finds_nothing_wrong_with_a_healthy_head(head: Head) -> None:
    done = head.cnnjobs("doctor", head.dashboard, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert [*checks] == [
        *("reachable", "Ray", "token", "jobs", "Python", "packages", "machines", "memory")
    ]
    assert checks["token"]["found"] == "required"
    assert checks["machines"]["found"] == "1 nodes, 2 CPUs, 0 GPUs"


@pytest.mark.slow
def test_doctor_lists_an_s3_prefix_with_the_keys_of_the_cluster(head: Head, s3: str) -> None:
    filesystem.write_bytes(f"{s3}/archive/a.png", b"image")
    before = _num_jobs(head, "")
    # invalid keys on this machine
    keys = {"AWS_SECRET_ACCESS_KEY": "wrong"}
    done = head.cnnjobs("doctor", head.dashboard, "--s3", f"{s3}/archive", "--json", **keys)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert (checks["S3"]["ok"], checks["S3"]["found"]) == (False, "no access from here")
    assert checks["S3 there"] == {
        "name": "S3 there",
        "ok": True,
        "found": f"{s3}/archive can be listed from the cluster",
        "fix": None,
    }
    # Ray would record a job again that was deleted too early
    assert _num_jobs(head, "") == before


@pytest.mark.slow
def test_on_a_terminal_ctrl_c_asks_whether_to_stop_the_job(head: Head, tmp_path: Path) -> None:
    words = ["submit", *_long_job(tmp_path)]
    for answer in ("\x03", "\x04", "n\n"):
        with terminal([*CNNJOBS, *words], **head.environment) as shown:
            shown.wait_for("Running entrypoint for job")
            shown.type("\x03")
            shown.wait_for("as well? [y/N]:")
            shown.type(answer)
            code = shown.process.wait()
        name = shown.text().split("entrypoint for job ")[1].split(":")[0]
        text = " ".join(shown.text().split())
        assert code == 130
        assert f"stop the job {name} as well? [y/N]:" in text
        assert f"no longer following {name}, which keeps running;" in text
        assert "Aborted" not in text
        words = ["jobs", "logs", "-f", name]
    with terminal([*CNNJOBS, *words], **head.environment) as shown:
        shown.wait_for("Running entrypoint for job")
        shown.type("\x03")
        shown.wait_for("as well? [y/N]:")
        shown.type("y\n")
        assert shown.process.wait() == 1
    assert " ".join(shown.text().split()).endswith(f"error: {name} was stopped.")


def test_a_wrong_token_and_an_unknown_job_are_one_line_errors(head: Head) -> None:
    refused = head.cnnjobs("submit", "index", "a", "-o", "b.parquet", RAY_AUTH_TOKEN="0" * 64)
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        f"error: the cluster at {head.dashboard} rejects the token in RAY_AUTH_TOKEN,"
    )
    unknown = head.cnnjobs("jobs", "status", "nothing")
    assert (unknown.returncode, unknown.stderr) == (
        2,
        f"error: the cluster at {head.dashboard} has no job nothing; see: cnnjobs jobs list\n",
    )


def test_a_taken_port_and_joining_a_local_head_are_one_line_errors(head: Head) -> None:
    port = head.address.rpartition(":")[2]
    taken = head.cnnjobs("cluster", "start", "--head", "--port", port)
    assert (taken.returncode, taken.stderr) == (
        2,
        f"error: {head.address} cannot be used (Address already in use); use another --port or "
        "--host, or stop what uses it: `cnnjobs cluster status`.\n",
    )
    joined = head.cnnjobs("cluster", "start", "--address", head.address)
    assert joined.returncode == 2
    assert f"the head {head.address} serves this machine only" in joined.stderr


def test_stop_leaves_nodes_of_others_running(head: Head, tmp_path: Path) -> None:
    refused = cnnjobs("cluster", "stop", HOME=str(tmp_path))
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: `cnnjobs cluster start` has no node running on this machine.\n",
    )
    other = head.cnnjobs("cluster", "stop", "--address", "127.0.0.1:1")
    assert "has no node of 127.0.0.1:1 running" in other.stderr
    assert json.loads(head.cnnjobs("cluster", "status", "--json").stdout)["nodes"]


def test_status_and_doctor_report_what_was_spilled(head: Head) -> None:
    # the last test of this file: the count remains as long as the head runs
    assert python(_SPILL, head.address, **head.environment).returncode == 0
    [node] = json.loads(head.cnnjobs("cluster", "status", "--json").stdout)["nodes"]
    assert node["cluster"]["spilled_bytes"]["127.0.0.1"] >= 50_000_000
    assert head.cnnjobs("cluster", "status").stdout.endswith(" GiB on 127.0.0.1\n")
    found = json.loads(head.cnnjobs("doctor", head.dashboard, "--json").stdout)
    [spilled] = (check for check in found["checks"] if check["name"] == "spilled")
    assert (found["ok"], spilled["ok"]) == (True, True)
    assert "GiB on 127.0.0.1 written to disk since the start" in spilled["found"]


def _long_job(folder: Path) -> list[str]:
    """A job that scores for minutes."""
    archives.write_archive(folder / "images", 3000)
    archives.write_bundle(str(folder / "bundle"))
    return [
        "predict",
        *(str(folder / name) for name in ("bundle", "images")),
        "-o",
        str(folder / "out"),
    ]


def _wait_for(head: Head, name: str, status: str) -> None:
    for _ in range(100):
        job = json.loads(head.cnnjobs("jobs", "status", name, "--json").stdout)
        if job["status"] == status:
            return
        time.sleep(0.2)
    raise AssertionError(f"{name} is {job['status']}, not {status}")


def _num_jobs(head: Head, word: str) -> int:
    listed = json.loads(head.cnnjobs("jobs", "list", "--json").stdout)["jobs"]
    return sum(word in job["entrypoint"] for job in listed)
