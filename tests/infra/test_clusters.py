"""The files for `ray up`: valid by Ray's schema, and as secure as documented."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from tests.support.paths import ROOT

AWS, ONPREM = ROOT / "ray-cluster.yaml", ROOT / "infra" / "ray-cluster-onprem.yaml"

#: A data file of the package; the function that reads it is private.
SCHEMA = json.loads(
    Path(ray.__file__).with_name("autoscaler").joinpath("ray-schema.json").read_text()
)

BOTH = pytest.mark.parametrize("file", [AWS, ONPREM], ids=lambda file: file.stem)


@BOTH
def test_a_cluster_file_is_valid_by_the_schema_of_the_pinned_ray(file: Path) -> None:
    jsonschema.validate(_read(file), SCHEMA)


@BOTH
def test_an_unknown_key_is_rejected(file: Path) -> None:
    with pytest.raises(jsonschema.ValidationError, match="'max_worker' was unexpected"):
        jsonschema.validate({**_read(file), "max_worker": 1}, SCHEMA)


@BOTH
def test_every_node_requires_the_token_and_the_dashboard_is_local(file: Path) -> None:
    config = _read(file)
    commands = _start_commands(config)
    for command in commands.values():
        assert "RAY_AUTH_MODE=token ray start" in command
    assert "--dashboard-host=127.0.0.1" in commands["head"]
    assert "--num-cpus=0" in commands["head"]
    assert list(config["file_mounts"].values()) == ["~/.ray/auth_token"]


@BOTH
def test_every_node_is_started_with_options_of_ray_start(file: Path) -> None:
    ray_start = [Path(sys.executable).with_name("ray"), "start", "--help"]
    shown = subprocess.run(ray_start, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  (--[\w-]+)", shown, flags=re.MULTILINE))
    for command in _start_commands(_read(file)).values():
        assert set(re.findall(r"(--[\w-]+)=?", command.partition("ray start")[2])) <= known


def test_machines_on_aws_have_no_public_address_and_use_our_security_group() -> None:
    config = _read(AWS)
    assert config["provider"]["use_internal_ips"]
    for kind in config["available_node_types"].values():
        node = kind["node_config"]
        [interface] = node["NetworkInterfaces"]
        assert interface["AssociatePublicIpAddress"] is False
        assert interface["Groups"]
        assert interface["SubnetId"]
        # Ray refuses them beside interfaces
        assert not {"SubnetId", "SubnetIds", "SecurityGroupIds"} & set(node)
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert set(node["IamInstanceProfile"]) == {"Name"}
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])


def test_every_spot_type_on_aws_falls_back_to_the_same_machine_at_full_price() -> None:
    kinds = _read(AWS)["available_node_types"]
    spot = {name for name, kind in kinds.items() if _market(kind) == {"MarketType": "spot"}}
    assert spot == {"cpu-spot", "gpu-spot"}
    for name in spot:
        spot_kind, fallback = kinds[name], kinds[name.removesuffix("-spot")]
        assert spot_kind["priority"] > fallback["priority"]
        assert _market(fallback) == {}
        assert spot_kind["resources"] == fallback["resources"]
        # in another zone
        zones = [kind["node_config"].pop("NetworkInterfaces") for kind in (spot_kind, fallback)]
        assert zones[0] != zones[1]
        assert {**spot_kind["node_config"], "InstanceMarketOptions": {}} == fallback["node_config"]


def test_the_head_on_aws_has_no_cores_for_jobs_and_workers_are_added_on_demand() -> None:
    config = _read(AWS)
    kinds = dict(config["available_node_types"])
    assert kinds.pop(config["head_node_type"])["resources"] == {"CPU": 0}
    for kind in kinds.values():
        assert kind["min_workers"] == 0
        assert kind["max_workers"] <= config["max_workers"]


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def _start_commands(config: dict[str, Any]) -> dict[str, str]:
    return {kind: config[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker")}


def _market(kind: dict[str, Any]) -> Any:
    return kind["node_config"].get("InstanceMarketOptions")
