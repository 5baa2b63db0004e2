"""What `report` wrote, as text for people."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnjobs.reporting.report import ReportSummary


def describe(summary: "ReportSummary") -> str:
    """Where the page is, how large, and what it could not tell."""
    parts = [f"{summary.title}: {', '.join(summary.sections)}"]
    if summary.num_images:
        unread = f", {summary.unread} of them without their picture" if summary.unread else ""
        parts.append(f"images: {summary.num_shown:,} of {summary.num_images:,}{unread}")
    if summary.num_explained:
        parts.append(f"with a heat map: {summary.num_explained}")
    parts += [f"warning: {warning}" for warning in summary.warnings]
    parts.append(f"page: {summary.output} ({summary.size_bytes / 1e6:.1f} MB)")
    return "\n".join(parts)
