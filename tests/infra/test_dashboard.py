"""The dashboard of infra/monitoring: each query names metrics that a real job exposes."""

import json
import re
import urllib.request
from pathlib import Path

import pytest
import ray

from cnnjobs.cluster import spilling
from cnnjobs.config import PredictConfig
from cnnjobs.inference.predict import predict
from tests.support.paths import ROOT
from tests.support.processes import wait_until

DASHBOARD = json.loads((ROOT / "infra/monitoring/dashboard.json").read_text(encoding="utf-8"))
QUERIES = {
    panel["title"]: target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
}


@pytest.mark.usefixtures("ray_session")
def test_every_query_finds_its_metrics_and_labels_in_those_of_a_job(
    untrained: Path, archive: Path, tmp_path: Path
) -> None:
    output = str(tmp_path / "run")
    predict(PredictConfig(bundle=str(untrained / "bundle"), data=str(archive), output=output))

    def is_found(query: str) -> bool:
        series = [line for line in _scraped() if not line.startswith("#")]
        labels = [word for by in re.findall(r"by \((.*?)\)", query) for word in by.split(", ")]
        conditions = re.findall(r"\{(.*?)\}", query)
        return all(
            any(
                line.startswith(f"{name}{{")
                and all(f'{label}="' in line for label in labels if label != "instance")
                and all(condition in line for condition in conditions)
                for line in series
            )
            for name in re.findall(r"\bray_\w+", query)
        )

    missing = set(QUERIES)

    def is_complete() -> bool:
        missing.difference_update([title for title in missing if is_found(QUERIES[title])])
        return not missing

    # Ray publishes every ten seconds
    wait_until(is_complete)


def _scraped() -> list[str]:
    lines = []
    for target in spilling.targets(ray.nodes()):
        with urllib.request.urlopen(f"http://{target}/metrics") as answer:
            lines += answer.read().decode().splitlines()
    return lines
