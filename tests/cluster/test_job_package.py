"""What is sent with a job, and what becomes of its paths."""

import dataclasses
from pathlib import Path

import pytest

from cnnjobs.cli.command import CONFIGS
from cnnjobs.cluster import job_package, jobs
from cnnjobs.cluster.jobs import JobFailed, JobSummary
from cnnjobs.cluster.submission import COMMANDS
from cnnjobs.config import IndexConfig, PredictConfig, TuneConfig
from cnnjobs.errors import InputError
from tests.support.paths import ROOT

#: Text settings that do not name a file; list a new one here, or with those of `job_package`.
NOT_FILES = {
    *("address", "at", "augment", "balance", "by", "cache", "class_weight", "damaged", "engine"),
    *("exclude", "freeze", "gone", "metrics_file"),
    *("expect", "group_regex", "keep", "leave_out", "optimizer", "recipe", "source_regex", "title"),
    *(
        "max_errors",
        "monitor",
        "partition_by",
        "positive",
        "precision",
        "s3_endpoint",
        "s3_profile",
    ),
    *("s3_region", "schedule", "split", "threshold_rule"),
    *("layout", "path_column", "label_column", "group_column", "split_column", "source_column"),
    *("map", "where", "positive_when", "negative_when", "uncertain", "dicom_key"),
    *("figures", "max_unmatched", "groups_missing"),
}


def test_every_text_setting_is_known_to_name_a_file_or_not() -> None:
    texts = {
        field.name
        for command in COMMANDS
        for field in dataclasses.fields(CONFIGS[command])
        if "str" in str(field.type)
    }
    assert texts - NOT_FILES - {*job_package.DATA, *job_package.SENT, *job_package.SECRETS} == set()


def test_a_path_that_the_cluster_cannot_see_is_refused(tmp_path: Path) -> None:
    config = PredictConfig(bundle="s3://b/run", data=str(tmp_path), output="s3://b/out")
    with pytest.raises(InputError) as refused:
        job_package.adapt(config, visible=["/mnt/all"], address="http://head:8265")
    assert str(refused.value) == (
        f"data is {tmp_path} on this machine, which the cluster at http://head:8265 cannot see; "
        "give s3://bucket/name, or --shared-path FOLDER if all its machines have that folder."
    )
    adapted, _ = job_package.adapt(config, visible=[str(tmp_path.parent)], address="")
    assert adapted == config


def test_a_relative_path_becomes_absolute_because_a_job_runs_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = PredictConfig(bundle="run", data="s3://b/archive", output="out", bundles=("other",))
    adapted, files = job_package.adapt(config, visible=["/"], address="")
    assert adapted == PredictConfig(
        bundle=f"{tmp_path}/run",
        data="s3://b/archive",
        output=f"{tmp_path}/out",
        bundles=(f"{tmp_path}/other",),
    )
    assert files == {}


def test_small_files_are_sent_under_names_that_the_job_finds(tmp_path: Path) -> None:
    for name in ("space.yaml", "own.py"):
        (tmp_path / name).write_text("")
    config = TuneConfig(
        data="s3://b/m.parquet",
        output="s3://b/run",
        space=f"{tmp_path}/space.yaml",
        model=f"{tmp_path}/own.py:build",
        weights="imagenet",
    )
    adapted, files = job_package.adapt(config, visible=[], address="")
    assert (adapted.space, adapted.model) == ("sent/space/space.yaml", "sent/model/own.py:build")
    assert adapted.weights == "imagenet"
    job_package.copy_to(tmp_path / "sent", files)
    assert (tmp_path / "sent" / "sent" / "model" / "own.py").is_file()


def test_every_table_and_file_of_groups_is_sent_under_a_name_of_its_own(tmp_path: Path) -> None:
    names = [tmp_path / folder / "t.csv" for folder in ("one", "two")]
    for name in names:
        name.parent.mkdir()
        name.write_text("path,group\n")
    config = IndexConfig(
        sources=("s3://b",),
        output="s3://b/m.parquet",
        table=(str(names[0]), str(names[1]), "s3://b/t.csv"),
        groups=(f"north={names[0]}", str(names[1])),
    )
    found, files = job_package.adapt(config, visible=(), address="h")
    assert found.table == ("sent/table/0/t.csv", "sent/table/1/t.csv", "s3://b/t.csv")
    assert found.groups == ("north=sent/groups/0/t.csv", "sent/groups/1/t.csv")
    assert [files[name] for name in found.table[:2]] == names


def test_a_missing_file_and_a_key_are_not_sent(tmp_path: Path) -> None:
    config = IndexConfig(sources=("s3://b",), output="s3://b/m.parquet", groups="absent.csv")
    with pytest.raises(InputError, match=r"^groups absent.csv does not exist; it has to be sent"):
        job_package.adapt(config, visible=[], address="")
    config = IndexConfig(
        sources=("s3://b",), output="s3://b/m.parquet", group_key=f"{tmp_path}/key"
    )
    with pytest.raises(InputError, match=r"^group_key is .*/key on this machine"):
        job_package.adapt(config, visible=[], address="")


def test_the_package_is_sent_without_jobs_tests_and_benchmarks() -> None:
    files = job_package.package_files()
    assert {"cnnjobs/__main__.py", "cnnjobs/reporting/page.html"} <= set(files)
    assert {name.split("/")[0] for name in files} == {"cnnjobs"}
    assert not any("__pycache__" in name for name in files)
    assert job_package.checked_size(files) < 5 << 20


def test_every_script_for_ray_job_submit_is_a_command_that_submit_runs() -> None:
    scripts = {file.stem for file in (ROOT / "jobs").glob("*.py")} - {"__init__"}
    # as `inspect.py` it would hide Python's own module
    assert {name.replace("inspection", "inspect") for name in scripts} == {*COMMANDS}


def test_too_much_to_send_is_refused_naming_the_largest_files(tmp_path: Path) -> None:
    for name, size in (("small", 10), ("big", 60 << 20), ("bigger", 80 << 20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    files = {name: tmp_path / name for name in ("small", "big", "bigger")}
    with pytest.raises(InputError) as refused:
        job_package.checked_size(files)
    assert str(refused.value) == (
        "the files to send take 140.0 MiB, but Ray accepts at most 100 MiB; the largest: "
        f"{tmp_path}/bigger 80.0 MiB, {tmp_path}/big 60.0 MiB, {tmp_path}/small 0.0 MiB."
    )


def test_the_pins_are_the_installed_versions_without_ray() -> None:
    names = {pin.split("==")[0] for pin in job_package.pins()}
    assert {"keras", "tensorflow", "pyarrow"} <= names
    assert not names & {"ray", "pydicom", "pytest"}


@pytest.mark.parametrize(
    ("status", "code", "message", "text", "exit_code"),
    [
        ("FAILED", 3, None, "j failed with exit code 3.", 3),
        ("FAILED", -9, None, "j failed with exit code -9.", 137),
        ("FAILED", None, "no environment.\nmore", "j failed: no environment.", 1),
        ("STOPPED", None, "Job was stopped.", "j was stopped.", 1),
    ],
)
def test_a_failed_job_is_reported_with_its_exit_code(
    status: str, code: int | None, message: str | None, text: str, exit_code: int
) -> None:
    summary = JobSummary(
        job="j", status=status, exit_code=code, entrypoint="", seconds=None, message=message
    )
    with pytest.raises(JobFailed) as failed:
        jobs.judge(summary)
    assert (str(failed.value), failed.value.exit_code) == (text, exit_code)
