"""Errors: one line on standard error and an exit code, for usage, input and surprises."""

import json
import os

import pytest

from tests.support.cli import run_here, run_python

_FAILING = """
from typing import Annotated
import typer
from cnnjobs.cli import app, main

@app.command()
def fail(debug: Annotated[bool, typer.Option("--debug")] = False) -> None:
    raise RuntimeError("first line\\nsecond line")

main()
"""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["trian", "data"], "No such command 'trian'."),
        (["train", "data", "-o", "run", "--epoch", "3"], "No such option: --epoch"),
        (["train", "data", "-o", "run", "--epochs", "ten"], "Invalid value for '--epochs'"),
        (["train", "data", "more", "-o", "run"], "Got unexpected extra argument"),
    ],
)
def test_a_usage_error_exits_2_and_says_how_to_get_help(capsys, words, complaint):
    code, out, err = run_here(capsys, *words)
    assert (code, out) == (2, "")
    assert complaint in err
    assert " -h' for help." in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["train", "data"], "output"),
        (["train", "-o", "run"], "data"),
        (["predict"], "bundle and data and output"),
        (["index", "-o", "manifest.parquet"], "sources"),
    ],
)
def test_settings_missing_from_command_line_and_config_are_named(capsys, words, missing):
    code, out, err = run_here(capsys, *words)
    assert (code, out) == (2, "")
    assert err == f"error: {missing} must be given, on the command line or in --config.\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("index {tmp}/absent -o {tmp}/out", "{tmp}/absent does not exist."),
        ("train {tmp}/absent -o {tmp}/out", "{tmp}/absent does not exist."),
        (
            "index {tmp}/empty -o {tmp}/out",
            "{tmp}/empty holds no images (.png, .jpg, .jpeg, .jpe, .bmp, .tif, .tiff, .webp, "
            ".dcm, .dicom); it has 0 other files.",
        ),
        (
            "train {tmp}/notes.txt -o {tmp}/out",
            "{tmp}/notes.txt is one file; give a folder, an archive, a manifest.parquet or s3://.",
        ),
        (
            "train {tmp}/notes.parquet -o {tmp}/out",
            "{tmp}/notes.parquet is not a readable Parquet file; index it again.",
        ),
        ("train {tmp}/absent.parquet -o {tmp}/out", "{tmp}/absent.parquet does not exist."),
        (
            "train {archive}/normal -o {tmp}/out",
            "training needs at least two classes, {archive}/normal has none; put the images of "
            "each class in a separate folder.",
        ),
        (
            "train {tmp}/one -o {tmp}/out",
            "training needs at least two classes, {tmp}/one has only one: normal; put the images "
            "of each class in a separate folder.",
        ),
        (
            "train {archive} -o {tmp}/out --model covd",
            "there is no model 'covd'; did you mean covid?",
        ),
        (
            "train {archive} -o {tmp}/out --positive covid",
            "positive must be one of the classes normal, opacity, got covid.",
        ),
        ("train {archive} -o {tmp}/out --epochs 0", "epochs must be at least 1, got 0."),
        (
            "train {archive} -o {tmp}/notes.txt",
            "{tmp}/notes.txt is a file; give a directory.",
        ),
        (
            "train {archive} -o {tmp}/one",
            "{tmp}/one is not empty and is not a run; choose another directory.",
        ),
        (
            "train {archive} -o {tmp}/notes.txt/run",
            "{tmp}/notes.txt/run cannot be written: {tmp}/notes.txt is a file.",
        ),
        (
            "index {archive} -o {tmp}/notes.txt/m.parquet",
            "{tmp}/notes.txt cannot be written: {tmp}/notes.txt is a file.",
        ),
        (
            "index {archive} -o {tmp}/notes.parquet",
            "{tmp}/notes.parquet already exists; add --update or --overwrite, or choose another "
            "name.",
        ),
        (
            "predict {tmp}/absent {archive} -o {tmp}/out",
            "{tmp}/absent is not a complete bundle: bundle.json is missing; use the run of a "
            "training.",
        ),
        (
            "evaluate {tmp}/empty {archive}",
            "{tmp}/empty is not a complete bundle: bundle.json is missing; use the run of a "
            "training.",
        ),
        (
            "predict {tmp}/absent {archive} -o {tmp}/out --split valid",
            "split must be one of train, validation, test, all, got valid.",
        ),
        (
            "predict {tmp}/absent {archive} -o {tmp}/out --max-errors 101%",
            "max_errors must be a number of images (25) or a share of them (0.5%), got 101%.",
        ),
        (
            "train {archive} -o {tmp}/out --config {tmp}/absent.yaml",
            "{tmp}/absent.yaml cannot be read: No such file or directory.",
        ),
        (
            "train {archive} -o {tmp}/out --config {tmp}/typo.yaml",
            "{tmp}/typo.yaml: unknown key 'epoch'; did you mean epochs?",
        ),
        ("demo -o {tmp}/out --num-images 3", "num_images must be at least 20, got 3."),
        (
            "train http://host/data -o {tmp}/out",
            "http://host/data is neither a local path nor s3://bucket/prefix.",
        ),
        ("train s3:// -o {tmp}/out", "s3:// names no bucket; write s3://bucket/prefix."),
    ],
)
def test_an_input_error_is_one_line_and_exit_code_2(capsys, tmp_path, archive, words, complaint):
    _lay_out(tmp_path, archive)
    before = sorted(tmp_path.rglob("*"))
    line = [word.format(tmp=tmp_path, archive=archive) for word in words.split()]
    message = complaint.format(tmp=tmp_path, archive=archive)
    assert run_here(capsys, *line) == (2, "", f"error: {message}\n")
    code, out, err = run_here(capsys, *line, "--json")
    assert json.loads(out) == {"error": message, "exit_code": 2}
    assert (code, err) == (2, f"error: {message}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_debug_shows_the_traceback_before_the_line(capsys, tmp_path):
    code, out, err = run_here(capsys, "index", f"{tmp_path}/absent", "-o", "m.parquet", "--debug")
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith(f"error: {tmp_path}/absent does not exist.\n")
    assert "StorageError" in err


def test_a_folder_without_write_permission_is_named(capsys, tmp_path, archive):
    if os.geteuid() == 0:
        pytest.skip("root can write anywhere; output below a file is tested instead")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    code, out, err = run_here(capsys, "train", str(archive), "-o", f"{locked}/run", "--dry-run")
    assert (code, out) == (2, "")
    assert err == (f"error: {locked}/run cannot be written: no permission to write in {locked}.\n")


def test_an_unexpected_error_is_one_line_and_exit_code_1():
    done = run_python("-c", _FAILING, "fail")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: RuntimeError: second line (--debug shows the traceback)\n"


def test_with_debug_an_unexpected_error_shows_its_traceback():
    done = run_python("-c", _FAILING, "fail", "--debug")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("RuntimeError: first line\nsecond line\n")


def test_another_process_reports_an_error_the_same_way(tmp_path, archive):
    program = "from cnnjobs.cli import main; main()"
    done = run_python("-c", program, "index", f"{archive}/absent", "-o", f"{tmp_path}/m.parquet")
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("", f"error: {archive}/absent does not exist.\n")


def _lay_out(folder, archive):
    """Create what the lines of the test above name."""
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("kept")
    (folder / "notes.parquet").write_text("kept")
    (folder / "typo.yaml").write_text("epoch: 3\n")
    (folder / "one").mkdir()
    (folder / "one" / "normal").symlink_to(archive / "normal")
