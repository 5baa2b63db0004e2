"""What a command prints: the summary, as text or JSON, alone on standard output."""

import json
import sys

import pytest

from cnnjobs.cli.runner import Job, run
from cnnjobs.config import IndexConfig
from tests.support.cli import plan_of, run_here


def test_index_writes_a_manifest_that_train_can_plan_on(capsys, tmp_path, archive):
    manifest = tmp_path / "manifest.parquet"
    code, out, err = run_here(capsys, "index", str(archive), "-o", str(manifest))
    assert (code, err) == (0, "")
    assert out.startswith("10 images in 10 groups\n")
    assert out.endswith(f"manifest: {manifest}\n")
    code, out, _ = run_here(capsys, "train", str(manifest), "-o", f"{tmp_path}/run", "--dry-run")
    assert code == 0
    assert plan_of(out)["plan"]["images"]["train"] >= 4
    assert list(tmp_path.iterdir()) == [manifest]


def test_index_as_json_is_the_summary(capsys, tmp_path, archive):
    code, out, err = run_here(
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


@pytest.mark.parametrize("dry_run", [False, True])
def test_standard_output_holds_only_the_result(capsys, dry_run):
    def noisy(*_):
        sys.stdout.write("a warning from Ray\n")
        return {"images": 2}

    job = Job(run=noisy, plan=noisy, as_text=str)
    run(IndexConfig(sources=("a",), output="b"), job, dry_run=dry_run, as_json=True, quiet=True)

    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["plan"] if dry_run else document) == {"images": 2}
    assert printed.err == "a warning from Ray\n"
