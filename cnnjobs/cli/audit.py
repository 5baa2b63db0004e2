"""What `audit` and `explain` found, as text for people."""

from typing import TYPE_CHECKING

from cnnjobs.cli.tables import table

if TYPE_CHECKING:
    from cnnjobs.evaluation.audit import AuditSummary
    from cnnjobs.evaluation.explain import ExplainSummary


def audit_text(summary: "AuditSummary") -> str:
    """The verdict, and the AUROC of each change."""
    rows = [
        [
            row.name,
            row.auroc,
            "-" if row.low is None else f"{row.low:.4f} to {row.high:.4f}",
            "-" if row.share is None else f"{row.share:.0%}",
        ]
        for row in summary.rows
    ]
    parts = [
        summary.line,
        f"{summary.model} on {summary.num_images} images of {summary.num_groups} groups, split "
        f"{summary.split}; border: {summary.border:.1%} of the sides",
        table(["the model sees", "auroc", "95 % interval", "survives"], rows),
    ]
    if summary.num_left_out:
        parts.append(f"left out, unreadable or not drawn: {summary.num_left_out} images")
    if summary.warning:
        parts.append(f"warning: {summary.warning}")
    if summary.output:
        parts.append(f"run: {summary.output}")
    return "\n".join(parts)


def explain_text(summary: "ExplainSummary") -> str:
    """A line an image."""
    rows = [
        [each.path, each.prediction, each.probability, each.error or each.drawn]
        for each in summary.images
    ]
    header = ["image", "prediction", f"P({summary.positive or 'prediction'})", "drawn"]
    return "\n".join([summary.model, table(header, rows)])
