"""From runs to the sections on what was done: training, scoring, and how to repeat them."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjobs.config.printable import counted
from cnnjobs.imaging import plots as image_plots
from cnnjobs.reporting import formatting
from cnnjobs.reporting.blocks import Detail, Figure, Section, Table, data_uri, to_text, to_texts
from cnnjobs.reporting.inputs import InputRun
from cnnjobs.storage import filesystem
from cnnjobs.training import plots

#: Plots that show images, which are not inverted on dark screens.
_PHOTOGRAPHS = ("samples", "wrong", "examples")


def training_section(runs: Sequence[InputRun]) -> Section | None:
    """Settings and learning curves of a training, or of the best trial of a search."""
    runs = [run for run in runs if run.command in ("train", "tune")]
    if not runs:
        return None
    return Section(
        name="training",
        title="Training",
        facts={key: value for run in runs for key, value in _training_facts(run).items()},
        tables=[table for run in runs for table in _trials(run)],
        figures=[figure for run in runs for figure in _learning_curves(run)],
    )


def scoring_section(runs: Sequence[InputRun]) -> Section | None:
    """How many images each scoring run scored, and how fast."""
    rows = [_scoring_row(run) for run in runs if run.command == "predict" and run.summary]
    if not rows:
        return None
    return Section(
        name="scoring",
        title="Scoring",
        tables=[
            Table(
                caption="Images of each scoring run.",
                header=["data", "scored", "failed", "predicted", "images/s", "engine"],
                rows=rows,
            )
        ],
    )


def repeat_section(runs: Sequence[InputRun], commands: Sequence[str]) -> Section:
    """The command, the settings and the versions of each run."""
    return Section(
        name="repeat",
        title="How to repeat it",
        text=["Run the same commands on the same files, with paths as originally given:"],
        code=commands,
        details=[
            Detail(
                title=f"{run.command}: settings and versions",
                facts={
                    "Run": run.uri,
                    "Run id": str(run.record["run_id"]),
                    "Started": to_text(run.record.get("started")),
                    "Ended": to_text(run.record.get("ended")),
                    "cnnjobs": str(run.record["code_version"]),
                    **to_texts(run.record["versions"]),
                    **to_texts(run.config),
                },
            )
            for run in runs
        ],
    )


def unfinished(runs: Sequence[InputRun]) -> list[str]:
    """A sentence for each run that did not finish."""
    return [
        f"The {run.command} run {run.uri} is not finished (status {run.record.get('status')}): "
        "partial results are shown."
        for run in runs
        if not run.is_finished
    ]


def plots_of(run: InputRun, alts: Mapping[str, str]) -> list[Figure]:
    """The run's plots; `alts` holds alternative texts by name."""
    names = run.summary.get("plots") or filesystem.names(run.path("plots"))
    figures = []
    for name in (str(name).rpartition("/")[2] for name in names):
        uri = run.path("plots", name)
        # the table of the same section shows the counts
        is_shown = name.endswith(".png") and name != "confusion.png"
        if not is_shown or not filesystem.exists(uri):
            continue
        stem = name.removesuffix(".png")
        title = formatting.display_name(stem)
        figures.append(
            Figure(
                uri=data_uri("image/png", filesystem.read_file(uri)),
                alt=alts.get(stem, f"Figure: {title.lower()}."),
                caption=title,
                is_chart=stem not in _PHOTOGRAPHS,
                # so that the titles in it can be read
                is_wide=stem in _PHOTOGRAPHS,
            )
        )
    return figures


def _training_facts(run: InputRun) -> dict[str, str]:
    summary, config = run.summary, run.config
    facts = {
        "Images": f"{summary['num_train']:,} for training, {summary['num_validation']:,} for "
        "validation"
        if "num_train" in summary
        else None,
        "Left out, unreadable": to_text(summary["num_failed"])
        if summary.get("num_failed")
        else None,
        "Epochs": to_text(summary["epochs"]) if "epochs" in summary else None,
        "Batch size": to_text(config.get("batch_size")),
        "Started from": config.get("init"),
        "Backbone frozen": _frozen(config) if config.get("freeze") else None,
        "Optimizer": config.get("optimizer"),
        "Learning rate": f"{to_text(config.get('learning_rate'))}, {config.get('schedule')}",
        "Warmup": counted(config["warmup"], "epoch") if config.get("warmup") else None,
        "Weight decay": to_text(config["weight_decay"]) if config.get("weight_decay") else None,
        "Label smoothing": to_text(config["label_smoothing"])
        if config.get("label_smoothing")
        else None,
        "Threshold rule": config.get("threshold_rule"),
        "Seed": to_text(config.get("seed")),
        "Time": f"{summary['seconds']:.0f} s" if "seconds" in summary else None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _frozen(config: Mapping[str, Any]) -> str:
    if config.get("unfreeze_at") is None:
        return "in all epochs"
    rate = to_text(config.get("unfreeze_learning_rate") or "a tenth of the first")
    return f"before epoch {config['unfreeze_at']}; learning rate from then on: {rate}"


def _trials(run: InputRun) -> list[Table]:
    trials = run.summary.get("trials") or []
    if not trials:
        return []
    return [
        Table(
            caption=f"{len(trials)} trials, best first.",
            header=["trial", "status", "epochs", str(run.summary["monitor"]), "settings"],
            rows=[
                [
                    *(to_text(trial[name]) for name in ("number", "status", "epochs")),
                    formatting.number(trial["value"]),
                    to_text(trial["settings"]),
                ]
                for trial in trials
            ],
        )
    ]


def _learning_curves(run: InputRun) -> list[Figure]:
    history = run.summary.get("history")
    if not history:
        return []
    last = history[-1]
    values = ", ".join(
        f"{name.removeprefix('val_')} {formatting.number(last[name])}"
        for name in ("val_loss", "val_accuracy", "val_auroc")
        if last.get(name) is not None
    )
    final = f"; validation at the end: {values}" if values else ""
    figures = [
        Figure(
            uri=data_uri("image/png", image_plots.to_bytes(plots.learning_curves(history))),
            alt=f"Learning curves over {counted(len(history), 'epoch')}{final}.",
            caption="Learning curves",
            is_wide=True,
        )
    ]
    if plots.has_measures(history):
        figures.append(
            Figure(
                uri=data_uri("image/png", image_plots.to_bytes(plots.training_measures(history))),
                alt="Learning rate, gradient norm and speed over "
                f"{counted(len(history), 'epoch')}.",
                caption="Learning rate, gradient norm before clipping, speed, and share of time "
                "waiting for images",
                is_wide=True,
            )
        )
    return figures


def _scoring_row(run: InputRun) -> list[str]:
    summary = run.summary
    return [
        str(run.config["data"]),
        to_text(summary.get("scored")),
        to_text(summary.get("failed") or 0),
        to_text(summary.get("predictions")),
        to_text(summary.get("images_per_second")),
        to_text(summary.get("engine")),
    ]
