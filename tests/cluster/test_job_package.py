"""What goes along with a job, what its paths become, and the command line that it gets."""

import dataclasses
from pathlib import Path

import pytest

from cnnjobs.cli.command import CONFIGS
from cnnjobs.cluster import job_package, jobs
from cnnjobs.cluster.jobs import JobFailed, JobSummary
from cnnjobs.config import IndexConfig, PredictConfig, TuneConfig
from cnnjobs.errors import InputError

#: Settings of text that name no file; a new one belongs here, or with those of `shipping`.
WORDS = {
    *("address", "augment", "balance", "cache", "class_weight", "damaged", "engine"),
    *("group_regex", "keep", "leave_out", "recipe", "source_regex", "title"),
    *("max_errors", "monitor", "partition_by", "positive", "s3_endpoint", "s3_profile"),
    *("s3_region", "schedule", "split", "threshold_rule"),
}


def test_every_setting_of_text_is_known_to_be_a_path_or_none() -> None:
    texts = {
        field.name
        for verb in jobs.verbs()
        for field in dataclasses.fields(CONFIGS[verb])
        if "str" in str(field.type)
    }
    assert texts - WORDS - {*job_package.PLACES, *job_package.SENT, *job_package.SECRETS} == set()


def test_a_path_that_the_cluster_does_not_see_is_refused(tmp_path: Path) -> None:
    config = PredictConfig(bundle="s3://b/run", data=str(tmp_path), output="s3://b/out")
    with pytest.raises(InputError) as refused:
        job_package.placed(config, seen=["/mnt/all"], address="http://head:8265")
    assert str(refused.value) == (
        f"data is {tmp_path} on this machine, which the cluster at http://head:8265 does not see; "
        "give s3://bucket/name, or --shared-path FOLDER if all its machines have that folder."
    )
    placed, _ = job_package.placed(config, seen=[str(tmp_path.parent)], address="")
    assert placed == config


def test_a_relative_path_becomes_absolute_because_a_job_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = PredictConfig(bundle="run", data="s3://b/archive", output="out", bundles=("other",))
    placed, files = job_package.placed(config, seen=["/"], address="")
    assert placed == PredictConfig(
        bundle=f"{tmp_path}/run",
        data="s3://b/archive",
        output=f"{tmp_path}/out",
        bundles=(f"{tmp_path}/other",),
    )
    assert files == {}


def test_small_files_go_along_and_are_named_where_the_job_finds_them(tmp_path: Path) -> None:
    for name in ("space.yaml", "own.py"):
        (tmp_path / name).write_text("")
    config = TuneConfig(
        data="s3://b/m.parquet",
        output="s3://b/run",
        space=f"{tmp_path}/space.yaml",
        model=f"{tmp_path}/own.py:build",
        weights="imagenet",
    )
    placed, files = job_package.placed(config, seen=[], address="")
    assert (placed.space, placed.model) == ("sent/space/space.yaml", "sent/model/own.py:build")
    assert placed.weights == "imagenet"
    job_package.lay_out(files, tmp_path / "there")
    assert (tmp_path / "there" / "sent" / "model" / "own.py").is_file()


def test_a_file_that_is_not_there_and_a_key_are_not_sent(tmp_path: Path) -> None:
    config = IndexConfig(sources=("s3://b",), output="s3://b/m.parquet", groups="absent.csv")
    with pytest.raises(InputError, match=r"^groups absent.csv does not exist; it would be sent"):
        job_package.placed(config, seen=[], address="")
    config = IndexConfig(
        sources=("s3://b",), output="s3://b/m.parquet", group_key=f"{tmp_path}/key"
    )
    with pytest.raises(InputError, match=r"^group_key is .*/key on this machine"):
        job_package.placed(config, seen=[], address="")


def test_the_project_is_sent_and_nothing_beside_it() -> None:
    files = job_package.package_files()
    assert {"cnnjobs/cli/app.py", "jobs/predict.py"} <= set(files)
    assert {name.split("/")[0] for name in files} == {"cnnjobs", "jobs"}
    assert not any("__pycache__" in name for name in files)
    assert job_package.checked_size(files) < 5 << 20


def test_too_much_to_send_is_refused_with_the_largest_files(tmp_path: Path) -> None:
    for name, size in (("small", 10), ("big", 60 << 20), ("bigger", 80 << 20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    files = {name: tmp_path / name for name in ("small", "big", "bigger")}
    with pytest.raises(InputError) as refused:
        job_package.checked_size(files)
    assert str(refused.value) == (
        "what would be sent has 140.0 MiB, and Ray takes 100 MiB; the largest: "
        f"{tmp_path}/bigger 80.0 MiB, {tmp_path}/big 60.0 MiB, {tmp_path}/small 0.0 MiB."
    )


def test_the_pins_are_the_versions_that_are_installed_without_ray() -> None:
    names = {pin.split("==")[0] for pin in job_package.pins()}
    assert {"keras", "tensorflow", "pyarrow"} <= names
    assert not names & {"ray", "pydicom", "pytest"}


@pytest.mark.parametrize(
    ("status", "code", "message", "told", "own"),
    [
        ("FAILED", 3, None, "j failed with exit code 3.", 3),
        ("FAILED", -9, None, "j failed with exit code -9.", 137),
        ("FAILED", None, "no environment.\nmore", "j failed: no environment.", 1),
        ("STOPPED", None, "Job was stopped.", "j was stopped.", 1),
    ],
)
def test_how_a_job_ended_is_told_with_its_code(
    status: str, code: int | None, message: str | None, told: str, own: int
) -> None:
    summary = JobSummary(
        job="j", status=status, exit_code=code, entrypoint="", seconds=None, message=message
    )
    with pytest.raises(JobFailed) as failed:
        jobs.judge(summary)
    assert (str(failed.value), failed.value.exit_code) == (told, own)
