import json
import os
import subprocess
import sys

import pytest
import typer
import yaml

import cnnjobs
from cnnjobs import models
from cnnjobs.cli import app, main
from cnnjobs.cli.runner import Stage, run
from cnnjobs.config import IndexConfig, TrainConfig, as_dict
from cnnjobs.config.recipes import RECIPES
from cnnjobs.data import synthetic
from tests.support.paths import ROOT

COMMANDS = typer.main.get_command(app).commands
JOBS = (
    "audit", "compare", "crossval", "evaluate", "explain", "index", "inspect", "predict",
    "report", "train", "tune",
)  # fmt: skip
#: Modules that cannot have the name of their command.
MODULES = {"inspect": "inspection"}

#: Each takes from 0.05 s (rich) to 5 s (tensorflow) to import.
HEAVY = {
    "boto3",
    "cv2",
    "keras",
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "ray",
    "rich",
    "sklearn",
    "tensorflow",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Ten drawings, five a class: the fewest that three splits can be made of, and some."""
    folder = tmp_path_factory.mktemp("cli") / "archive"
    synthetic.write_archive(folder, num_images=10, num_broken=0)
    return folder


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """`main` sets a hook for its own process, which is the tests' here; and a fixed width."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("COLUMNS", "80")


def test_help_and_models_import_nothing_that_takes_long():
    lines = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), ["models"]]
    program = (
        "import contextlib, io, json, sys\n"
        "from cnnjobs.cli import main\n"
        f"for line in {lines!r}:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        main(line)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = _python("-c", program)
    imported = set(json.loads(done.stdout))
    assert "typer" in imported
    assert imported & HEAVY == set()


def test_help_lists_every_command_with_its_first_line(capsys):
    code, out, err = _main(capsys, "--help")
    assert (code, err) == (0, "")
    for name, command in COMMANDS.items():
        first = command.help.splitlines()[0]
        assert f"  {name:<11}  {first}\n" in out


def test_short_and_long_help_are_the_same(capsys):
    assert _main(capsys, "train", "-h") == _main(capsys, "train", "--help")


def test_the_version_is_printed_alone(capsys):
    assert _main(capsys, "--version") == (0, f"{cnnjobs.__version__}\n", "")


def test_no_command_shows_the_help_and_exits_2(capsys):
    code, out, err = _main(capsys)
    assert code == 2
    assert out + err == _main(capsys, "--help")[1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["trian", "data"], "No such command 'trian'."),
        (["train", "data", "-o", "run", "--epoch", "3"], "No such option: --epoch"),
        (["train", "data", "-o", "run", "--epochs", "ten"], "Invalid value for '--epochs'"),
        (["train", "data", "more", "-o", "run"], "Got unexpected extra argument"),
    ],
)
def test_bad_usage_exits_2_and_says_how_to_get_help(capsys, words, complaint):
    code, out, err = _main(capsys, *words)
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
def test_what_neither_the_command_line_nor_the_config_gives_is_named(capsys, words, missing):
    code, out, err = _main(capsys, *words)
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
            ".dcm, .dicom); 0 other files were seen.",
        ),
        (
            "train {tmp}/notes.txt -o {tmp}/out",
            "{tmp}/notes.txt is one file; give a folder, a manifest.parquet or s3://.",
        ),
        (
            "train {tmp}/notes.parquet -o {tmp}/out",
            "{tmp}/notes.parquet is not a readable Parquet file; index it again.",
        ),
        ("train {tmp}/absent.parquet -o {tmp}/out", "{tmp}/absent.parquet does not exist."),
        (
            "train {archive}/normal -o {tmp}/out",
            "training needs at least two classes, {archive}/normal has none; put the images of "
            "each class in a folder of its own.",
        ),
        (
            "train {tmp}/one -o {tmp}/out",
            "training needs at least two classes, {tmp}/one has one: normal; put the images of "
            "each class in a folder of its own.",
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
            "{tmp}/one is not empty and holds no run; choose another directory.",
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
            "{tmp}/notes.parquet exists already; choose another name or add --overwrite.",
        ),
        (
            "predict {tmp}/absent {archive} -o {tmp}/out",
            "{tmp}/absent is not a whole bundle: bundle.json is missing; give the run of a "
            "training.",
        ),
        (
            "evaluate {tmp}/empty {archive}",
            "{tmp}/empty is not a whole bundle: bundle.json is missing; give the run of a "
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
def test_what_cannot_be_used_is_one_line_and_exit_code_2(
    capsys, tmp_path, archive, words, complaint
):
    _lay_out(tmp_path, archive)
    before = sorted(tmp_path.rglob("*"))
    line = [word.format(tmp=tmp_path, archive=archive) for word in words.split()]
    message = complaint.format(tmp=tmp_path, archive=archive)
    assert _main(capsys, *line) == (2, "", f"error: {message}\n")
    code, out, err = _main(capsys, *line, "--json")
    assert json.loads(out) == {"error": message, "exit_code": 2}
    assert (code, err) == (2, f"error: {message}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_debug_shows_the_traceback_before_the_line(capsys, tmp_path):
    code, out, err = _main(capsys, "index", f"{tmp_path}/absent", "-o", "m.parquet", "--debug")
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith(f"error: {tmp_path}/absent does not exist.\n")
    assert "StorageError" in err


def test_a_folder_without_write_permission_is_named(capsys, tmp_path, archive):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; output below a file is tested instead")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    code, out, err = _main(capsys, "train", str(archive), "-o", f"{locked}/run", "--dry-run")
    assert (code, out) == (2, "")
    assert err == (f"error: {locked}/run cannot be written: no permission to write in {locked}.\n")


def test_a_dry_run_of_index_shows_settings_and_plan_and_writes_nothing(capsys, tmp_path, archive):
    output = tmp_path / "new" / "manifest.parquet"
    code, out, err = _main(
        capsys, "index", str(archive), "-o", str(output), "--seed", "7", "--dry-run"
    )
    assert (code, err) == (0, "")
    shown = _plan(out)
    wanted = as_dict(IndexConfig(sources=(str(archive),), output=str(output), seed=7))
    assert shown["settings"] == {**wanted, "sources": [str(archive)]}
    assert shown["plan"] == {
        "images": 10,
        "labels": {"normal": 5, "opacity": 5},
        "ignored files": {".txt": 1},
        "output": str(output),
    }
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_train_shows_settings_and_plan_and_writes_nothing(capsys, tmp_path, archive):
    output = tmp_path / "new" / "run"
    settings = tmp_path / "settings.yaml"
    settings.write_text("epochs: 3\nbatch_size: 2\n")
    code, out, err = _main(
        capsys,
        *["train", str(archive), "-o", str(output), "--config", str(settings)],
        *["--epochs", "5", "--dry-run"],
    )
    assert (code, err) == (0, "")
    shown = _plan(out)
    # the flag before the file, the file before the default
    assert shown["settings"] == as_dict(
        TrainConfig(data=str(archive), output=str(output), epochs=5, batch_size=2)
    )
    images = shown["plan"].pop("images")
    assert sum(images.values()) < 10
    assert shown["plan"] == {
        "model": "covid",
        "parameters": 14_838_529,
        "labels": ["normal", "opacity"],
        "positive": "opacity",
        "steps per epoch": -(-images["train"] // 2),
        "output": str(output),
        "warnings": [],
    }
    assert list(tmp_path.iterdir()) == [settings]


def test_a_recipe_s_settings_and_what_it_cannot_help_are_in_the_dry_run(capsys, tmp_path, archive):
    flags = ["--recipe", "robust", "--crop", "0", "--balance", "source", "--dry-run"]
    code, out, err = _main(capsys, "train", str(archive), "-o", f"{tmp_path}/run", *flags)
    assert (code, err) == (0, "")
    shown = _plan(out)
    assert shown["settings"] == as_dict(
        TrainConfig(
            data=str(archive),
            output=f"{tmp_path}/run",
            recipe="robust",
            **{**RECIPES["robust"], "crop": 0.0, "balance": "source"},
        )
    )
    assert shown["plan"]["warnings"] == [
        f"balance source changes nothing: all images are of source {archive.name}."
    ]


def test_a_dry_run_as_json_is_one_document(capsys, tmp_path, archive):
    code, out, err = _main(
        capsys, "index", str(archive), "-o", f"{tmp_path}/m.parquet", "--dry-run", "--json"
    )
    assert (code, err) == (0, "")
    shown = json.loads(out)
    assert list(shown) == ["config", "plan"]
    assert shown["config"]["seed"] == 0
    assert shown["plan"]["images"] == 10
    assert list(tmp_path.iterdir()) == []


def test_index_writes_a_manifest_that_train_can_plan_on(capsys, tmp_path, archive):
    manifest = tmp_path / "manifest.parquet"
    code, out, err = _main(capsys, "index", str(archive), "-o", str(manifest))
    assert (code, err) == (0, "")
    assert out.startswith("10 images in 10 groups\n")
    assert out.endswith(f"manifest: {manifest}\n")
    code, out, _ = _main(capsys, "train", str(manifest), "-o", f"{tmp_path}/run", "--dry-run")
    assert code == 0
    assert _plan(out)["plan"]["images"]["train"] >= 4
    assert list(tmp_path.iterdir()) == [manifest]


def test_index_as_json_is_the_summary(capsys, tmp_path, archive):
    code, out, err = _main(
        capsys, "index", str(archive), "-o", f"{tmp_path}/m.parquet", "--json", "--quiet"
    )
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert summary["num_images"] == 10
    assert summary["manifest"] == f"{tmp_path}/m.parquet"
    assert {label: sum(states.values()) for label, states in summary["counts"].items()} == {
        "normal": 5,
        "opacity": 5,
    }


def test_models_are_a_table_with_their_sizes(capsys):
    code, out, err = _main(capsys, "models")
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split() == ["model", "input", "parameters", "classes", "layers"]
    assert [row.split()[:4] for row in rows] == [
        ["covid", "256x256x1", "14,838,529", "2"],
        ["covid-gap", "256x256x1", "109,313", "2"],
        ["digits", "28x28x1", "225,034", "10"],
        ["mobilenetv3small", "224x224x1", "939,697", "2"],
        ["efficientnetv2b0", "224x224x1", "5,920,593", "2"],
        ["densenet121", "224x224x1", "7,038,529", "2"],
    ]


def test_models_as_json_are_by_name_and_whole(capsys):
    code, out, err = _main(capsys, "models", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    assert list(listed) == list(models.ARCHITECTURES)
    assert listed["covid"] == {
        "name": "covid",
        "summary": models.ARCHITECTURES["covid"].summary,
        "height": 256,
        "width": 256,
        "num_labels": 2,
        "num_parameters": 14_838_529,
        "takes_weights": False,
    }


def test_an_error_nobody_foresaw_is_one_line_and_exit_code_1():
    done = _python("-c", _BREAKS_DOWN, "break-down")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: RuntimeError: second line (--debug shows where)\n"


def test_with_debug_an_error_nobody_foresaw_shows_where():
    done = _python("-c", _BREAKS_DOWN, "break-down", "--debug")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("RuntimeError: first line\nsecond line\n")


def test_in_a_process_of_its_own_an_error_is_one_line_and_its_code_too(tmp_path, archive):
    program = "from cnnjobs.cli import main; main()"
    done = _python("-c", program, "index", f"{archive}/absent", "-o", f"{tmp_path}/m.parquet")
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("", f"error: {archive}/absent does not exist.\n")


def test_every_stage_has_a_job_of_at_most_20_lines():
    files = {file.stem: file for file in (ROOT / "jobs").glob("*.py") if file.stem != "__init__"}
    assert sorted(files) == sorted(MODULES.get(verb, verb) for verb in JOBS)
    # run by its path, a script finds its neighbours before Python's own modules
    assert not set(files) & sys.stdlib_module_names
    for file in files.values():
        assert len(file.read_text().splitlines()) <= 20
    groups = {"cluster", "jobs"}
    assert set(COMMANDS) == {
        *JOBS,
        *groups,
        "demo",
        "doctor",
        "models",
        "fetch",
        "predict-one",
        "submit",
    }


@pytest.mark.parametrize("verb", JOBS)
def test_a_job_takes_what_its_command_takes(capsys, verb):
    done = _python("-m", f"jobs.{MODULES.get(verb, verb)}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == _main(capsys, verb, "--help")[1]


def test_a_job_ends_with_the_code_of_its_command(tmp_path):
    done = _python("-m", "jobs.index", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet")
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("", f"error: {tmp_path}/absent does not exist.\n")


_BREAKS_DOWN = """
from typing import Annotated
import typer
from cnnjobs.cli import app, main

@app.command()
def break_down(debug: Annotated[bool, typer.Option("--debug")] = False) -> None:
    raise RuntimeError("first line\\nsecond line")

main()
"""


def _main(capsys, *words):
    """Run one command line here; its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return (ended.value.code, *capsys.readouterr())


def _python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def _plan(out):
    assert out.endswith("\ndry run: nothing was written.\n")
    return yaml.safe_load(out.removesuffix("dry run: nothing was written.\n"))


def _lay_out(folder, archive):
    """Everything that the lines of the test above name."""
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("kept")
    (folder / "notes.parquet").write_text("kept")
    (folder / "typo.yaml").write_text("epoch: 3\n")
    (folder / "one").mkdir()
    (folder / "one" / "normal").symlink_to(archive / "normal")


@pytest.mark.parametrize("dry_run", [False, True])
def test_standard_output_holds_the_result_alone(
    capsys: pytest.CaptureFixture[str], dry_run: bool
) -> None:
    def noisy(*_: object) -> dict[str, int]:
        sys.stdout.write("a warning of Ray's\n")
        return {"images": 2}

    stage = Stage(do=noisy, plan=noisy, describe=str)
    run(IndexConfig(sources=("a",), output="b"), stage, dry_run=dry_run, as_json=True, quiet=True)

    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert (told["plan"] if dry_run else told) == {"images": 2}
    assert printed.err == "a warning of Ray's\n"
