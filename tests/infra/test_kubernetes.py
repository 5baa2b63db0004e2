"""The manifests for KubeRay: valid by its CRDs, and consistent with each other."""

import copy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from tests.support.paths import ROOT

INFRA = ROOT / "infra"
SCHEMA = yaml.safe_load(Path(__file__).with_name("kuberay.schema.yaml").read_text())
BASE = sorted(file for file in (INFRA / "base").glob("*.yaml") if file.stem != "kustomization")
JOBS = sorted(INFRA.glob("ray*job-*.yaml"))
OVERLAYS = ("cpu", "gpu", "spot")
MONITOR = INFRA / "monitoring" / "podmonitor.yaml"


@pytest.mark.parametrize("file", [*BASE, *JOBS, MONITOR], ids=lambda file: file.stem)
def test_a_manifest_has_only_fields_of_its_kind(file: Path) -> None:
    for each in _read_all(file):
        jsonschema.validate(each, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["spec", "authOption"], {"mode": "token"}),
        (["spec", "headGroupSpec", "template", "spec", "containers", 0, "resource"], {}),
        (["spec", "workerGroupSpecs", 0, "maxReplica"], 3),
        (["spec", "rayVersion"], 2.60),
        (["spec", "workerGroupSpecs", 0, "template", "spec", "securityContext"], {}),
    ],
)
def test_a_misspelt_field_or_a_wrong_type_is_found(path: list[Any], value: Any) -> None:
    cluster = _cluster()
    _set(cluster, path, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, SCHEMA)


@pytest.mark.parametrize(
    "field",
    [
        # refused by the operator
        {"backoffLimit": 1},
        {"suspend": True},
        {"ttlSecondsAfterFinished": 600},
        # without effect on the job, or none at all
        {"activeDeadlineSeconds": 600},
        {"shutdownAfterJobFinishes": True},
        {
            "deletionStrategy": {
                "deletionRules": [
                    {"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "ttlSeconds": 60}}
                ]
            }
        },
    ],
    ids=lambda field: next(iter(field)),
)
@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_a_field_that_a_job_on_a_running_cluster_may_not_have_is_found(
    file: Path, field: dict[str, Any]
) -> None:
    manifest = _read(file)
    spec = manifest["spec"].get("jobTemplate", manifest["spec"])
    jsonschema.validate(manifest, SCHEMA)
    spec.update(field)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)


def test_the_base_lists_every_file_in_its_folder() -> None:
    listed = _read(INFRA / "base" / "kustomization.yaml")["resources"]
    assert sorted(listed) == [file.name for file in BASE]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_patches_existing_fields_and_the_result_is_valid(name: str) -> None:
    cluster = _built(name)
    jsonschema.validate(cluster, SCHEMA)
    images = {each["image"] for each in _containers(cluster)}
    assert len(images) == 1
    assert images.pop().endswith("-gpu") == (name == "gpu")


@pytest.mark.parametrize("name", OVERLAYS)
def test_kubectl_builds_the_same_overlay_as_these_tests(name: str) -> None:
    built = _built_by_kubectl(name)
    [cluster] = [each for each in built if each["kind"] == "RayCluster"]
    del cluster["metadata"]["namespace"]
    assert cluster == _built(name)
    assert len(built) == sum(len(_read_all(file)) for file in BASE)


@pytest.mark.parametrize("name", [*OVERLAYS, "job"])
def test_every_pod_that_uses_s3_has_an_account_with_the_role_or_keys(name: str) -> None:
    """As rendered: the drivers on the head, and the workers."""
    built = _built_by_kubectl(name)
    accounts = {
        each["metadata"]["name"]: each for each in built if each["kind"] == "ServiceAccount"
    }
    pods = list(_pods(built))
    assert len(pods) == 2
    for pod in pods:
        account = accounts[pod["serviceAccountName"]]
        role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert role.endswith(":role/cnnjobs-worker")
        for container in pod["containers"]:
            assert {"secretRef": {"name": "cnnjobs-s3", "optional": True}} in container["envFrom"]
    # the autoscaler on the head calls the Kubernetes API
    assert "automountServiceAccountToken" not in accounts["cnnjobs-head"]
    assert accounts["cnnjobs-worker"]["automountServiceAccountToken"] is False


def test_a_job_with_a_cluster_of_its_own_has_a_fixed_size_and_is_cleaned_up() -> None:
    built = _built_by_kubectl("job")
    [job] = [each for each in built if each["kind"] == "RayJob"]
    spec = job["spec"]
    assert "kueue.x-k8s.io/queue-name" in job["metadata"]["labels"]
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (2, True)
    [workers] = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"]
    assert not spec["rayClusterSpec"]["enableInTreeAutoscaling"]
    # the policy covers it, though its cluster gets another name
    [policy] = [each["spec"] for each in built if each["kind"] == "NetworkPolicy"]
    for group in (spec["rayClusterSpec"]["headGroupSpec"], workers):
        assert policy["podSelector"]["matchLabels"] == group["template"]["metadata"]["labels"]
    assert (
        policy["ingress"][0]["from"]
        == policy["egress"][0]["to"]
        == [{"podSelector": policy["podSelector"]}]
    )


def test_only_the_workers_of_the_gpu_overlay_have_a_gpu() -> None:
    has_gpu = {
        (name, each["name"])
        for name in OVERLAYS
        for each in _containers(_built(name))
        if "nvidia.com/gpu" in each["resources"]["limits"]
    }
    assert has_gpu == {("gpu", "ray-worker")}


def test_the_head_is_never_on_spot_and_workers_prefer_it() -> None:
    head, worker = (
        group["template"]["spec"]["affinity"]["nodeAffinity"]
        for group in (
            _built("spot")["spec"]["headGroupSpec"],
            *_built("spot")["spec"]["workerGroupSpecs"],
        )
    )
    assert list(head) == ["requiredDuringSchedulingIgnoredDuringExecution"]
    assert list(worker) == ["preferredDuringSchedulingIgnoredDuringExecution"]


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_a_job_uses_the_cluster_and_image_of_the_base_and_may_reach_it(file: Path) -> None:
    manifest, policy = _read(file), _read(INFRA / "base" / "networkpolicy.yaml")
    job = manifest["spec"].get("jobTemplate", manifest["spec"])
    assert manifest["metadata"]["namespace"] == _namespace()
    assert job["clusterSelector"] == {"ray.io/cluster": _cluster()["metadata"]["name"]}
    [submitter] = job["submitterPodTemplate"]["spec"]["containers"]
    assert {submitter["image"]} == {each["image"] for each in _containers(_built("cpu"))}
    admitted = policy["spec"]["ingress"][1]["from"][0]["podSelector"]["matchLabels"]
    assert job["submitterPodTemplate"]["metadata"]["labels"] == admitted
    # KubeRay does not stop it (kuberay#5295)
    assert "--deadline" in job["entrypoint"]
    if manifest["kind"] == "RayJob":
        assert "name" not in manifest["metadata"]


def test_the_cluster_requires_a_token_and_runs_the_pinned_ray() -> None:
    spec = _cluster()["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == ray.__version__
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_only_the_cluster_itself_reaches_ports_other_than_the_dashboards() -> None:
    policy = _read(INFRA / "base" / "networkpolicy.yaml")["spec"]
    own = {"matchLabels": {"ray.io/cluster": _cluster()["metadata"]["name"]}}
    inside, others, prometheus = policy["ingress"]
    assert policy["podSelector"] == own
    assert inside == {"from": [{"podSelector": own}]}
    assert others["ports"] == [{"protocol": "TCP", "port": 8265}]
    # the port that KubeRay calls `metrics`, which the monitor reads
    assert prometheus["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_all_mounted_volumes_exist() -> None:
    for file in [INFRA / "base" / "raycluster.yaml", *JOBS]:
        for pod in _pods(_read(file)):
            volumes = {volume["name"] for volume in pod["volumes"]}
            for container in pod["containers"]:
                assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def _read_all(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def _built_by_kubectl(name: str) -> list[dict[str, Any]]:
    """The manifests of an overlay, each valid and in the namespace."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on this machine")
    build = [kubectl, "kustomize", str(INFRA / "overlays" / name)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    built = list(yaml.safe_load_all(done.stdout))
    for each in built:
        jsonschema.validate(each, SCHEMA)
        where = "name" if each["kind"] == "Namespace" else "namespace"
        assert each["metadata"][where] == _namespace()
    return built


def _cluster() -> dict[str, Any]:
    return _read(INFRA / "base" / "raycluster.yaml")


def _namespace() -> str:
    return str(_read(INFRA / "base" / "kustomization.yaml")["namespace"])


def _built(name: str) -> dict[str, Any]:
    """The cluster of an overlay, as built by `kubectl kustomize`."""
    overlay = _read(INFRA / "overlays" / name / "kustomization.yaml")
    [below] = overlay["resources"]
    cluster = _cluster() if below == "../../base" else _built(below.removeprefix("../"))
    cluster = copy.deepcopy(cluster)
    for patch in overlay.get("patches", []):
        assert patch["target"]["kind"] == cluster["kind"]
        assert patch["target"]["name"] == cluster["metadata"]["name"]
        for change in yaml.safe_load(patch["patch"]):
            _change(cluster, **change)
    for image in overlay.get("images", []):
        named = [each for each in _containers(cluster) if each["image"] == image["name"]]
        assert named, f"{name} names an image that nothing uses: {image['name']}"
        for each in named:
            each["image"] = f"{image['newName']}:{image['newTag']}"
    return cluster


def _change(cluster: dict[str, Any], *, op: str, path: str, value: Any) -> None:
    """One step of a JSON patch (RFC 6902): replace an existing value, or add a new one."""
    keys = [key.replace("~1", "/") for key in path.split("/")[1:]]
    steps: list[Any] = [int(key) if key.isdigit() else key for key in keys]
    parent: Any = cluster
    for step in steps[:-1]:
        parent = parent[step]
    assert (steps[-1] in parent) == (op == "replace"), f"{op} {path}"
    parent[steps[-1]] = copy.deepcopy(value)


def _set(document: Any, path: list[Any], value: Any) -> None:
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value


def _pods(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod's spec in a manifest."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return
    if "containers" in value:
        yield value
    for inner in value.values():
        yield from _pods(inner)


def _containers(value: Any) -> list[dict[str, Any]]:
    return [container for pod in _pods(value) for container in pod["containers"]]
