"""From runs to the parts of a page that say what was done."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnnjobs.data import plots
from cnnjobs.report import formatting
from cnnjobs.report.blocks import Detail, Figure, Section, Table, data_uri, shown, shown_values
from cnnjobs.report.inputs import Given
from cnnjobs.storage import filesystem

if TYPE_CHECKING:
    pass


def training(given: Sequence[Given]) -> Section | None:
    """How the training went, epoch by epoch; of a search the best of its trials."""
    told = [run for run in given if run.command in ("train", "tune")]
    if not told:
        return None
    return Section(
        name="training",
        title="Training",
        facts={key: value for run in told for key, value in _training_facts(run).items()},
        tables=[table for run in told for table in _trials(run)],
        figures=[figure for run in told for figure in _curves(run)],
    )


def scoring(given: Sequence[Given]) -> Section | None:
    """What each scoring run did with its images."""
    told = [run for run in given if run.command == "predict"]
    rows = [_scored(run) for run in told if run.summary]
    if not rows:
        return None
    return Section(
        name="scoring",
        title="Scoring",
        tables=[
            Table(
                caption="Images of each run that scored.",
                header=["data", "scored", "failed", "predicted", "images/s", "engine"],
                rows=rows,
            )
        ],
    )


def repeating(given: Sequence[Given], commands: Sequence[str]) -> Section:
    """The command of each run, its settings and its versions."""
    return Section(
        name="repeat",
        title="How to repeat it",
        text=["The same commands on the same files, paths as they were given:"],
        code=commands,
        details=[
            Detail(
                title=f"{run.command}: settings and versions",
                facts={
                    "Run": run.uri,
                    "Run id": str(run.record["run_id"]),
                    "Started": shown(run.record.get("started")),
                    "Ended": shown(run.record.get("ended")),
                    "cnnjobs": str(run.record["code_version"]),
                    **shown_values(run.record["versions"]),
                    **shown_values(run.config),
                },
            )
            for run in given
        ],
    )


def unfinished(given: Sequence[Given]) -> list[str]:
    """A sentence for each run that did not come to its end."""
    return [
        f"The {run.command} run {run.uri} is not finished (status {run.record.get('status')}): "
        "it is told as far as it got."
        for run in given
        if not run.is_finished
    ]


def figures_of(run: Given, alts: Mapping[str, str]) -> list[Figure]:
    """The pictures in the run's folder of plots; `alts` has words for them by name."""
    names = run.summary.get("plots") or filesystem.names(run.path("plots"))
    figures = []
    for name in (str(name).rpartition("/")[2] for name in names):
        place = run.path("plots", name)
        if not name.endswith(".png") or not filesystem.exists(place):
            continue
        title = formatting.named(name.removesuffix(".png"))
        figures.append(
            Figure(
                uri=data_uri("image/png", filesystem.read_file(place)),
                alt=alts.get(name.removesuffix(".png"), f"Figure: {title.lower()}."),
                caption=title,
            )
        )
    return figures


def _training_facts(run: Given) -> dict[str, str]:
    told = run.summary
    facts = {
        "Images": f"{told['num_train']:,} to train, {told['num_validation']:,} to validate"
        if "num_train" in told
        else None,
        "Left out, unreadable": shown(told["num_failed"]) if told.get("num_failed") else None,
        "Epochs": shown(told.get("epochs")),
        "Batch size": shown(run.config.get("batch_size")),
        "Learning rate": f"{shown(run.config.get('learning_rate'))}, {run.config.get('schedule')}",
        "Threshold rule": run.config.get("threshold_rule"),
        "Seed": shown(run.config.get("seed")),
        "Time": f"{told['seconds']:.0f} s" if "seconds" in told else None,
    }
    return {key: value for key, value in facts.items() if value not in (None, "-")}


def _trials(run: Given) -> list[Table]:
    trials = run.summary.get("trials") or []
    if not trials:
        return []
    return [
        Table(
            caption=f"{len(trials)} trials, best first.",
            header=["trial", "status", "epochs", str(run.summary["monitor"]), "settings"],
            rows=[
                [
                    *(shown(each[name]) for name in ("number", "status", "epochs", "value")),
                    shown(each["settings"]),
                ]
                for each in trials
            ],
        )
    ]


def _curves(run: Given) -> list[Figure]:
    history = run.summary.get("history")
    if not history:
        return []
    last = history[-1]
    told = ", ".join(
        f"{name.removeprefix('val_')} {last[name]:.3f}"
        for name in ("val_loss", "val_accuracy", "val_auroc")
        if last.get(name) is not None
    )
    ends = f"; on validation at the end {told}" if told else ""
    return [
        Figure(
            uri=data_uri("image/png", plots.learning_curves(history)),
            alt=f"Learning curves over {len(history)} epochs{ends}.",
            caption="Learning curves",
            is_wide=True,
        )
    ]


def _scored(run: Given) -> list[str]:
    told = run.summary
    return [
        str(run.config["data"]),
        shown(told.get("scored")),
        shown(told.get("failed") or 0),
        shown(told.get("predictions")),
        shown(told.get("images_per_second")),
        shown(told.get("engine")),
    ]
