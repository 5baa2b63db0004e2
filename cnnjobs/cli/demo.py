"""What `demo` did, as text for people."""

from typing import TYPE_CHECKING

from cnnjobs.cli.evaluate import evaluate_text, number
from cnnjobs.cli.tables import index_text, predict_text, train_text

if TYPE_CHECKING:
    from cnnjobs.demo import DemoSummary


def demo_text(summary: "DemoSummary") -> str:
    """The results of each step, and where they lie."""
    auroc = summary.evaluate.metrics["auroc"]
    places = [
        ("drawings", summary.archive),
        ("manifest", summary.index.manifest),
        ("model bundle", summary.train.bundle),
        ("learning curves", f"{summary.train.output}/learning_curves.png"),
        ("evaluation", f"{summary.evaluate.output}/run.json"),
        ("predictions", f"{summary.predict.output}/predictions"),
    ]
    return "\n".join(
        [
            "",
            index_text(summary.index),
            "",
            train_text(summary.train),
            "",
            evaluate_text(summary.evaluate),
            "",
            predict_text(summary.predict),
            "",
            f"SYNTHETIC drawings, no patients: the AUROC of {number(auroc)} says that the software "
            "runs, nothing else.",
            f"done in {summary.seconds:.0f} s; the results:",
            *(f"  {name:<16} {place}" for name, place in places),
        ]
    )
