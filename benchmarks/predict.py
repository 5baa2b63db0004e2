"""`python -m benchmarks predict`: this project's scoring compared with other ways."""

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import archive, ways
from benchmarks.config import PredictBenchmark
from benchmarks.processes import CNNJOBS, Part, in_process, part_command, result_of, run
from benchmarks.summary import BenchSummary, median_of, summarized
from cnnjobs import models
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.progress import Progress, silent

#: Ways whose scores must agree bit for bit.
CEILING, PREDICT, ON_RAY = "ceiling", "cnnjobs predict", "cnnjobs on Ray"
INT8 = "cnnjobs int8"
DAFT = "daft"

#: What each way adds to the command.
_COMMANDS: Mapping[str, Sequence[str]] = {
    PREDICT: (),
    ON_RAY: ("--address", "local"),
    INT8: ("--precision", "int8"),
}

_PARTS: Mapping[str, Part] = {
    "notebook": ways.notebook,
    "tf.data": ways.tf_data,
    "ray textbook": ways.ray_textbook,
    DAFT: ways.daft_udf,
    CEILING: ways.ceiling,
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Medians of one way to score; ratios are to the first way measured.

    Attributes:
        name: of the way.
        steady_images_per_second: after start-up.
        steady_ratio: above 1 if this way is faster.
        whole_seconds: from start to end of the command.
        whole_images_per_second: all images over that time.
        whole_ratio: above 1 if this way is faster.
        seconds_to_first: from start of the command to the first scored batch.
        peak_memory_bytes: all processes together, shared pages counted once (PSS).
    """

    name: str
    steady_images_per_second: float
    steady_ratio: float
    whole_seconds: float
    whole_images_per_second: float
    whole_ratio: float
    seconds_to_first: float
    peak_memory_bytes: float | None


def bench_predict(config: PredictBenchmark, progress: Progress = silent) -> BenchSummary[Measured]:
    """Score one archive every way, each in its own processes; the ways alternate.

    Raises:
        InputError: an unknown model, or nothing to score.
        CnnjobsError: a process failed, or `cnnjobs predict` and the same decoder and engine
            without Ray gave different scores.
    """
    _check(config)
    began = time.monotonic()
    repeats: dict[str, list[dict[str, Any]]] = {name: [] for name in config.ways}
    total = len(config.ways) * config.repeats
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        archive.write_archive(config, root / "archive")
        bundle = str(root / "bundle")
        made = in_process(archive.write_bundle, config=dataclasses.asdict(config), bundle=bundle)
        if made["refused"] is not None:
            raise InputError(
                f"the benchmark needs a model that OpenVINO can run: {made['refused']}."
            )
        if INT8 in config.ways:
            in_process(archive.quantize, folder=str(root / "archive"), bundle=bundle)
        settings: dict[str, str | int] = {
            "folder": str(root / "archive"),
            "bundle": bundle,
            "batch_size": config.batch_size,
        }
        for number in range(total):
            name = config.ways[number % len(config.ways)]
            progress("bench", number, total, name)
            output = root / name.replace(" ", "-")
            shutil.rmtree(output, ignore_errors=True)
            measure = _measure_command if name in _COMMANDS else _measure_part
            repeats[name].append(measure(name, {**settings, "output": str(output)}))
        num_images = len(archive.files(str(root / "archive")))
        for name in {PREDICT, ON_RAY} & set(config.ways):
            if CEILING in config.ways:
                check_same(root, name)
    progress("bench", total, total)
    return summarized(config, _compared(num_images, repeats), began=began)


def check_same(folder: Path, name: str = PREDICT) -> None:
    """Raise unless the ceiling and the command gave the same scores, bit for bit."""
    ours = pq.read_table(folder / name.replace(" ", "-") / "predictions")
    theirs = pq.read_table(folder / CEILING)
    column = "probability" if "probability" in ours.column_names else "probabilities"
    scores = [[row] if column == "probability" else row for row in ours[column].to_pylist()]
    if ours["path"].to_pylist() != theirs["path"].to_pylist():
        raise CnnjobsError("the ceiling scored different images than cnnjobs predict; report this.")
    if scores != theirs["score"].to_pylist():
        raise CnnjobsError("the ceiling and cnnjobs predict gave different scores; report this.")


def _check(config: PredictBenchmark) -> None:
    if not models.find(config.model).is_described:
        raise InputError(f"model must be one that `cnnjobs models` lists, got {config.model}.")
    if DAFT in config.ways and find_spec("daft") is None:
        others = " ".join(f"--way {name!r}" for name in config.ways if name != DAFT)
        raise InputError(f"daft is not installed; run `pip install daft`, or give {others}.")


def _measure_part(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    ended = run(part_command(_PARTS[name], **settings), name=name, memory=True)
    return {
        **result_of(ended),
        "whole_seconds": ended.seconds,
        "peak_memory_bytes": ended.peak_memory_bytes,
    }


def _measure_command(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time the real command by its own summary and by the clock."""
    command = [*CNNJOBS, "predict", settings["bundle"], settings["folder"]]
    options = ["-o", settings["output"], *_COMMANDS[name], "--json"]
    batch = ["--batch-size", str(settings["batch_size"])]
    ended = run([*command, *options, *batch], name=name, memory=True)
    summary = json.loads(ended.output)
    first = json.loads(Path(settings["output"], "progress.jsonl").read_text().splitlines()[0])
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
        name: median_of(runs, "steady_images_per_second") or 0.0 for name, runs in repeats.items()
    }
    whole = {name: median_of(runs, "whole_seconds") or 0.0 for name, runs in repeats.items()}
    first = next(iter(repeats))
    return [
        Measured(
            name=name,
            steady_images_per_second=round(steady[name], 2),
            steady_ratio=round(steady[name] / steady[first], 3),
            whole_seconds=round(whole[name], 2),
            whole_images_per_second=round(num_images / whole[name], 2),
            whole_ratio=round(whole[first] / whole[name], 3),
            seconds_to_first=round(median_of(runs, "seconds_to_first") or 0.0, 2),
            peak_memory_bytes=median_of(runs, "peak_memory_bytes"),
        )
        for name, runs in repeats.items()
    ]
