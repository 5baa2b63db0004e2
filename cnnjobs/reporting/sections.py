"""From runs to the parts of a page that say what was done."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import SPLITS
from cnnjobs.data import dataset_summary, plots
from cnnjobs.data.manifest import Manifest
from cnnjobs.models.bundle import Bundle
from cnnjobs.reporting import formatting
from cnnjobs.reporting.blocks import Detail, Figure, Section, Table, data_uri, shown
from cnnjobs.reporting.inputs import Given
from cnnjobs.storage import filesystem

if TYPE_CHECKING:
    import keras

#: Layers of a model that are listed; a DenseNet has hundreds.
_MAX_LAYERS = 60


def data(manifests: Mapping[str, Manifest]) -> Section | None:
    """Images by class and split, and by source, of each manifest."""
    if not manifests:
        return None
    sections = [_data_of(fingerprint, images) for fingerprint, images in manifests.items()]
    return Section(
        name="data",
        title="Data",
        # two manifests of the same images are warned of alike
        warnings=list(dict.fromkeys(text for _, warnings in sections for text in warnings)),
        tables=[table for tables, _ in sections for table in tables],
        details=[
            Detail(title=f"Manifest {fingerprint}", facts=_plain(images.settings))
            for fingerprint, images in manifests.items()
        ],
    )


def model(bundle: Bundle | None, network: "keras.Model | None") -> Section | None:
    """What the bundle says, and its layers."""
    if bundle is None:
        return None
    size = bundle.preprocessing
    facts = {
        "Architecture": bundle.architecture,
        "Input": f"{size.height} x {size.width} pixels, gray",
        "Classes": ", ".join(bundle.labels),
        **({"Positive class": bundle.positive} if bundle.positive is not None else {}),
        **({"Threshold": shown(bundle.threshold)} if bundle.positive is not None else {}),
        "Temperature": shown(bundle.temperature) if bundle.temperature != 1 else "none",
        **({"Parameters": f"{network.count_params():,}"} if network is not None else {}),
        "Made": bundle.created,
        "Bundle": bundle.uri,
    }
    return Section(
        name="model",
        title="Model",
        facts=facts,
        details=[
            *([Detail(title="Layers", facts=_layers(network))] if network is not None else []),
            Detail(
                title="From a file to pixels",
                facts=_plain(dataclasses.asdict(bundle.preprocessing)),
            ),
        ],
    )


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
                    **_plain(run.record["versions"]),
                    **_plain(run.config),
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


def _data_of(fingerprint: str, images: Manifest) -> tuple[list[Table], list[str]]:
    rows = images.table
    by_class = _crossed(rows, "label", "split", first=SPLITS)
    by_source = _crossed(rows, "label", "source")
    groups = pc.count_distinct(rows["group"]).as_py()
    tables = [
        Table(
            caption=f"{rows.num_rows:,} images of {groups:,} groups (patients, where they are "
            f"known), by class and split. Manifest {fingerprint}.",
            **by_class,
        )
    ]
    sources = pc.unique(rows["source"]).to_pylist()
    if len(sources) > 1:
        tables.append(Table(caption="The same by source.", **by_source))
    unreadable = len(rows) - rows["error"].null_count
    warnings = dataset_summary.told_by_source(_counted(rows, "source", "label"))
    if len(sources) == 1:
        warnings.append(
            f"All images are indexed as one source, {sources[0]}: where each class was collected "
            "somewhere else, nothing here would show that the model tells the places apart."
        )
    if unreadable:
        warnings.append(f"{unreadable:,} images could not be read when they were indexed.")
    return tables, [warning[0].upper() + warning[1:] for warning in warnings]


def _crossed(
    rows: pa.Table, down: str, across: str, first: Sequence[str] = ()
) -> dict[str, Sequence[Any]]:
    """Header and rows of a table of counts."""
    counts = _counted(rows, down, across)
    names = {name for its in counts.values() for name in its}
    columns = [name for name in first if name in names] + sorted(names - set(first))
    return {
        "header": ["class", *columns, "all"],
        "rows": [
            [name, *(shown(its.get(column, 0)) for column in columns), shown(sum(its.values()))]
            for name, its in sorted(counts.items())
        ],
    }


def _counted(rows: pa.Table, down: str, across: str) -> dict[str, dict[str, int]]:
    counted = rows.select([down, across]).group_by([down, across]).aggregate([([], "count_all")])
    counts: dict[str, dict[str, int]] = {}
    for row in counted.to_pylist():
        its = counts.setdefault(row[down] or f"no {down}", {})
        its[row[across] or f"no {across}"] = row["count_all"]
    return counts


def _layers(network: "keras.Model") -> dict[str, str]:
    """What each layer gives, and the parameters it has."""
    told = {
        f"{layer.name} ({type(layer).__name__})": (
            f"{_shape(layer)}, {layer.count_params():,} parameters"
        )
        for layer in network.layers[:_MAX_LAYERS]
    }
    more = len(network.layers) - _MAX_LAYERS
    return told | ({"…": f"{more} more layers"} if more > 0 else {})


def _shape(layer: "keras.Layer") -> str:
    sides = layer.output.shape[1:]
    return " x ".join(str(side) for side in sides)


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


def _plain(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: shown(value) for name, value in values.items()}
