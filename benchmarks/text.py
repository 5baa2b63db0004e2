"""Measurements as tables of text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cnnjobs.cli.tables import table

if TYPE_CHECKING:
    from benchmarks import gpu, predict, train
    from benchmarks.summary import BenchSummary


def train_text(summary: "BenchSummary[train.Measured]") -> str:
    """One line per way to train."""
    header = [
        "trained by", "epoch s", "images/s", "ratio", "to", "waiting", "start-up s",
        "peak MB, first to last epoch",
    ]  # fmt: skip
    rows = [
        [
            way.name,
            way.epoch_seconds,
            way.images_per_second,
            way.ratio,
            way.compared_with,
            way.wait_share,
            way.startup_seconds,
            ", ".join(_megabytes(peak) for peak in way.peak_memory_bytes),
        ]
        for way in summary.measured
    ]
    return _text(summary, header, rows)


def predict_text(summary: "BenchSummary[predict.Measured]") -> str:
    """One line per way to score."""
    header = [
        "scored by", "steady images/s", "ratio", "whole s", "images/s", "ratio",
        "first batch s", "peak MB",
    ]  # fmt: skip
    rows = [
        [
            way.name,
            f"{way.steady_images_per_second:.1f}",
            f"{way.steady_ratio:.2f}",
            f"{way.whole_seconds:.1f}",
            f"{way.whole_images_per_second:.1f}",
            f"{way.whole_ratio:.2f}",
            f"{way.seconds_to_first:.1f}",
            None if way.peak_memory_bytes is None else _megabytes(way.peak_memory_bytes),
        ]
        for way in summary.measured
    ]
    return _text(summary, header, rows)


def gpu_text(summary: "gpu.GpuSummary") -> str:
    """One line per job, below the device."""
    header = ["job", "batch", "images/s", "step ms", "busy", "GPU in use", "bound by"]
    rows = [
        [
            job.job,
            job.batch_size,
            f"{job.images_per_second:.1f}",
            f"{job.step_milliseconds:.1f}",
            f"{job.busy_share:.0%}",
            None if job.gpu_share is None else f"{job.gpu_share:.0%}",
            job.bound_by,
        ]
        for job in summary.measured
    ]
    lines = [
        f"{summary.device}, {summary.num_cpus} CPUs, in {summary.seconds:.0f} s",
        table(header, rows),
    ]
    if summary.left_out:
        lines.append(f"No time was left for: {'; '.join(summary.left_out)}.")
    return "\n".join(lines)


def _megabytes(number: float) -> str:
    return f"{number / 1e6:.0f}"


def _text(
    summary: "BenchSummary[Any]", header: Sequence[str], rows: Sequence[Sequence[Any]]
) -> str:
    """Settings, machine and measurements."""
    versions = ", ".join(
        f"{name} {summary.versions[name]}" for name in ("tensorflow", "keras", "ray")
    )
    settings = ", ".join(
        f"{name} {value}"
        for name, value in summary.config.items()
        if not isinstance(value, list | tuple)
    )
    return "\n".join(
        [
            f"{settings}; medians, in {summary.seconds:.0f} s",
            f"{summary.machine}, {summary.num_cpus} CPUs; {versions}",
            table(header, rows),
        ]
    )
