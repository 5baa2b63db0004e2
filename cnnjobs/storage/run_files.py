"""Which files in a run directory are the run's own, and may be deleted with it."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnjobs.storage import filesystem, run_lock, s3

RECORD, SUCCESS = "run.json", "_SUCCESS"

_BUNDLE = (
    *("bundle.json", "model.keras", "summary.txt", "images.parquet"),
    *("evaluation.json", "audit.json", "openvino/export.json", "openvino/model.*"),
    # what evaluate and quantize add, so also to bundles of trainings that did not know of it
    *(_ADDED := ("SHA256SUMS", "openvino-int8/export.json", "openvino-int8/model.*")),
)
_TRAINING = (
    *(f"bundle/{name}" for name in _BUNDLE),
    *("checkpoints/last.npz", "checkpoints/best.npz", "tensorboard/*/events.out.tfevents.*"),
)
_PREDICTIONS = ("predictions/part-*.parquet", "predictions/*=*/part-*.parquet")

_PLOTS = ("plots/*.png", "plots/*.svg", "plots/*.pdf")
_CURVES = ("learning_curves.png", "learning_curves.svg", "learning_curves.pdf")

#: What each command writes below its output, as names; `*` stands for any text without a slash.
WRITES: Mapping[str, Sequence[str]] = {
    "predict": ("manifest.parquet", "progress.jsonl", "predictions.csv", *_PREDICTIONS),
    "evaluate": ("manifest.parquet", *_PLOTS, "beside/part-*.parquet", *_PREDICTIONS),
    "audit": _PLOTS,
    "train": ("manifest.parquet", "history.csv", *_CURVES, *_TRAINING),
    "tune": (
        *("manifest.parquet", "trials.csv"),
        *(f"bundle/{name}" for name in _BUNDLE),
        *(f"trials/*/{name}" for name in ("ended.json", *_TRAINING)),
    ),
    "crossval": (
        *("manifest.parquet", *_PLOTS),
        *(f"folds/*/{name}" for name in _TRAINING),
        *_PREDICTIONS,
    ),
    "fetch": ("manifest.parquet", "mnist/?/train-*.png", "mnist/?/test-*.png"),
}
_DEMO = (
    *("manifest.parquet", "archive/README.txt", "archive/*/phantom-*"),
    *(
        f"{run}/{name}"
        for run in ("train", "evaluate", "predict")
        for name in (RECORD, SUCCESS, *WRITES[run])
    ),
)

#: Names of files and folders that a killed process left: see `filesystem.writing`.
_LEFT_OVER = re.compile(r"(.*/)?\.[^/]+\.[0-9a-f]{32}\.partial(/.*)?|(.*/)?\.cnnjobs-[0-9a-f]{32}")


def writes(command: str) -> Sequence[str]:
    """The patterns of what a command writes; none for an unknown command."""
    return _DEMO if command == "demo" else WRITES.get(command, ())


def foreign(uri: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Names below a run directory that are not the run's own, by the run's own record."""
    own, parts = _own(record), _booked_parts(record)
    for name in names(uri):
        is_stray_part = parts is not None and name.startswith("predictions/") and name not in parts
        if not is_left_over(name) and (is_stray_part or not own.fullmatch(name)):
            yield name


def delete(uri: str, record: Mapping[str, Any]) -> None:
    """Delete a run's own files and the folders that this leaves empty; `run.json` goes last."""
    own = _own(record)
    own_names = [name for name in names(uri) if is_left_over(name) or own.fullmatch(name)]
    for name in sorted(own_names, key=lambda name: (name == RECORD, name != SUCCESS)):
        if name != run_lock.NAME:
            filesystem.delete(filesystem.join(uri, name))
    if not filesystem.is_s3(uri):
        folders = {folder for name in own_names for folder in Path(name).parents} - {Path()}
        for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
            if not any((Path(uri) / folder).iterdir()):
                (Path(uri) / folder).rmdir()


def is_left_over(name: str) -> bool:
    """Whether a killed process left this: a partial file, something in such a folder, a lock."""
    return name == run_lock.NAME or _LEFT_OVER.fullmatch(name) is not None


def names(uri: str) -> Iterator[str]:
    """Everything below a folder but folders, as names relative to it; links are not followed."""
    if filesystem.is_s3(uri):
        _, root = s3.split(uri.removeprefix("s3://"))
        for answer in s3.pages(uri.removeprefix("s3://")):
            yield from (filesystem.relative(item["Key"], root) for item in answer["Contents"])
        return
    for folder, folders, files in os.walk(uri):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*files, *links]):
            yield filesystem.relative(f"{folder}/{name}", uri)


def _own(record: Mapping[str, Any]) -> re.Pattern[str]:
    """What matches the names of a run's own files."""
    patterns = list(record.get("writes", writes(record.get("command", ""))))
    descriptions = [text for text in patterns if text.endswith("bundle.json")]
    patterns += [text.replace("bundle.json", name) for text in descriptions for name in _ADDED]
    return _pattern((*patterns, RECORD, SUCCESS))


def _booked_parts(record: Mapping[str, Any]) -> set[str] | None:
    """Names of the parts that an ended run has recorded; None if it has none, or still runs."""
    files = record.get("files")
    if files is None or record.get("status") == "running":
        return None
    return {f"predictions/{name}" for name in files}


def _pattern(patterns: Iterable[str]) -> re.Pattern[str]:
    texts = (re.escape(each).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") for each in patterns)
    return re.compile("|".join(texts))
