"""What a job says while it runs: to a log file, to standard error, and without a terminal."""

import logging
import re

import pytest

from cnnjobs import progress
from cnnjobs.cli.runner import Job, run
from cnnjobs.config import IndexConfig
from cnnjobs.errors import InputError
from tests.support.cli import run_here

CONFIG = IndexConfig(sources=("a",), output="b")
#: Time and level, then what happened.
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +(.*)")


def job(work):
    return Job(run=lambda config, progress: work(progress), plan=dict, as_text=str)


def events(text):
    """What happened, of each line."""
    return [LINE.fullmatch(line)[1] for line in text.splitlines()]


def train(progress):
    """Reports of a training of two epochs."""
    progress("train", 0, None, "starting TensorFlow")
    for step in range(1, 7):
        progress("train", step, 6, f"loss 0.{step}")
        if step % 3 == 0:
            progress("train", step, 6, f"epoch {step // 3}: loss 0.{step}, val_loss 0.9")
    return "trained"


def test_without_a_terminal_a_training_writes_a_line_for_each_epoch(capsys):
    run(CONFIG, job(train), dry_run=False, as_json=False, quiet=False)

    printed = capsys.readouterr()
    assert printed.out == "trained\n"
    assert events(printed.err) == [
        "train: 3 of 6, epoch 1: loss 0.3, val_loss 0.9, 0 s left",
        "train: 6 of 6, epoch 2: loss 0.6, val_loss 0.9",
    ]


@pytest.mark.parametrize(
    ("seconds_a_step", "left"),
    [(0.2, "20 s"), (3.0, "5 min"), (70.0, "1 h 57 min"), (3600.0, "100 h 0 min")],
)
def test_the_time_left_is_that_of_the_steps_so_far_and_not_of_those_before_a_restart(
    caplog, seconds_a_step, left
):
    caplog.set_level(logging.INFO, "cnnjobs")
    now = [0.0]
    report = progress.logged(progress.silent, clock=lambda: now[0])
    report("train", 0, None, "starting TensorFlow")
    # a first step that compiles; then a restart at the last checkpoint
    for step, seconds in ((1, 900.0), (80, 1.0), (51, 500.0), (100, 49 * seconds_a_step)):
        now[0] += seconds
        report("train", step, 200, "epoch 1: loss 0.5" if step == 100 else "loss 0.5")

    assert caplog.messages == [f"train: 100 of 200, epoch 1: loss 0.5, {left} left"]


def test_a_quiet_job_writes_no_lines_on_standard_error_but_to_its_log_file(capsys, tmp_path):
    log = tmp_path / "log.txt"
    run(CONFIG, job(train), dry_run=False, as_json=False, quiet=True, log_file=str(log))

    assert capsys.readouterr().err == ""
    first, *lines, last = events(log.read_text())
    assert re.match(r"cnnjobs \d+\.\d+\.\d+, IndexConfig\(.*sources=\('a',\)", first)
    assert [line.partition(",")[0] for line in lines] == ["train: 3 of 6", "train: 6 of 6"]
    assert last == "ended: trained"


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 3), (3600.0, 0)])
def test_other_steps_are_logged_every_so_many_seconds(caplog, seconds, lines):
    caplog.set_level(logging.INFO, "cnnjobs")
    shown = []
    report = progress.logged(lambda *step: shown.append(step), seconds=seconds)

    for done in (0, 1200, 5000):
        report("predict", done, 5000, "61/s, 2 bad" if done else "")

    assert len(shown) == 3
    assert (
        caplog.messages
        == [
            "predict: 0 of 5,000",
            "predict: 1,200 of 5,000, 61/s, 2 bad",
            "predict: 5,000 of 5,000, 61/s, 2 bad",
        ][:lines]
    )


def test_verbose_writes_what_happens_to_standard_error(capsys, tmp_path, archive):
    code, out, err = run_here(
        capsys, "index", str(archive), "-o", f"{tmp_path}/m.parquet", "-v", "--json"
    )

    assert (code, out[0]) == (0, "{")
    first, *_, last = events(err)
    assert first.startswith("cnnjobs ")
    assert last.startswith("ended: 10 images in 10 groups")


def test_a_log_file_is_appended_to_and_has_the_error_that_the_terminal_shows_once(
    capsys, tmp_path, archive
):
    log = tmp_path / "log.txt"
    words = ["index", str(archive), "-o", f"{tmp_path}/m.parquet", "--log-file", str(log), "-v"]
    assert run_here(capsys, *words)[0] == 0
    code, _, err = run_here(capsys, *words)

    assert code == 2
    *_, error = events(log.read_text())
    assert err.endswith(f"error: {error}\n")
    assert err.count(error) == 1
    assert [line.partition(" ")[0] for line in events(log.read_text())].count("ended:") == 1


def test_a_file_that_is_not_a_log_is_not_appended_to(tmp_path, capsys):
    image = tmp_path / "image.png"
    image.write_bytes(b"\x89PNG\r\n")
    words = ["index", f"{tmp_path}/absent", "-o", f"{tmp_path}/m.parquet", "--log-file", str(image)]
    code, _, err = run_here(capsys, *words)
    assert code == 2
    assert err == f"error: log file {image} exists and is not a log; choose another name.\n"
    assert image.read_bytes() == b"\x89PNG\r\n"


def test_a_quiet_job_prints_its_error_once(capsys, tmp_path):
    code, _, err = run_here(capsys, "index", str(tmp_path), "-o", f"{tmp_path}/m", "--quiet")

    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("error: ")


def test_an_unexpected_error_is_in_the_log_file_with_its_traceback(tmp_path):
    def fail(progress):
        raise ZeroDivisionError("by nothing")

    log = tmp_path / "log.txt"
    with pytest.raises(ZeroDivisionError):
        run(CONFIG, job(fail), dry_run=False, as_json=False, quiet=True, log_file=str(log))

    assert "Traceback (most recent call last):" in log.read_text()
    assert log.read_text().endswith("ZeroDivisionError: by nothing\n")


def test_nothing_is_logged_after_the_job(capsys, tmp_path):
    def fail(progress):
        raise InputError("no images.")

    log = tmp_path / "log.txt"
    with pytest.raises(InputError):
        run(CONFIG, job(fail), dry_run=False, as_json=False, quiet=True, log_file=str(log))
    before = log.read_text()
    logging.getLogger("cnnjobs").error("later")

    assert events(before)[-1] == "no images."
    assert log.read_text() == before


def test_names_in_a_log_cannot_act_on_a_terminal_or_make_up_lines(capsys, tmp_path):
    def fail(progress):
        progress("train", 1, 1, "epoch 1: \x1b[2J\nof \udcff")
        raise InputError("no \r\x07images.")

    log = tmp_path / "log.txt"
    with pytest.raises(InputError):
        run(CONFIG, job(fail), dry_run=False, as_json=False, quiet=False, log_file=str(log))

    line = r"train: 1 of 1, epoch 1: \x1b[2J\nof \xff"
    assert events(log.read_text())[1:] == [line, r"no \r\x07images."]
    assert events(capsys.readouterr().err) == [line]


def test_a_log_file_that_cannot_be_written_is_one_line(capsys, tmp_path, archive):
    file = tmp_path / "not there" / "log.txt"
    code, _, err = run_here(
        capsys, "index", str(archive), "-o", f"{tmp_path}/m.parquet", "--log-file", str(file)
    )

    assert code == 2
    assert err == f"error: log file {file} cannot be written: No such file or directory.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quiet", [True, False])
def test_a_warning_that_training_cannot_succeed_is_written_before_it_ends(capsys, quiet):
    def work(progress):
        logging.getLogger("cnnjobs.training.train").warning("every source has one class")
        assert capsys.readouterr().err == "warning: every source has one class\n"
        return "trained"

    run(CONFIG, job(work), dry_run=False, as_json=False, quiet=quiet)
