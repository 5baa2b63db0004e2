"""`cnnjobs bench predict`: this project's scoring beside what else scores an archive."""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import archive, ways
from benchmarks.processes import CNNJOBS, Part, in_process, part_words, run, told
from benchmarks.summary import BenchSummary, median_of, summarized
from cnnjobs import models
from cnnjobs.config import BenchPredictConfig, as_dict
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.progress import Progress, silent

#: The ways whose scores must agree bit for bit.
CEILING, PREDICT = "ceiling", "cnnjobs predict"

_PARTS: Mapping[str, Part] = {
    "notebook": ways.notebook,
    "tf.data": ways.tf_data,
    "ray textbook": ways.ray_textbook,
    CEILING: ways.ceiling,
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Medians of one way to score; ratios are to the first way that was measured.

    Attributes:
        name: of the way.
        steady_images_per_second: when its start-up is over.
        steady_ratio: of that, above 1 where this way is faster.
        whole_seconds: from its command to the end of its process.
        whole_images_per_second: all images in that time.
        whole_ratio: of that.
        seconds_to_first: from its command to the first scored batch.
        peak_memory_bytes: of all its processes together, shared pages once (PSS).
    """

    name: str
    steady_images_per_second: float
    steady_ratio: float
    whole_seconds: float
    whole_images_per_second: float
    whole_ratio: float
    seconds_to_first: float
    peak_memory_bytes: float | None


def plan(config: BenchPredictConfig) -> dict[str, Any]:
    """What `--dry-run` tells."""
    _check(config)
    drawn = f"{config.rows} drawings of about {config.side**2 / 1e6:.2g} megapixels"
    return {
        "ways": list(config.ways),
        "images": drawn if config.data is None else f"up to {config.rows} of {config.data}",
        "processes": len(config.ways) * config.repeats,
    }


def bench_predict(
    config: BenchPredictConfig, progress: Progress = silent
) -> BenchSummary[Measured]:
    """Score one archive in every way, each in processes of its own; the ways take turns.

    Raises:
        InputError: an unknown model, or nothing to score.
        CnnjobsError: a process ended with an error, or `cnnjobs predict` scored otherwise than
            the same decoder and engine without Ray.
    """
    _check(config)
    began = time.monotonic()
    repeats: dict[str, list[dict[str, Any]]] = {name: [] for name in config.ways}
    total = len(config.ways) * config.repeats
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        archive.write_archive(config, place / "archive")
        bundle = str(place / "bundle")
        made = in_process(archive.write_bundle, config=as_dict(config), bundle=bundle)
        if made["refused"] is not None:
            raise InputError(f"the benchmark needs a model that OpenVINO takes: {made['refused']}.")
        given: dict[str, str | int] = {
            "folder": str(place / "archive"),
            "bundle": bundle,
            "batch_size": config.batch_size,
        }
        for number in range(total):
            name = config.ways[number % len(config.ways)]
            progress("bench", number, total, name)
            output = place / name.replace(" ", "-")
            shutil.rmtree(output, ignore_errors=True)
            measure = _measure_command if name == PREDICT else _measure_part
            repeats[name].append(measure(name, {**given, "output": str(output)}))
        num_images = len(archive.files(str(place / "archive")))
        if {CEILING, PREDICT} <= set(config.ways):
            check_same(place)
    progress("bench", total, total)
    return summarized(config, _compared(num_images, repeats), began=began)


def check_same(place: Path) -> None:
    """The ceiling's scores and the command's must be the same bits."""
    ours = pq.read_table(place / "cnnjobs-predict" / "predictions")
    theirs = pq.read_table(place / CEILING)
    column = "probability" if "probability" in ours.column_names else "probabilities"
    scores = [[row] if column == "probability" else row for row in ours[column].to_pylist()]
    if ours["path"].to_pylist() != theirs["path"].to_pylist():
        raise CnnjobsError("cnnjobs predict scored other images than the ceiling; report this.")
    if scores != theirs["score"].to_pylist():
        raise CnnjobsError("cnnjobs predict scored otherwise than the ceiling; report this.")


def _check(config: BenchPredictConfig) -> None:
    if not models.find(config.model).is_described:
        raise InputError(
            f"the benchmark takes a model that `cnnjobs models` lists, got {config.model}."
        )


def _measure_part(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    ended = run(part_words(_PARTS[name], **given), name=name, memory=True)
    return {
        **told(ended),
        "whole_seconds": ended.seconds,
        "peak_memory_bytes": ended.peak_memory_bytes,
    }


def _measure_command(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The real command, timed by its own summary and by the clock around it."""
    words = [*CNNJOBS, "predict", given["bundle"], given["folder"], "-o", given["output"]]
    batch = ["--batch-size", str(given["batch_size"])]
    ended = run([*words, *batch, "--address", "local", "--json"], name=name, memory=True)
    summary = json.loads(ended.output)
    first = json.loads(Path(given["output"], "progress.jsonl").read_text().splitlines()[0])
    to_first = datetime.fromisoformat(first["time"]).timestamp() - ended.began
    return {
        "steady_images_per_second": summary["steady_images_per_second"],
        "seconds_to_first": to_first,
        "whole_seconds": ended.seconds,
        "peak_memory_bytes": ended.peak_memory_bytes,
    }


def _compared(
    num_images: int, repeats: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Measured]:
    steady = {
        name: median_of(its, "steady_images_per_second") or 0.0 for name, its in repeats.items()
    }
    whole = {name: median_of(its, "whole_seconds") or 0.0 for name, its in repeats.items()}
    first = next(iter(repeats))
    return [
        Measured(
            name=name,
            steady_images_per_second=round(steady[name], 2),
            steady_ratio=round(steady[name] / steady[first], 3),
            whole_seconds=round(whole[name], 2),
            whole_images_per_second=round(num_images / whole[name], 2),
            whole_ratio=round(whole[first] / whole[name], 3),
            seconds_to_first=round(median_of(its, "seconds_to_first") or 0.0, 2),
            peak_memory_bytes=median_of(its, "peak_memory_bytes"),
        )
        for name, its in repeats.items()
    ]
