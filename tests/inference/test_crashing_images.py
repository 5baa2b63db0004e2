"""Images that end or hang the process that scores them: a row each, and the job goes on."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.support.disturbed_runs import (
    ALONE,
    NUM_IMAGES,
    OWN_RAY,
    read_record,
    read_rows,
    start_job,
)
from tests.support.triggers import plant

if sys.platform != "linux":
    pytest.skip("a process is killed as Linux does it", allow_module_level=True)


def _beside(inputs: Path, names: list[str]) -> Path:
    """The inputs with copies of images under these names added to the archive."""
    archive = inputs / "archive"
    whole = (archive / "dark" / "00000.png").read_bytes()
    for name in names:
        (archive / name).write_bytes(whole)
    return inputs


#: Processes are started again and again, which takes minutes where others use the cores.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture
def own_inputs(inputs: Path, tmp_path: Path) -> Path:
    """A copy of the inputs, for a test that adds images."""
    own = tmp_path / "inputs"
    subprocess.run(["cp", "-al", str(inputs), str(own)], check=True)
    return own


@pytest.mark.parametrize("address", [OWN_RAY, ALONE], ids=["Ray", "child"])
def test_images_that_kill_their_process_are_rows_and_all_others_are_scored(
    undisturbed: pa.Table,
    own_inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    # neighbours at the start, and the last of all
    killers = ["bright/00000-crash.png", "bright/00000-second-crash.png", "dark/crash.png"]
    _beside(own_inputs, killers)
    plant(monkeypatch, tmp_path / "hook")
    output = tmp_path / "run"

    with start_job(own_inputs, output, address=address) as driver:
        _, errors = driver.communicate(timeout=840)

    assert driver.returncode == 0, errors
    assert "Traceback" not in errors
    _check_others(output, own_inputs, undisturbed, dict.fromkeys(killers, "crashed"))


@pytest.mark.parametrize("address", [OWN_RAY, ALONE], ids=["Ray", "child"])
def test_images_that_never_end_are_rows_that_say_so(
    undisturbed: pa.Table,
    own_inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    # one hangs in a system call, the other in a computation that keeps Python's lock
    _beside(own_inputs, ["dark/00100-hang.png", "dark/freeze.png"])
    plant(monkeypatch, tmp_path / "hook")
    output = tmp_path / "run"

    with start_job(own_inputs, output, "--image-timeout", "4", address=address) as driver:
        _, errors = driver.communicate(timeout=840)

    assert driver.returncode == 0, errors
    expected = dict.fromkeys(("dark/00100-hang.png", "dark/freeze.png"), "timed out")
    _check_others(output, own_inputs, undisturbed, expected)


def _check_others(
    output: Path, inputs: Path, undisturbed: pa.Table, expected: dict[str, str]
) -> None:
    """Check that all but the images added have the rows of a quiet run, and those their errors."""
    rows = read_rows(output)
    archive = f"{inputs}/archive/"
    names = [path.removeprefix(archive) for path in rows["path"].to_pylist()]
    errors = dict(zip(names, rows["error"].to_pylist(), strict=True))
    assert {name: (errors[name] or "").partition(":")[0] for name in expected} == expected
    assert read_record(output)["rows"]["indexed"] == NUM_IMAGES + len(expected)
    is_old = pa.array([name not in expected for name in names])
    columns = [name for name in rows.column_names if name != "path"]
    assert rows.filter(is_old).select(columns).equals(undisturbed.select(columns))
    assert pc.count_distinct(rows["path"]).as_py() == NUM_IMAGES + len(expected)
