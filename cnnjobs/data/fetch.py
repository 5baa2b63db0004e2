"""`cnnjobs fetch`: the public data sets of the lab sheet, as images with a manifest."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs import schema
from cnnjobs.config import FetchConfig, as_dict, constants
from cnnjobs.data import covid, duplicates, manifest, mnist, sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.mnist import Digits
from cnnjobs.data.splits import assign_splits
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir
from cnnjobs.storage.run_dir import Run

#: Images written between two reports of progress.
_FILES_AT_ONCE = 1000

#: PNG compression level, 0 to 9: 20,000 digits take 0.5 s and 285 bytes each; at 3 (zlib's fast
#: level) 0.6 s and 272.
_PNG_COMPRESSION = 1


@dataclass(frozen=True, kw_only=True)
class FetchSummary:
    """What was fetched; `counts` are by class and split, as counted by index."""

    dataset: str
    output: str
    archive: str
    manifest: str
    fingerprint: str
    num_images: int
    counts: Mapping[str, Mapping[str, int]]
    unreadable: Mapping[str, str]
    num_exact_copies: int
    seconds: float


def plan(config: FetchConfig) -> dict[str, Any]:
    """The plan for `--dry-run`: what `--from` contains, or where the set would come from.

    Raises:
        InputError: see `fetch`.
    """
    output = _free_output(config)
    facts: dict[str, Any] = {"dataset": config.dataset}
    if config.source is None:
        facts["download"] = "Keras" if config.dataset == "mnist" else f"Kaggle {covid.KAGGLE_NAME}"
    elif config.dataset == "mnist":
        labels, _, is_test = _select(mnist.read(config.source), config)
        facts["images"] = {"training": int((~is_test).sum()), "test": int(is_test.sum())}
        facts["labels"] = dict(sorted(Counter(map(str, labels)).items()))
    else:
        images = covid.list_images(config.source)
        facts["images"] = len(images)
        facts["labels"] = dict(Counter(name.partition("/")[0] for name in images))
    return {**facts, "output": output}


def fetch(config: FetchConfig, progress: Progress = silent) -> FetchSummary:
    """Write a public data set as images, one folder per class, and finally its manifest.

    The whole set is read (or listed) before an older output is replaced.

    Raises:
        RunExistsError: the output is in use.
        InputError: the set cannot be downloaded, or `--from` does not name the set.
    """
    output = _free_output(config)
    if config.dataset == "mnist":
        digits = mnist.download() if config.source is None else mnist.read(config.source)
        run = run_dir.start(output, "fetch", as_dict(config))
        with run.writing():
            return _fetch_mnist(config, digits, run, progress)
    source = covid.download() if config.source is None else config.source
    images = covid.list_images(source)
    run = run_dir.start(
        output, "fetch", as_dict(config), writes=[f"{config.dataset}/{name}" for name in images]
    )
    with run.writing():
        return _fetch_covid(config, source, images, run, progress)


def _free_output(config: FetchConfig) -> str:
    output = filesystem.normalize(config.output)
    run_dir.check_free(output, "fetch", overwrite=config.overwrite, inputs=[config.source])
    return output


def _fetch_mnist(config: FetchConfig, digits: Digits, run: Run, progress: Progress) -> FetchSummary:
    """Write the digits in the official order: training images, then test images."""
    labels, numbers, is_test = _select(digits, config)
    names, files = [], []
    for label, number, test in zip(labels, numbers, is_test, strict=True):
        images = digits.test_images if test else digits.train_images
        part = constants.TEST if test else constants.TRAIN
        names.append(f"{label}/{part}-{number:05d}.png")
        files.append(_png(images[number]))

    archive = run.path(config.dataset)
    filesystem.write_folder(archive, _told(zip(names, files, strict=True), len(names), progress))

    hashes = [hashlib.sha256(data).hexdigest() for data in files]
    pairs = duplicates.equal_pairs(hashes)
    groups = duplicates.join_groups([f"{config.dataset}/{name}" for name in names], pairs)
    height, width = digits.train_images.shape[1:]
    num_rows = len(names)
    columns: dict[str, Any] = {
        "path": [filesystem.join(archive, name) for name in names],
        "label": [str(label) for label in labels],
        "source": [config.dataset] * num_rows,
        "size_bytes": [len(data) for data in files],
        "group": groups,
        "split": _split(labels, groups, is_test, config),
        "content_hash": hashes,
        "width": [width] * num_rows,
        "height": [height] * num_rows,
    }
    arrays = [
        pa.array(columns.get(field.name, [None] * num_rows), field.type)
        for field in schema.MANIFEST
    ]
    table = pa.Table.from_arrays(arrays, schema=schema.MANIFEST)
    return _finish(config, run, table, num_exact_copies=len({other for _, other in pairs}))


def _fetch_covid(
    config: FetchConfig, source: str, images: Mapping[str, str], run: Run, progress: Progress
) -> FetchSummary:
    archive = run.path(config.dataset)
    filesystem.write_folder(archive, _told(covid.contents(source, images), len(images), progress))
    shares = dict(sources.DEFAULT_SHARES)
    if config.validation is not None:
        shares[constants.VALIDATION] = config.validation
        shares[constants.TRAIN] = 1 - config.validation - shares[constants.TEST]
    indexed = sources.index_sources([archive], shares=shares, seed=config.seed, progress=progress)
    return _finish(config, run, indexed.manifest.table, num_exact_copies=indexed.num_exact_copies)


def _finish(
    config: FetchConfig, run: Run, table: pa.Table, *, num_exact_copies: int
) -> FetchSummary:
    """Write the manifest, which readers look for last, and finish the run."""
    made = Manifest(table, {"fetch": config.dataset, **as_dict(config)})
    manifest.write(made, run.path("manifest.parquet"))
    counts: dict[str, Counter[str]] = {label: Counter() for label in made.labels}
    rows = table.select(["path", "label", "split", "error"]).to_pylist()
    for row in rows:
        state = "unreadable" if row["error"] is not None else row["split"] or "no split"
        counts[row["label"]][state] += 1
    summary = FetchSummary(
        dataset=config.dataset,
        output=run.uri,
        archive=run.path(config.dataset),
        manifest=run.path("manifest.parquet"),
        fingerprint=made.fingerprint,
        num_images=table.num_rows,
        counts={label: dict(states) for label, states in counts.items()},
        unreadable={row["path"]: row["error"] for row in rows if row["error"] is not None},
        num_exact_copies=num_exact_copies,
        seconds=round(run.seconds(), 1),
    )
    run.finish(manifest=made.fingerprint, summary=summary)
    return summary


def _select(
    digits: Digits, config: FetchConfig
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Label, number within its part, and whether it belongs to the test part, of each image taken.

    With a limit, every class of each part contributes its share, at random; the images of a smaller
    limit are among those of a larger one.
    """
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    num_train, num_test = len(digits.train_labels), len(digits.test_labels)
    numbers = np.concatenate([np.arange(num_train), np.arange(num_test)])
    is_test = np.repeat([False, True], [num_train, num_test])
    if config.limit is None or config.limit >= len(labels):
        return labels, numbers, is_test
    rng = np.random.default_rng(config.seed)
    rank = np.empty(len(labels))
    for test in (False, True):
        for label in range(10):
            rows = np.flatnonzero((is_test == test) & (labels == label))
            rank[rows] = (rng.permutation(len(rows)) + 0.5) / max(1, len(rows))
    taken = np.sort(np.argsort(rank, kind="stable")[: config.limit])
    return labels[taken], numbers[taken], is_test[taken]


def _split(
    labels: NDArray[np.uint8], groups: list[str], is_test: NDArray[np.bool_], config: FetchConfig
) -> list[str | None]:
    """Official test images are the test split; a training image that equals one has no split."""
    in_test = {group for group, test in zip(groups, is_test, strict=True) if test}
    splits: list[str | None] = [constants.TEST if test else None for test in is_test]
    rest = [row for row, group in enumerate(groups) if group not in in_test]
    validation = 0.0833 if config.validation is None else config.validation
    chosen = assign_splits(
        [str(labels[row]) for row in rest],
        [groups[row] for row in rest],
        shares={constants.TRAIN: 1 - validation, constants.VALIDATION: validation},
        seed=config.seed,
    )
    for row, split in zip(rest, chosen, strict=True):
        splits[row] = split
    return splits


def _png(image: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])
    return data.tobytes()


def _told(
    files: Iterator[tuple[str, bytes]], total: int, progress: Progress
) -> Iterator[tuple[str, bytes]]:
    for done, file in enumerate(files):
        if done % _FILES_AT_ONCE == 0:
            progress("write", done, total)
        yield file
    progress("write", total, total)
