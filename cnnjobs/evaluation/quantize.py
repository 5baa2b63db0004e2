"""`cnnjobs quantize`: an int8 network for a bundle, and what it loses."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import metrics
from cnnjobs.config import QuantizeConfig, constants
from cnnjobs.data import sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import AccuracyError, ImageError, InputError
from cnnjobs.evaluation import labelled_set, prediction_metrics, score_sets
from cnnjobs.evaluation.labelled_set import LabelledSet
from cnnjobs.imaging.decoder import read_many
from cnnjobs.imaging.preprocessing import Decoded
from cnnjobs.inference.predictor import Scoring, prediction_rows
from cnnjobs.metrics import Bootstrap, Difference, Metrics
from cnnjobs.models import bundle as bundles
from cnnjobs.models import int8, openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import Images, OpenVinoEngine, Scores
from cnnjobs.models.openvino_export import WEIGHTS, XML
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import s3

#: Images decoded and scored at once.
_BATCH_SIZE = 32

Files = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class QuantizeSummary:
    """The int8 network of a bundle beside its float32 network, on one split.

    Attributes:
        bundle: the bundle, which has the network now.
        model: its name with that network: the `model` column of `predict --precision int8`.
        calibration_images: number of images of the training split that set the ranges.
        accuracy_control: whether layers were left in float32 because quantizing all of them cost
            too much AUROC on the validation split.
        split: of the metrics.
        num_images: of that split.
        fp32: metrics of the float32 network.
        int8: metrics of the int8 network.
        differences: int8 minus fp32, with intervals from paired resamples of groups.
        largest_change: of the probability of an image.
        num_flips: images whose prediction changes.
        warning: a caveat about the metrics.
    """

    bundle: str
    model: str
    calibration_images: int
    accuracy_control: bool
    split: str
    num_images: int
    fp32: Mapping[str, float | None]
    int8: Mapping[str, float | None]
    differences: Mapping[str, Difference]
    largest_change: float
    num_flips: int
    warning: str | None


@dataclass(frozen=True, kw_only=True)
class QuantizePlan:
    """What to quantize, and on which images."""

    config: QuantizeConfig
    bundle: Bundle
    images: Manifest
    calibration: pa.Table
    test: LabelledSet

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` prints."""
        return {
            "model": self.bundle.name,
            "calibration images": self.calibration.num_rows,
            "split": self.config.split,
            "images": self.test.manifest.table.num_rows,
            "warning": self.test.warning,
        }


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """Scored images of a split: their rows, metrics, and (N, classes) probabilities."""

    rows: pa.Table
    measured: Metrics
    probabilities: Scores


def plan(config: QuantizeConfig) -> QuantizePlan:
    """Read the bundle and the data.

    Raises:
        InputError: NNCF is not installed, or the data have no training split or no labels.
    """
    s3.use(**config.s3)
    int8.require()
    bundle = bundles.read(config.bundle, expect=config.expect)
    test = labelled_set.open_labelled(config.data, config.split, bundle, **config.chosen)
    images = sources.open_data(config.data, **config.chosen)
    training = images.select(constants.TRAIN)
    number = min(config.calibration_images, training.num_rows)
    drawn = np.random.default_rng(config.seed).permutation(training.num_rows)[:number]
    return QuantizePlan(
        config=config,
        bundle=bundle,
        images=images,
        calibration=training.take(np.sort(drawn)),
        test=test,
    )


def quantize(config: QuantizeConfig, progress: Progress = silent) -> QuantizeSummary:
    """Quantize the bundle's network, test it, and write it into the bundle.

    Raises:
        InputError: see `plan`; or no image can be read.
        BundleError: the model has no OpenVINO network.
        AccuracyError: the AUROC drops by more than `max_auroc_drop`.
    """
    planned = plan(config)
    bundle = planned.bundle
    if openvino_export.find(bundle) is None:
        openvino_export.write(bundle)
        bundle = bundles.read(bundle.uri)
    network, weights = openvino_export.read(bundle)
    before = {XML: network, WEIGHTS: weights}
    progress("quantize", 0, None)
    calibration = _pixels(bundle, planned.calibration)
    files: Files = int8.quantize(network, weights, calibration)
    controlled = _controlled(planned, before, files, calibration, progress)
    if controlled is not None:
        files = controlled
    rows = planned.test.manifest.table
    fp32, quantized = _compare(planned, rows, (before, files), progress)
    change = np.abs(quantized.probabilities - fp32.probabilities)
    is_same = pc.equal(quantized.rows["prediction"], fp32.rows["prediction"])
    summary = QuantizeSummary(
        bundle=bundle.uri,
        model=bundle.name,
        calibration_images=len(calibration),
        accuracy_control=controlled is not None,
        split=config.split,
        num_images=fp32.rows.num_rows,
        fp32=fp32.measured.values,
        int8=quantized.measured.values,
        differences=metrics.differences(quantized.measured, fp32.measured),
        largest_change=float(change.max()),
        num_flips=fp32.rows.num_rows - pc.sum(is_same).as_py(),
        warning=planned.test.warning,
    )
    drop = _drop(fp32, quantized)
    if drop > config.max_auroc_drop:
        raise AccuracyError(
            f"the int8 network's AUROC is {drop:.4f} lower on split {config.split}, but "
            f"max_auroc_drop allows {config.max_auroc_drop:g}; nothing was written. Allow more, "
            "or score with --precision fp32."
        )
    at = dataclasses.replace(bundle, variant="int8")
    openvino_export.store(at, files, summary.largest_change)
    return dataclasses.replace(summary, model=openvino_export.at_precision(bundle, "int8").name)


def _controlled(
    planned: QuantizePlan, before: Files, files: Files, calibration: Images, progress: Progress
) -> Files | None:
    """The files with some layers in float32, if the others lose too much on the validation split.

    The test split has no part in this choice.
    """
    rows = planned.images.select(constants.VALIDATION)
    rows = rows.filter(pc.is_valid(rows["label"]))
    if rows.num_rows == 0:
        return None
    fp32, quantized = _compare(planned, rows, (before, files), progress)
    if _drop(fp32, quantized) <= planned.config.max_auroc_drop:
        return None
    read = zip(range(rows.num_rows), _decoded(planned.bundle, rows), strict=True)
    readable = {row: image for row, image in read if not isinstance(image, ImageError)}
    rows = rows.take(list(readable))

    def auroc(scores: Scores) -> float:
        table = _rows(planned.bundle, rows, list(readable.values()), scores)
        return prediction_metrics.measure(table, planned.bundle).values["auroc"] or 0.0

    return int8.quantize(
        before[XML],
        before[WEIGHTS],
        calibration,
        validation=(np.stack([image.pixels for image in readable.values()]), auroc),
        max_drop=planned.config.max_auroc_drop,
    )


def _compare(
    planned: QuantizePlan, rows: pa.Table, networks: Sequence[Files], progress: Progress
) -> list[_Scored]:
    """The labelled images of a manifest, scored by each network."""
    bundle, config = planned.bundle, planned.config
    engines = [
        OpenVinoEngine(
            files[XML], files[WEIGHTS], batch_size=_BATCH_SIZE, threads=os.cpu_count() or 1
        )
        for files in networks
    ]
    tables: list[list[pa.Table]] = [[] for _ in networks]
    images = _decoded(bundle, rows)
    for start in range(0, rows.num_rows, _BATCH_SIZE):
        progress("score", start, rows.num_rows)
        some = rows.slice(start, _BATCH_SIZE)
        decoded = list(itertools.islice(images, some.num_rows))
        is_ok = [not isinstance(image, ImageError) for image in decoded]
        some = some.filter(pa.array(is_ok))
        readable = [image for image in decoded if not isinstance(image, ImageError)]
        if not readable:
            continue
        pixels = np.stack([image.pixels for image in readable])
        for table, engine in zip(tables, engines, strict=True):
            table.append(_rows(bundle, some, readable, engine.scores(pixels)))
    if not tables[0]:
        raise InputError(
            f"none of the {rows.num_rows} images can be read, for example {rows['path'][0]}; "
            "cnnjobs inspect shows why."
        )
    scored = []
    for table in map(pa.concat_tables, tables):
        groups = score_sets.groups_of(rows, table)
        bootstrap = Bootstrap(groups=groups, resamples=config.resamples, seed=config.seed)
        scored.append(
            _Scored(
                rows=table,
                measured=prediction_metrics.measure(table, bundle, bootstrap=bootstrap),
                probabilities=prediction_metrics.probabilities(table, bundle),
            )
        )
    return scored


def _rows(bundle: Bundle, rows: pa.Table, decoded: Sequence[Decoded], scores: Scores) -> pa.Table:
    """The prediction rows of readable images."""
    scoring = Scoring(
        bundles=[bundle], engine="openvino", batch_size=_BATCH_SIZE, run_id="quantize"
    )
    return prediction_rows(rows, [[image] for image in decoded], [scores], scoring)


def _drop(before: _Scored, after: _Scored) -> float:
    """Of the AUROC; 0 where it is undefined."""
    auroc, now = (each.measured.values["auroc"] for each in (before, after))
    return 0.0 if auroc is None or now is None else auroc - now


def _decoded(bundle: Bundle, rows: pa.Table) -> Iterator[Decoded | ImageError]:
    """The images of a manifest's rows, in order."""

    def read_one(path: str) -> Decoded | ImageError:
        read = labelled_set.read_image(path, bundle)
        return read if isinstance(read, ImageError) else read[1]

    return read_many(rows["path"].to_pylist(), read_one)


def _pixels(bundle: Bundle, rows: pa.Table) -> Images:
    """The pixels (N, height, width, 1) of the readable images."""
    images = [each for each in _decoded(bundle, rows) if not isinstance(each, ImageError)]
    if not images:
        raise InputError(
            f"none of the {rows.num_rows} images to calibrate on can be read, for example "
            f"{rows['path'][0]}; cnnjobs inspect shows why."
        )
    return np.stack([image.pixels for image in images])
