"""Summaries as text for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnjobs.data.fetch import FetchSummary
    from cnnjobs.data.index import IndexSummary
    from cnnjobs.inference.predict import PredictSummary
    from cnnjobs.inference.predict_one import PredictOneSummary
    from cnnjobs.models import Architecture
    from cnnjobs.training.train import TrainSummary
    from cnnjobs.training.tune import TuneSummary

#: How many examples of a kind are shown; the manifest has them all.
_EXAMPLES = 5


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns under a header: words to the left, numbers to the right."""
    cells = [list(header)] + [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    words = [any(isinstance(row[column], str) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if is_word else cell.rjust(width)
            for cell, width, is_word in zip(row, widths, words, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def index_text(summary: "IndexSummary") -> str:
    """Counts per class and split, and what a user should look at before training."""
    parts = [f"{summary.num_images} images in {summary.num_groups} groups"]
    if summary.counts:
        parts.append(class_counts(summary.counts))
    if len(summary.sources) > 1:
        parts.append(source_counts(summary.sources))
    parts += [f"warning: {warning}" for warning in summary.warnings]
    if summary.num_unlabelled:
        parts.append(f"without a label (not split): {summary.num_unlabelled}")
    parts.append(f"copies: {summary.num_exact_copies} exact, {summary.num_near_copies} near")
    if summary.mixed_labels:
        parts.append(
            f"copies with different labels: {len(summary.mixed_labels)}, for example "
            f"{' and '.join(summary.mixed_labels[0])}"
        )
    if summary.unreadable:
        parts.append(f"unreadable: {len(summary.unreadable)}")
        shown = list(summary.unreadable.items())[:_EXAMPLES]
        parts += [f"  {path} ({error})" for path, error in shown]
        if len(summary.unreadable) > _EXAMPLES:
            parts.append(f"  ... and {len(summary.unreadable) - _EXAMPLES} more")
    if summary.ignored:
        parts.append(f"ignored, no image suffix: {_counts(summary.ignored)}")
    parts.append(f"manifest: {summary.manifest}")
    return "\n".join(parts)


def fetch_text(summary: "FetchSummary") -> str:
    """Counts per class and split, and where the images and the manifest lie."""
    parts = [
        f"{summary.num_images} images of {summary.dataset} in {summary.seconds:.1f} s",
        class_counts(summary.counts),
        f"copies: {summary.num_exact_copies} exact",
    ]
    if summary.unreadable:
        parts.append(f"unreadable: {len(summary.unreadable)}")
    return "\n".join([*parts, f"images: {summary.archive}", f"manifest: {summary.manifest}"])


def train_text(summary: "TrainSummary") -> str:
    """How the training went and what it left."""
    if summary.already_finished:
        return f"nothing to do: the run in {summary.output} is finished."
    shown = ["epoch", "loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc"]
    columns = [name for name in shown if name in summary.history[0]]
    rows = [
        [int(epoch["epoch"]), *(epoch[name] for name in columns[1:])] for epoch in summary.history
    ]
    parts = [
        f"trained {summary.model} on {summary.num_train} images, "
        f"{summary.num_validation} for validation, in {summary.seconds:.0f} s "
        f"({summary.images_per_second:.1f} images/s in the epochs)",
        table(columns, rows),
    ]
    if summary.positive is not None:
        parts.append(f"positive class: {summary.positive}")
    if (summary.threshold, summary.temperature) != (0.5, 1.0):
        parts.append(f"threshold {summary.threshold:.4g}, temperature {summary.temperature:.4g}")
    parts += summary.warnings
    if summary.num_failed:
        parts.append(f"left out, unreadable: {summary.num_failed} images")
    parts += [f"bundle: {summary.bundle}", f"curves: {summary.output}/learning_curves.png"]
    return "\n".join(parts)


def tune_text(summary: "TuneSummary") -> str:
    """The trials, best first, and where the best one's bundle is."""
    names = list(summary.best.settings)
    rows = [
        [
            f"{trial.number}",
            trial.status,
            trial.epochs,
            trial.value,
            *(_setting(trial.settings[name]) for name in names),
        ]
        for trial in summary.trials
    ]
    parts = [
        f"{len(summary.trials)} trials in {summary.seconds:.0f} s",
        table(["trial", "status", "epochs", summary.monitor, *names], rows),
    ]
    parts += [f"trial {trial.number}: {trial.error}" for trial in summary.trials if trial.error]
    if summary.num_failed:
        parts.append(f"left out, unreadable: {summary.num_failed} images")
    parts += [
        f"best: trial {summary.best.number}, {summary.monitor} {_cell(summary.best.value)}",
        f"bundle: {summary.bundle}",
        f"trials: {summary.output}/trials.csv",
    ]
    return "\n".join(parts)


def predict_text(summary: "PredictSummary") -> str:
    """How many rows there are, what they say, what they took, and where they are."""
    if summary.already_finished:
        return f"nothing to do: the run in {summary.output} is finished, {summary.skipped} rows."
    parts = [
        f"{summary.indexed} images: {summary.scored} scored, "
        f"{sum(summary.failed.values())} failed, {summary.skipped} scored before",
    ]
    if summary.ignored:
        parts.append(f"ignored, no image suffix: {_counts(summary.ignored)}")
    if summary.left:
        parts.append(f"not scored: {summary.left}")
    if summary.update is not None:
        parts.append("update: " + ", ".join(f"{n} {name}" for name, n in summary.update.items()))
    parts.append(f"predicted: {_counts(summary.predictions) or 'nothing'}")
    if summary.failed:
        parts.append(f"failed: {_counts(summary.failed)}")
    if summary.warnings:
        parts.append(f"scored with a warning: {summary.warnings}")
    if summary.histogram is not None:
        parts += ["probability:", *_histogram(summary.histogram)]
    stages = ", ".join(f"{name} {share:.0%}" for name, share in summary.stages.items())
    memory = ", ".join(
        f"{name} {number / 1e6:.0f} MB" for name, number in summary.peak_memory_bytes.items()
    )
    parts += [f"warning: {doubt}" for doubt in summary.doubts]
    parts += [
        f"{summary.seconds:.1f} s, {summary.images_per_second:.1f} images/s "
        f"({summary.steady_images_per_second:.1f} after the first), engine {summary.engine}",
        f"time: {stages}; peak memory: {memory}; retries: {summary.retries}",
        f"predictions: {summary.output}/predictions",
    ]
    return "\n".join(parts)


def predict_one_text(summary: "PredictOneSummary") -> str:
    """A line an image."""
    what = f"P({summary.positive})" if summary.positive is not None else "probability"
    rows = [
        [
            row.path,
            row.prediction,
            row.probability,
            row.error or row.warning,
        ]
        for row in summary.images
    ]
    parts = [summary.model, table(["image", "prediction", what, "error"], rows)]
    if summary.plot is not None:
        parts.append(f"drawn: {summary.plot}")
    return "\n".join(parts)


def models_text(architectures: Iterable["Architecture"]) -> str:
    """The architectures, one a line."""
    rows = [
        [
            known.name,
            f"{known.height}x{known.width}x1",
            known.num_parameters,
            known.num_labels,
            known.summary,
        ]
        for known in architectures
    ]
    return table(["model", "input", "parameters", "classes", "layers"], rows)


def class_counts(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A row a class, a column a split; splits that no class has are left out."""
    states = [
        state
        for state in ("train", "validation", "test", "no split", "unreadable")
        if any(state in its for its in counts.values())
    ]
    rows = [
        [label, *(its.get(state, 0) for state in states), sum(its.values())]
        for label, its in counts.items()
    ]
    return table(["class", *states, "all"], rows)


def source_counts(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A row a source, a column a class."""
    labels = sorted({label for its in counts.values() for label in its})
    rows = [[source, *(its.get(label, 0) for label in labels)] for source, its in counts.items()]
    return table(["source", *labels], rows)


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number}" for name, number in ordered)


def _histogram(counts: Sequence[int]) -> list[str]:
    """A bar for each step of the probability, the longest 40 characters."""
    longest = max(*counts, 1)
    return [
        f"  {step / len(counts):.1f}-{(step + 1) / len(counts):.1f} {count:>9,} "
        f"{'#' * -(-40 * count // longest)}".rstrip()
        for step, count in enumerate(counts)
    ]


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
