"""The GPU benchmark runs its jobs on whatever device there is; speeds are not asserted."""

from pathlib import Path

import pytest

from benchmarks import gpu, text
from benchmarks.config import GpuBenchmark
from benchmarks.gpu import bench_gpu
from tests.support.processes import wait_until

SMALL = GpuBenchmark(models=("digits",), rows=40, side=64, batch_size=8)

#: Prints two samples as nvidia-smi does, and goes on until it is ended.
NVIDIA_SMI = """#!/bin/sh
echo 90
echo 70
touch {printed}
exec sleep 600
"""


# four trainings and scorings, each in processes of its own
@pytest.mark.slow
def test_every_job_says_what_it_is_bound_by() -> None:
    summary = bench_gpu(SMALL)

    names = [f"train digits, {how}" for how in ("float32", "mixed", "jit")]
    assert [job.job for job in summary.measured] == [*names, "predict digits, float32"]
    for job in summary.measured:
        assert job.images_per_second > 0
        assert job.step_milliseconds > 0
        assert job.busy_share > 0
        assert job.gpu_share is None or 0 <= job.gpu_share <= 1
        assert job.bound_by.startswith(("images: ", "the device", "decoding: "))
    assert summary.left_out == []
    lines = text.gpu_text(summary).splitlines()
    assert lines[0].startswith(summary.device)
    assert [line.split("  ")[0] for line in lines[2:]] == [job.job for job in summary.measured]


def test_jobs_without_time_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_LAST_START", -1)
    summary = bench_gpu(SMALL)

    assert summary.measured == []
    assert len(summary.left_out) == 4
    assert text.gpu_text(summary).endswith("train digits, jit; predict digits, float32.")


def test_the_use_of_a_gpu_is_what_nvidia_smi_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, printed = tmp_path / "nvidia-smi", tmp_path / "printed"
    program.write_text(NVIDIA_SMI.format(printed=printed))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with gpu._gpu_shares() as shares:
        wait_until(printed.exists)
        assert shares == []
    assert shares == [0.9, 0.7]
