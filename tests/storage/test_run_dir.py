import json
import re
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

import cnnjobs
from cnnjobs.errors import InputError, RunExistsError, StorageError
from cnnjobs.storage import run_dir

CONFIG = {"data": "xrays", "epochs": 3}


def test_an_absent_or_empty_directory_is_free_and_left_unchanged(tmp_path):
    run_dir.check_free(str(tmp_path / "deep" / "new"), "train", overwrite=False)
    run_dir.check_free(str(tmp_path), "train", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_cannot_hold_a_run(tmp_path):
    file = tmp_path / "run"
    file.write_text("kept")
    with pytest.raises(RunExistsError) as caught:
        run_dir.check_free(str(file), "train", overwrite=True)
    assert str(caught.value) == f"{file} is a file; give a directory."
    assert file.read_text() == "kept"


def test_a_path_below_a_file_cannot_be_written(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("kept")
    with pytest.raises(StorageError) as caught:
        run_dir.check_free(str(file / "run"), "train", overwrite=False)
    assert str(caught.value) == f"{file}/run cannot be written: {file} is a file."


@pytest.mark.parametrize(
    ("resumable", "ways"), [(False, "--overwrite"), (True, "--resume to continue it, --overwrite")]
)
def test_a_run_is_replaced_only_on_request(tmp_path, resumable, ways):
    uri = _finished(tmp_path / "run").uri
    with pytest.raises(RunExistsError) as caught:
        run_dir.check_free(uri, "train", overwrite=False, resumable=resumable)
    assert str(caught.value) == (
        f"{uri} already contains a run; add {ways} to replace it, or choose another directory."
    )
    run_dir.check_free(uri, "train", overwrite=True)
    assert run_dir.is_finished(uri)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_holds_something_else_is_refused_and_left_alone(tmp_path, overwrite):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("kept")
    with pytest.raises(RunExistsError) as caught:
        run_dir.check_free(str(tmp_path), "train", overwrite=overwrite)
    assert str(caught.value) == (
        f"{tmp_path} is not empty and is not a run; choose another directory."
    )
    assert (tmp_path / "photos" / "mine.jpg").read_text() == "kept"


def test_a_directory_with_only_a_partial_file_is_free(tmp_path):
    (tmp_path / f".run.json.{'0123abcd' * 4}.partial").write_text('{"run_ver')
    run_dir.check_free(str(tmp_path), "train", overwrite=False)


@pytest.mark.parametrize("text", ["{}", "[]", '{"run": 1}'])
def test_a_run_json_of_another_program_does_not_make_a_directory_ours_to_delete(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    (tmp_path / "mine.jpg").write_text("kept")
    with pytest.raises(RunExistsError) as caught:
        run_dir.check_free(str(tmp_path), "train", overwrite=True)
    assert str(caught.value) == (
        f"{tmp_path} is not empty and is not a run; choose another directory."
    )


def test_a_start_writes_nothing(tmp_path):
    old = _finished(tmp_path / "run")
    before = _names(tmp_path)
    run_dir.start(old.uri, "train", {**CONFIG, "overwrite": True})
    run_dir.start(str(tmp_path / "new"), "train", CONFIG)
    assert _names(tmp_path) == before


def test_a_run_with_overwrite_clears_the_run_before_it(tmp_path):
    old = _finished(tmp_path / "run")
    (tmp_path / "run" / "bundle" / "openvino").mkdir(parents=True)
    for name in ("history.csv", "bundle/bundle.json", "bundle/openvino/model.xml"):
        (tmp_path / "run" / name).write_bytes(b"old")
    (tmp_path / "run" / f".history.csv.{'0' * 32}.partial").write_bytes(b"old")
    new = run_dir.start(old.uri, "train", {**CONFIG, "overwrite": True})
    with new.writing():
        assert _names(tmp_path / "run") == [".lock", "run.json"]
        assert _record(new)["run_id"] == new.run_id
    assert _names(tmp_path / "run") == ["run.json"]


@pytest.mark.parametrize(
    "name",
    ["notes.txt", ".git/HEAD", "images/a.png", "bundle/mine.png", "checkpoints/last.npz.bak"],
)
def test_a_file_that_the_run_did_not_write_is_never_deleted(tmp_path, name):
    old = _finished(tmp_path / "run")
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("kept")
    before = _names(tmp_path)
    with pytest.raises(RunExistsError) as caught:
        run_dir.check_free(old.uri, "train", overwrite=True)
    assert str(caught.value) == (
        f"{old.uri} contains {name}, which its run did not write; move it away, or choose another "
        "directory."
    )
    with (
        pytest.raises(RunExistsError),
        run_dir.start(old.uri, "train", {**CONFIG, "overwrite": True}).writing(),
    ):
        raise AssertionError
    assert _names(tmp_path) == before


def test_a_link_to_a_folder_is_not_followed_to_be_deleted(tmp_path):
    old = _finished(tmp_path / "run")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bundle.json").write_text("kept")
    (tmp_path / "run" / "bundle").symlink_to(tmp_path / "models")
    with pytest.raises(RunExistsError, match="contains bundle, which its run did not write"):
        run_dir.check_free(old.uri, "train", overwrite=True)


def test_a_run_of_another_command_is_not_replaced(tmp_path):
    uri = _finished(tmp_path / "run").uri
    with pytest.raises(RunExistsError) as caught:
        run_dir.check_free(uri, "predict", overwrite=True)
    assert str(caught.value) == (
        f"{uri} contains a run of train, which predict does not replace; choose another directory."
    )


def test_a_record_without_a_command_does_not_make_a_directory_ours_to_delete(tmp_path):
    (tmp_path / "run.json").write_text('{"run_version": 1}')
    (tmp_path / "mine.jpg").write_text("kept")
    with pytest.raises(RunExistsError, match="contains a run of None"):
        run_dir.check_free(str(tmp_path), "train", overwrite=True)


def test_a_run_that_was_resumed_in_the_meantime_is_not_resumed_again(tmp_path):
    first = run_dir.start(str(tmp_path / "run"), "train", CONFIG)
    with pytest.raises(ValueError, match="stopped"), first.writing():
        raise ValueError("stopped")
    one, other = (run_dir.find_same(first.uri, "train", CONFIG) for _ in range(2))
    with one.writing():
        one.finish()
    with pytest.raises(RunExistsError) as caught, other.writing():
        raise AssertionError
    assert str(caught.value) == (
        f"another process has written {first.uri} in the meantime; start again."
    )
    assert run_dir.is_finished(first.uri)


def test_every_start_has_its_own_id_with_the_time(tmp_path):
    ids = {run_dir.start(str(tmp_path / "run"), "train", CONFIG).run_id for _ in range(50)}
    assert len(ids) == 50
    for run_id in ids:
        time, _, rest = run_id.partition("-")
        when = datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
        assert re.fullmatch("[0-9a-f]{8}", rest)


def test_a_running_record_holds_what_is_known_at_the_start(tmp_path):
    run = run_dir.start(str(tmp_path / "run"), "train", CONFIG)
    written = run.record("running", manifest="0123456789abcdef")
    record = _record(run)
    assert record == written
    assert record["status"] == "running"
    assert record["run_version"] == 1
    assert record["run_id"] == run.run_id
    assert record["command"] == "train"
    assert record["config"] == CONFIG
    assert record["manifest"] == "0123456789abcdef"
    assert record["ended"] is None
    assert datetime.fromisoformat(record["started"]).tzinfo == UTC


def test_a_record_names_the_versions_of_the_code_and_of_what_computes(tmp_path):
    record = run_dir.start(str(tmp_path / "run"), "train", CONFIG).record("running")
    assert record["code_version"].split("+")[0] == cnnjobs.__version__.split("+")[0]
    packages = {"ray", "tensorflow", "keras", "opencv-python-headless", "numpy", "pyarrow"}
    assert set(record["versions"]) == {"python", *packages}
    for name in packages:
        assert record["versions"][name] == metadata.version(name)


def test_a_finished_run_is_done_and_has_its_success(tmp_path):
    run = run_dir.start(str(tmp_path / "run"), "train", CONFIG)
    assert not run_dir.is_finished(run.uri)
    run.finish(model="covid-0123")
    record = _record(run)
    assert record["status"] == "done"
    assert record["model"] == "covid-0123"
    assert record["ended"] >= record["started"]
    assert record["seconds"] >= 0
    assert run_dir.is_finished(run.uri)
    assert (tmp_path / "run" / "_SUCCESS").read_bytes() == b""


def test_success_comes_last_so_that_a_run_without_its_record_never_has_it(tmp_path):
    run = run_dir.start(str(tmp_path / "run"), "train", CONFIG)
    # what is written is renamed into place, which a directory of that name prevents
    (tmp_path / "run" / "run.json").mkdir(parents=True)
    with pytest.raises(StorageError):
        run.finish()
    assert not run_dir.is_finished(run.uri)


@pytest.mark.parametrize(
    ("failure", "status"),
    [(ValueError("broken"), "failed"), (KeyboardInterrupt(), "stopped"), (SystemExit(), "stopped")],
)
def test_a_failure_is_recorded_without_success_and_reaches_the_caller(tmp_path, failure, status):
    run = run_dir.start(str(tmp_path / "run"), "train", CONFIG)
    seen = []

    def break_down():
        with run.writing(manifest="0123"):
            seen.append(_record(run))
            raise failure

    with pytest.raises(type(failure)) as caught:
        break_down()
    assert caught.value is failure
    assert [(record["status"], record["manifest"]) for record in seen] == [("running", "0123")]
    record = _record(run)
    assert record["status"] == status
    assert record["manifest"] == "0123"
    assert record["ended"] is not None
    assert not run_dir.is_finished(run.uri)


def test_a_block_that_finishes_is_not_recorded_as_failed(tmp_path):
    run = run_dir.start(str(tmp_path / "run"), "train", CONFIG)
    with run.writing():
        run.finish(rows=3)
    assert _record(run)["status"] == "done"
    assert _record(run)["rows"] == 3
    assert run_dir.is_finished(run.uri)


def test_a_reopened_run_keeps_its_id_and_start(tmp_path):
    first = run_dir.start(str(tmp_path / "run"), "predict", CONFIG)
    with pytest.raises(ValueError, match="stopped"), first.writing():
        raise ValueError("stopped")
    again = run_dir.find_same(first.uri, "predict", CONFIG)
    assert (again.run_id, again.command, again.config) == (first.run_id, "predict", CONFIG)
    assert again.started == first.started.replace(microsecond=0)
    again.finish()
    assert _record(again)["run_id"] == first.run_id
    assert run_dir.is_finished(first.uri)


def test_threads_learned_by_a_failed_run_are_kept_when_it_resumes(tmp_path):
    first = run_dir.start(str(tmp_path / "run"), "train", CONFIG)

    def fail():
        with first.writing(manifest="0123"):
            first.learn(threads=3)
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fail()
    assert _record(first)["status"] == "failed"
    assert (_record(first)["manifest"], _record(first)["threads"]) == ("0123", 3)
    again = run_dir.find_same(first.uri, "train", CONFIG)
    assert again.facts == {"threads": 3}
    again.finish()
    assert _record(again)["threads"] == 3


def test_a_setting_is_compared_with_the_setting_also_where_a_fact_has_its_name(tmp_path):
    run = run_dir.start(str(tmp_path / "run"), "train", {"model": "digits"})
    run.finish(model="digits-0123456789abcdef")
    assert run_dir.find_same(run.uri, "train", {"model": "digits"}) is not None


def test_where_there_is_no_run_there_is_no_record(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        assert run_dir.read_record(str(place)) is None
        assert not run_dir.is_finished(str(place))


def test_a_record_that_was_cut_off_is_named_in_one_line(tmp_path):
    run = _finished(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError) as caught:
        run_dir.read_record(run.uri)
    assert str(caught.value) == (
        f"{file} is damaged; choose another directory, or delete this one."
    )


def test_facts_of_every_kind_can_be_recorded(tmp_path):
    run = run_dir.start(str(tmp_path / "run"), "train", CONFIG)
    when = datetime(2026, 1, 2, tzinfo=UTC)
    run.record("running", when=when, where=tmp_path, run=run)
    record = _record(run)
    assert record["when"] == "2026-01-02T00:00:00+00:00"
    assert record["where"] == str(tmp_path)
    assert record["run"]["run_id"] == run.run_id


def test_names_below_a_run_are_joined(tmp_path):
    run = run_dir.start(str(tmp_path), "train", CONFIG)
    assert run.path("predictions", "part.parquet") == f"{tmp_path}/predictions/part.parquet"


def _finished(folder):
    run = run_dir.start(str(folder), "train", CONFIG)
    run.finish()
    return run


def _names(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir())


def _record(run):
    return json.loads(Path(run.path("run.json")).read_text(encoding="utf-8"))
