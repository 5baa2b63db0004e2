"""What a job writes about itself while it runs: `progress.jsonl`, and for Prometheus."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cnnjobs.cli import main
from cnnjobs.config import PredictConfig
from cnnjobs.errors import ConfigError, StorageError
from cnnjobs.inference.predict import predict
from cnnjobs.inference.reports import MetricsFile, ProgressFile, metrics
from tests.support import archives

FACTS = {"total": 5000, "done": 1200, "images_per_second": 61.25, "failed": 3}


def test_lines_come_every_few_seconds_and_at_the_end_over_all_sessions(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    with path.open("w+") as reader:
        for _ in range(2):
            session = ProgressFile(str(path))
            session.add({"done": 1})
            # too soon
            session.add({"done": 2})
            assert json.loads(reader.read()) == {"done": 1}
            session.add({"done": 3}, last=True)
            assert json.loads(reader.read()) == {"done": 3}


def samples(path: Path) -> dict[tuple[str, str | None], float]:
    """The values by name and reason, as Prometheus' own parser reads them."""
    families = list(text_string_to_metric_families(path.read_text()))
    assert all(family.documentation and family.type == "gauge" for family in families)
    read = [sample for family in families for sample in family.samples]
    assert len({sample.labels["run"] for sample in read}) == 1
    return {(sample.name, sample.labels.get("reason")): sample.value for sample in read}


def test_prometheus_reads_the_metrics(tmp_path: Path) -> None:
    path = tmp_path / "cnnjobs.prom"

    MetricsFile(str(path), "/srv/scored").write(metrics(FACTS, {"truncated": 2, "not an image": 1}))

    assert samples(path) == {
        ("cnnjobs_images", None): 5000,
        ("cnnjobs_images_done", None): 1200,
        ("cnnjobs_images_per_second", None): 61.25,
        ("cnnjobs_images_failed", "truncated"): 2,
        ("cnnjobs_images_failed", "not an image"): 1,
    }
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a\nb", "a{b}=,#", "Größe 胸"])
def test_any_name_of_a_run_can_be_a_label(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cnnjobs.prom"

    MetricsFile(str(path), name).write(metrics({**FACTS, "images_per_second": None}, {}))

    (family, *_) = text_string_to_metric_families(path.read_text())
    assert family.samples[0].labels == {"run": name}


def test_the_file_is_replaced_every_few_seconds_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "cnnjobs.prom"
    file = MetricsFile(str(path), "run")
    file.write(metrics(FACTS, {}))
    before = path.read_bytes()

    file.write(metrics({**FACTS, "done": 4000}, {}))
    assert path.read_bytes() == before
    file.write(metrics({**FACTS, "done": 5000}, {}), last=True)
    assert samples(path)["cnnjobs_images_done", None] == 5000


def test_a_job_goes_on_if_its_metrics_can_no_longer_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")

    MetricsFile(str(tmp_path / "file" / "cnnjobs.prom"), "run").write(metrics(FACTS, {}))

    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("name", ["metrics.txt", "s3://bucket/cnnjobs.prom"])
def test_a_metrics_file_that_nobody_would_read_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PredictConfig(bundle="b", data="d", output="o", metrics_file=name)

    assert str(refused.value) == (
        "metrics_file must be a local file whose name ends in .prom, because node_exporter reads "
        f"no other, got {name}."
    )


def test_a_log_file_tells_what_a_job_did(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))
    archives.write_archive(tmp_path / "archive", 40)
    words = ["predict", str(tmp_path / "bundle"), str(tmp_path / "archive")]
    flags = ["--rows-per-file", "30", "--log-file", str(tmp_path / "log.txt"), "--quiet"]

    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", str(tmp_path / "run"), *flags])

    assert ended.value.code == 0
    assert capsys.readouterr().err == ""
    # Ray Data, which sets up logging of its own, has been imported by then
    happened = (tmp_path / "log.txt").read_text()
    for event in (
        "40 images, 0 have a row",
        "scoring with openvino",
        "wrote 30 rows to part-00000.parquet",
        "wrote 10 rows to part-00001.parquet",
        "run.json: status done",
        "ended: 40 images: 40 scored, 0 failed, 0 scored before",
    ):
        assert event in happened


def test_a_job_keeps_its_metrics_with_the_failures_of_earlier_sessions(
    ray_session: None, tmp_path: Path
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))
    archives.write_archive(tmp_path / "archive", 40, num_broken=4)
    path = tmp_path / "cnnjobs.prom"
    settings: dict[str, Any] = {
        "bundle": str(tmp_path / "bundle"),
        "data": str(tmp_path / "archive"),
        "output": str(tmp_path / "run"),
        "metrics_file": str(path),
    }
    (tmp_path / "file").write_bytes(b"")
    refused = {**settings, "metrics_file": str(tmp_path / "file" / "cnnjobs.prom")}
    with pytest.raises(StorageError, match=r"file cannot be written: .* is a file"):
        predict(PredictConfig(**refused))

    summary = predict(PredictConfig(**settings))

    assert Counter(summary.failed) == {"truncated": 4}
    expected = {
        ("cnnjobs_images", None): 40,
        ("cnnjobs_images_done", None): 40,
        ("cnnjobs_images_failed", "truncated"): 4,
    }
    assert expected.items() <= samples(path).items()
    path.unlink()
    assert predict(PredictConfig(**settings, resume=True)).already_finished
    assert expected.items() <= samples(path).items()
