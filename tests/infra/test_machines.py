"""The image, the permissions on AWS, and the systemd units of a nightly run."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

INFRA = ROOT / "infra"
POLICIES = sorted(INFRA.glob("iam-*.json"))


def _instructions() -> list[tuple[str, str]]:
    text = (INFRA / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")
    ]


def test_the_image_runs_as_a_numeric_user_and_has_no_entrypoint() -> None:
    words = _instructions()
    assert [rest for word, rest in words if word == "USER"][-1] == "1000:1000"
    assert "ENTRYPOINT" not in {word for word, _ in words}
    assert {word for word, _ in words} <= {
        "ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "CMD",
    }  # fmt: skip


def test_everything_in_the_image_is_pinned() -> None:
    words = _instructions()
    bases = [rest.split()[0] for word, rest in words if word == "FROM"]
    assert bases == ["${BASE}"] * 2
    base = next(rest.removeprefix("BASE=") for word, rest in words if rest.startswith("BASE="))
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    installs = re.findall(r"pip install [^&;]*", " ".join(rest for _, rest in words))
    how = ["--require-hashes", "--no-deps", "--constraint /source/constraints.txt"]
    assert [each for each, install in zip(how, installs, strict=True) if each in install] == how


def test_the_lock_has_the_tested_versions_with_hashes_and_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", lock.replace("\\\n", " "), flags=re.MULTILINE)
    locked = {line.split("==")[0]: line.split() for line in text.splitlines()}
    tested = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    unknown = []
    for name, (pinned, *rest) in locked.items():
        assert [word for word in rest if re.fullmatch("--hash=sha256:[0-9a-f]{64}", word)], name
        if pinned not in tested.splitlines():
            unknown.append(name)
    # of another platform or Python than the one that is tested
    assert len(unknown) < 10, unknown
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dicom"]]
    assert {re.split(r"[\[<>=]", each)[0].lower() for each in needed} <= set(locked)
    assert "://" not in lock


def test_the_build_context_contains_only_what_the_image_copies() -> None:
    copied = [
        source
        for word, rest in _instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert all((ROOT / name).exists() for name in copied)
    lines = (INFRA / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(copied)


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_a_policy_allows_only_named_actions_with_documented_reasons(file: Path) -> None:
    policy = json.loads(file.read_text(encoding="utf-8"))
    reasons = (INFRA / "README.md").read_text(encoding="utf-8")
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"
        assert f"`{statement['Sid']}`" in reasons
        for action in statement["Action"]:
            assert re.fullmatch(r"(s3|ec2|ecr|iam|ssm|ssmmessages):[A-Z]\w+", action), action


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_a_policy_allows_writing_only_to_the_output(file: Path) -> None:
    for statement in json.loads(file.read_text(encoding="utf-8"))["Statement"]:
        if {"s3:PutObject", "s3:DeleteObject"} & set(statement["Action"]):
            assert statement["Resource"] == ["arn:aws:s3:::scored/*"]
        elif any(action.startswith("s3:") for action in statement["Action"]):
            assert "*" not in statement["Resource"]


def test_the_head_starts_only_tagged_machines_in_the_subnets_and_images_of_the_cluster() -> None:
    policy = json.loads((INFRA / "iam-head.json").read_text(encoding="utf-8"))
    starting = [each for each in policy["Statement"] if each["Action"] == ["ec2:RunInstances"]]
    tagged, rest = starting
    assert tagged["Resource"].endswith(":instance/*")
    assert tagged["Condition"] == {"StringEquals": {"aws:RequestTag/ray-cluster-name": "cnnjobs"}}
    cluster = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text(encoding="utf-8"))
    assert cluster["cluster_name"] == "cnnjobs"
    named = set()
    for kind in cluster["available_node_types"].values():
        node = kind["node_config"]
        [interface] = node["NetworkInterfaces"]
        named |= {node["ImageId"], interface["SubnetId"], *interface["Groups"]}
    allowed = {resource.rpartition("/")[2] for resource in rest["Resource"]}
    assert allowed - {"*"} == named


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze on this machine")
    for file in (INFRA / "systemd").iterdir():
        # the command is not installed here
        text = file.read_text(encoding="utf-8").replace("/opt/cnnjobs/bin/cnnjobs", "/bin/true")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    units = [str(file) for file in tmp_path.iterdir()]
    done = subprocess.run([verify, "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_timer_and_its_service_have_the_same_name() -> None:
    names = sorted(file.name for file in (INFRA / "systemd").iterdir())
    assert names == ["cnnjobs-predict.service", "cnnjobs-predict.timer"]
