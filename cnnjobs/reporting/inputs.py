"""The runs that a report is made of, and the model they are of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import predictions
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.storage import filesystem, run_dir

#: Commands whose runs a report can tell of.
COMMANDS = ("train", "tune", "evaluate", "audit", "predict", "crossval")

_TRAININGS = ("train", "tune")

#: Columns of prediction rows that a page shows; a model has one of the two scores.
_SHOWN = (
    *("path", "label", "prediction", "probability", "probabilities"),
    *("error", "warning", "width", "height"),
)


@dataclass(frozen=True, kw_only=True)
class Given:
    """One run: where it is, what its `run.json` says, and whether it came to its end."""

    uri: str
    record: Mapping[str, Any]
    is_finished: bool

    @property
    def command(self) -> str:
        """What made it."""
        return str(self.record["command"])

    @property
    def config(self) -> Mapping[str, Any]:
        """Its settings."""
        return dict(self.record["config"])

    @property
    def summary(self) -> Mapping[str, Any]:
        """What it told at its end; empty where it did not get there."""
        return self.record.get("summary") or {}

    @property
    def model(self) -> str | None:
        """The name of its model; None where there is none, or many."""
        return self.record.get("model")

    def path(self, *names: str) -> str:
        """The name of something in the run directory."""
        return filesystem.join(self.uri, *names)


def read(uris: Sequence[str]) -> list[Given]:
    """The runs in these directories, in the order of a report's sections.

    Raises:
        InputError: one is no run, or of a command a report knows nothing of; or they are of
            different models.
    """
    given = [_read_one(uri) for uri in dict.fromkeys(map(filesystem.normalize, uris))]
    models = dict.fromkeys(run.model for run in given if run.model is not None)
    if len(models) > 1:
        raise InputError(
            f"the runs are of different models ({', '.join(models)}); report those of one, "
            "and see cnnjobs compare for several."
        )
    return sorted(given, key=lambda run: COMMANDS.index(run.command))


def find_bundle(given: Sequence[Given]) -> Bundle | None:
    """The bundle of the runs' model; None where it is gone or another model's by now."""
    places = [
        run.path("bundle") if run.command in _TRAININGS else str(place)
        for run in given
        for place in (run.config.get("bundle"), run.summary.get("bundle"))
        if place or run.command in _TRAININGS
    ]
    for place in dict.fromkeys(places):
        bundle = _bundle_at(place)
        if bundle is not None and bundle.name == model(given):
            return bundle
    return None


def manifests(given: Sequence[Given]) -> dict[str, Manifest]:
    """The manifests that the runs keep, or that still stand where they read them.

    By fingerprint, that of a training first.
    """
    found: dict[str, Manifest] = {}
    for run in given:
        fingerprint = run.record.get("manifest")
        for place in (run.path("manifest.parquet"), str(run.config.get("data"))):
            if fingerprint in found or not place.endswith(".parquet"):
                continue
            images = _manifest_at(place)
            if images is not None and images.fingerprint == fingerprint:
                found[images.fingerprint] = images
    return found


def scored(given: Sequence[Given]) -> pa.Table | None:
    """Rows of all runs that scored images, each path once; None if there are none.

    Of an image that several have scored, the row of the first that knows its label counts.
    """
    tables = []
    for run in given:
        if run.command not in ("evaluate", "predict"):
            continue
        # what a run that broke off has left is whole, part by part
        parts = run.record.get("files") if run.is_finished else predictions.files(run.uri)
        if parts:
            tables.append(predictions.read_whole(run.uri, parts))
    if not tables:
        return None
    shared = [name for name in tables[0].column_names if name in _SHOWN]
    rows = pa.concat_tables([table.select(shared) for table in tables])
    unknown = pc.is_null(rows["label"])
    rows = pa.concat_tables([rows.filter(pc.invert(unknown)), rows.filter(unknown)])
    rows = rows.append_column("place", pa.array(range(rows.num_rows), pa.int64()))
    first = rows.select(["path", "place"]).group_by("path").aggregate([("place", "min")])
    return rows.filter(pc.is_in(rows["place"], first["place_min"])).drop_columns(["place"])


def kept_audit(bundle: Bundle | None) -> Mapping[str, Any] | None:
    """What the bundle keeps of its last audit."""
    if bundle is None:
        return None
    try:
        kept = json.loads(filesystem.read_bytes(filesystem.join(bundle.uri, "audit.json")))
    except (OSError, ValueError):
        return None
    is_its_own = isinstance(kept, dict) and kept.get("fingerprint") == bundle.fingerprint
    return kept if is_its_own else None


def splits(manifests: Mapping[str, Manifest]) -> dict[str, str | None]:
    """The split of each image; that of the training's manifest counts."""
    found: dict[str, str | None] = {}
    for images_of in reversed(list(manifests.values())):
        table = images_of.table
        found |= zip(table["path"].to_pylist(), table["split"].to_pylist(), strict=True)
    return found


def policy(told: Sequence[Given]) -> Policy:
    """What the runs took for an image; an evaluation takes any modality."""
    return Policy(
        keep_damaged=any(run.config.get("damaged") == "score" for run in told),
        any_modality=any(
            run.command == "evaluate" or run.config.get("any_modality") for run in told
        ),
    )


def num_pixels(told: Sequence[Given]) -> int | None:
    """Pixels above which a run has refused an image; None for the decoder's own limit."""
    limits = [run.config["max_pixels"] for run in told if run.config.get("max_pixels")]
    return max(limits, default=None)


def model(told: Sequence[Given]) -> str | None:
    """The name of the runs' model; None where none has one."""
    return next((run.model for run in told if run.model is not None), None)


def _read_one(uri: str) -> Given:
    record = run_dir.read_record(uri)
    if record is None:
        raise InputError(
            f"{uri} holds no run (there is no {run_dir.RECORD}); give the output directory of "
            f"{', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}."
        )
    if record["command"] not in COMMANDS:
        raise InputError(
            f"{uri} is a run of {record['command']}; a report tells of runs of "
            f"{', '.join(COMMANDS[:-1])} and {COMMANDS[-1]}."
        )
    return Given(uri=uri, record=record, is_finished=run_dir.is_finished(uri))


def _bundle_at(place: str) -> Bundle | None:
    try:
        return bundles.read(place)
    except InputError:
        return None


def _manifest_at(place: str) -> Manifest | None:
    try:
        return manifest.read(filesystem.normalize(place))
    except InputError:
        return None
