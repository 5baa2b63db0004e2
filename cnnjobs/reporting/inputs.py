"""The runs to report, with their bundle and manifests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import predictions
from cnnjobs.models import bundle as bundles
from cnnjobs.models import external_tests
from cnnjobs.models.bundle import Bundle
from cnnjobs.storage import filesystem, run_dir, run_files

#: Commands whose runs can be reported, in the order of the page.
COMMANDS = ("train", "tune", "evaluate", "audit", "predict", "crossval")

#: The set of images that models of a cross-validation scored, each without having seen them.
OUT_OF_FOLD = "out of fold"

_TRAININGS = ("train", "tune")

#: Columns of prediction rows that a page shows; a model has one of the two scores.
_COLUMNS = (
    *("path", "label", "prediction", "probability", "probabilities"),
    *("error", "warning", "width", "height"),
)


@dataclass(frozen=True, kw_only=True)
class InputRun:
    """One run: its directory, its `run.json`, and whether it finished."""

    uri: str
    record: Mapping[str, Any]
    is_finished: bool

    @property
    def command(self) -> str:
        """The command that made it."""
        return str(self.record["command"])

    @property
    def config(self) -> Mapping[str, Any]:
        """Its settings."""
        return dict(self.record["config"])

    @property
    def summary(self) -> Mapping[str, Any]:
        """Its results; empty if it did not finish."""
        return self.record.get("summary") or {}

    @property
    def model(self) -> str | None:
        """The name of its model; None without one, or with several."""
        return self.record.get("model")

    def path(self, *names: str) -> str:
        """The path of a file in the run directory."""
        return filesystem.join(self.uri, *names)


def read(uris: Sequence[str]) -> list[InputRun]:
    """The runs in these directories, in the order of a report's sections.

    Raises:
        InputError: a directory holds no run, or a run of another command; or the runs are of
            different models.
    """
    runs = [_read_one(uri) for uri in dict.fromkeys(map(filesystem.normalize, uris))]
    models = dict.fromkeys(run.model for run in runs if run.model is not None)
    if len(models) > 1 and find_bundle(runs) is None:
        raise InputError(
            f"the runs are of different models ({', '.join(models)}); report the runs of one "
            "model, or use cnnjobs compare."
        )
    return sorted(runs, key=lambda run: COMMANDS.index(run.command))


def find_bundle(runs: Sequence[InputRun]) -> Bundle | None:
    """The bundle of the runs' model; None if it is gone or now holds another model."""
    uris = [
        run.path("bundle") if run.command in _TRAININGS else str(uri)
        for run in runs
        for uri in (run.config.get("bundle"), run.summary.get("bundle"))
        if uri or run.command in _TRAININGS
    ]
    models = {run.model for run in runs if run.model is not None}
    for uri in dict.fromkeys(uris) if models else ():
        bundle = _read_bundle(uri)
        if bundle is not None and models <= {*bundle.names}:
            return bundle
    return None


def manifests(runs: Sequence[InputRun]) -> dict[str, Manifest]:
    """The manifests kept in the runs, or read by them and unchanged since.

    By fingerprint, the training's first.
    """
    found: dict[str, Manifest] = {}
    for run in runs:
        fingerprint = run.record.get("manifest")
        for uri in (run.path("manifest.parquet"), str(run.config.get("data"))):
            if fingerprint in found or not uri.endswith(".parquet"):
                continue
            images = _read_manifest(uri)
            if images is not None and images.fingerprint == fingerprint:
                found[images.fingerprint] = images
    return found


def prediction_rows(runs: Sequence[InputRun]) -> pa.Table | None:
    """Rows of all runs that scored images, one per path; None without such runs.

    If several runs scored an image, the first row with a label counts. The column `set` says
    which rows are out of fold, and which of other data than the run's own.
    """
    tables = [
        table.select([name for name in table.column_names if name in _COLUMNS]).append_column(
            "set", pa.repeat(pa.scalar(name, pa.string()), table.num_rows)
        )
        for run in runs
        for name, table in _scored(run)
    ]
    if not tables:
        return None
    rows = pa.concat_tables([table.select(tables[0].column_names) for table in tables])
    unlabelled = pc.is_null(rows["label"])
    rows = pa.concat_tables([rows.filter(pc.invert(unlabelled)), rows.filter(unlabelled)])
    rows = rows.append_column("index", pa.array(range(rows.num_rows), pa.int64()))
    first = rows.select(["path", "index"]).group_by("path").aggregate([("index", "min")])
    return rows.filter(pc.is_in(rows["index"], first["index_min"])).drop_columns(["index"])


def splits(manifests: Mapping[str, Manifest]) -> dict[str, str | None]:
    """The split of each image; the training's manifest takes precedence."""
    found: dict[str, str | None] = {}
    for images in reversed(list(manifests.values())):
        found |= zip(
            images.table["path"].to_pylist(), images.table["split"].to_pylist(), strict=True
        )
    return found


def policy(runs: Sequence[InputRun]) -> Policy:
    """The most permissive policy of the runs; an evaluation accepts any modality."""
    return Policy(
        keep_damaged=any(run.config.get("damaged") == "score" for run in runs),
        any_modality=any(
            run.command == "evaluate" or run.config.get("any_modality") for run in runs
        ),
    )


def max_pixels(runs: Sequence[InputRun]) -> int | None:
    """The largest limit on an image's pixels; None for the decoder's default."""
    limits = [run.config["max_pixels"] for run in runs if run.config.get("max_pixels")]
    return max(limits, default=None)


def model_name(runs: Sequence[InputRun]) -> str | None:
    """The name of the runs' model; None if none has one."""
    return next((run.model for run in runs if run.model is not None), None)


def fold_bundle(runs: Sequence[InputRun]) -> Bundle | None:
    """The bundle of a cross-validation's first fold, which says what its predictions mean."""
    for run in runs:
        for fold in (*run.summary.get("folds", ()), *run.summary.get("sources", ())):
            bundle = _read_bundle(fold["bundle"]) if "bundle" in fold else None
            if bundle is not None:
                return bundle
    return None


def out_of_fold(run: InputRun) -> pa.Table | None:
    """Of a cross-validation, one row per image of the first repeat; None without any."""
    parts = _parts(run)
    if not parts:
        return None
    rows = predictions.read_whole(run.uri, parts)
    of_folds = rows.filter(pc.is_null(rows["left_out"]))
    if of_folds.num_rows == 0:
        return rows
    return of_folds.filter(pc.equal(of_folds["repeat"], pc.min(of_folds["repeat"])))


def _scored(run: InputRun) -> Iterator[tuple[str | None, pa.Table]]:
    """The name and the rows of each set that a run scored."""
    if run.command == "crossval":
        rows = out_of_fold(run)
        if rows is not None:
            yield OUT_OF_FOLD, rows
    elif run.command in ("evaluate", "predict"):
        parts = _parts(run)
        if parts:
            yield None, predictions.read_whole(run.uri, parts)
    for beside in run.summary.get("beside") or ():
        if beside["predictions"] is not None:
            data = filesystem.read_file(run.path(*beside["predictions"].split("/")))
            name = external_tests.set_name(beside["data"])
            yield f"beside: {name}", pq.read_table(pa.BufferReader(data))


def _parts(run: InputRun) -> Sequence[str]:
    # an interrupted run leaves whole parts
    return (run.record.get("files") if run.is_finished else predictions.files(run.uri)) or ()


def _read_one(uri: str) -> InputRun:
    record = run_dir.read_record(uri)
    if record is None:
        raise InputError(
            f"{uri} holds no run (no {run_files.RECORD}); give the output directory of "
            f"{', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}."
        )
    if record["command"] not in COMMANDS:
        raise InputError(
            f"{uri} is a {record['command']} run; a report takes runs of "
            f"{', '.join(COMMANDS[:-1])} and {COMMANDS[-1]}."
        )
    return InputRun(uri=uri, record=record, is_finished=run_dir.is_finished(uri))


def title(runs: Sequence[InputRun], bundle: Bundle | None) -> str:
    """The task, and the data of the first run that has some."""
    name = model_name(runs)
    if bundle is None:
        return f"Report on {name}" if name else "Report"
    task = f"{len(bundle.labels)} classes"
    if bundle.positive is not None:
        others = [label for label in bundle.labels if label != bundle.positive]
        task = f"{bundle.positive} against {others[0]}"
    data = next((str(run.config["data"]) for run in runs if run.config.get("data")), None)
    return task if data is None else f"{task} in {external_tests.set_name(data)}"


def _read_bundle(uri: str) -> Bundle | None:
    try:
        return bundles.read(uri)
    except InputError:
        return None


def _read_manifest(uri: str) -> Manifest | None:
    try:
        return manifest.read(filesystem.normalize(uri))
    except InputError:
        return None
