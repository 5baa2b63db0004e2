"""docs/python.md: its code runs, and its reference is what the code says."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnnjobs
from cnnjobs.data import synthetic
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_the_code_on_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.write_archive(tmp_path / "xrays", num_images=24, num_broken=2, seed=7)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"python.md, block {number}", "exec"), names)

    printed = capsys.readouterr().out
    assert len(BLOCKS) >= 8
    assert printed.startswith("26 images in 24 groups: {")
    assert "\n24 scored, {" in printed
    assert f"\n{tmp_path}/runs/first already contains a run; " in printed
    assert (tmp_path / "evaluated" / "_SUCCESS").exists()


def test_every_name_on_the_page_is_public() -> None:
    used = set(re.findall(r"\bcnnjobs\.(\w+)", "\n".join(BLOCKS)))
    assert used <= set(cnnjobs.__all__)
    described = set(re.findall(r"^#{4,5} `(\w+)", PAGE.read_text(), re.MULTILINE))
    callables = {name for name in cnnjobs.__all__ if inspect.isfunction(getattr(cnnjobs, name))}
    assert described >= callables | {"Manifest", "Bundle", "TrainSummary"}


def test_the_committed_page_is_the_generated_one() -> None:
    done = _write("--check")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_page_that_differs_exits_1_and_is_mended_without_check(tmp_path: Path) -> None:
    script = tmp_path / "python.py"
    script.write_text((ROOT / "docs" / "python.py").read_text())
    page = tmp_path / "python.md"
    page.write_text(PAGE.read_text().replace("Train a model on the train split", "Learn"))

    done = _write("--check", script=script)
    assert done.stdout == "docs/python.md is not what the docstrings say; run: make docs\n"
    assert (done.stderr, done.returncode) == ("", 1)
    assert _write(script=script).returncode == 0
    assert page.read_text() == PAGE.read_text()


def _write(
    *arguments: str, script: Path = ROOT / "docs" / "python.py"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
