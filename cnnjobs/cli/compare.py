"""What `compare` found, as text for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnjobs.cli.tables import table

if TYPE_CHECKING:
    from cnnjobs.evaluation.compare import CompareSummary, Comparison


def compare_text(summary: "CompareSummary") -> str:
    """A column a model, and what each has more than the first."""
    counts = ", ".join(f"{label} {images}" for label, images in summary.counts.items())
    names = [f"[{place}]" for place in range(1, len(summary.models) + 1)]
    parts = [f"{summary.num_images} images in {summary.num_groups} groups ({counts})"]
    parts += [
        f"{name} {its.model} in {its.run}" for name, its in zip(names, summary.models, strict=True)
    ]
    rows = [
        [metric, *(its.metrics[metric] for its in summary.models)]
        for metric in summary.models[0].metrics
    ]
    parts.append(table(["metric", *names], rows))
    for name, comparison in zip(names[1:], summary.comparisons, strict=True):
        parts += _difference(name, comparison)
    if summary.num_left_out:
        parts.append(f"left out, not in every run: {summary.num_left_out} images")
    for told in (summary.no_intervals, summary.undefined):
        if told:
            parts.append(told)
    if summary.output:
        parts.append(f"written: {summary.output}")
    return "\n".join(parts)


def _difference(name: str, comparison: "Comparison") -> list[str]:
    rows = [
        [metric, its.value, _interval(its.interval)]
        for metric, its in comparison.differences.items()
    ]
    parts = [table([f"{name} - [1]", "difference", "95 % interval"], rows)]
    if comparison.delong is not None:
        parts.append(
            f"AUROC by DeLong: {comparison.delong.difference:.4f} "
            f"({_interval(comparison.delong.interval)}), p {_p(comparison.delong.p)}"
        )
    discordant = comparison.mcnemar
    parts.append(
        f"right in {name} alone {discordant.only_one}, in [1] alone {discordant.only_other} "
        f"images: p {_p(discordant.p)} (McNemar)"
    )
    return parts


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
