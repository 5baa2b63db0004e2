"""The archive and the bundle that `python -m benchmarks predict` works on."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.config import PredictBenchmark
from cnnjobs import models, schema
from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem

#: Distinct drawings; the archive repeats them under other names.
_DRAWINGS = 32

#: File types that all compared programs can decode.
SUFFIXES = (".png", ".jpg", ".jpeg")


def write_archive(config: PredictBenchmark, folder: Path) -> int:
    """Fill a folder with `config.rows` files; return their size in bytes.

    Half are PNG drawings and half JPEG, of `config.side` squared pixels; or links to the first
    files of `config.data`.

    Raises:
        InputError: the folder `config.data` cannot be listed, or holds nothing to score.
    """
    folder.mkdir()
    if config.data is not None:
        return _link(config.data, folder, config.rows)
    drawings = [_drawing(config, number) for number in range(min(_DRAWINGS, config.rows))]
    total = 0
    for number, (suffix, content) in zip(range(config.rows), itertools.cycle(drawings)):
        (folder / f"{number:07d}{suffix}").write_bytes(content)
        total += len(content)
    return total


def files(folder: str) -> list[str]:
    """The files of the archive, in the order in which `cnnjobs predict` scores them."""
    return sorted(str(file) for file in Path(folder).iterdir())


def write_bundle(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write a bundle with random weights and its export; imports Keras."""
    from cnnjobs.imaging.preprocessing import Preprocessing
    from cnnjobs.models import bundle, openvino_export

    config = PredictBenchmark(**settings["config"])
    architecture = models.find(config.model)
    models.import_keras().utils.set_random_seed(config.seed)
    model = models.build(config.model, architecture.num_labels)
    labels = [str(number) for number in range(architecture.num_labels)]
    written = bundle.write(
        settings["bundle"],
        model,
        architecture=architecture.name,
        labels=labels,
        positive=labels[1] if len(labels) == 2 else None,
        preprocessing=Preprocessing(
            height=architecture.height, width=architecture.width, scaled_jpeg=True
        ),
        images=schema.MANIFEST.empty_table(),
        manifest_fingerprint="",
        metrics={},
        versions={},
    )
    return {"refused": openvino_export.write(written, model).refused}


def quantize(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add an int8 network to a bundle, calibrated on the first images of an archive."""
    from cnnjobs.imaging import preprocessing
    from cnnjobs.models import bundle, int8, openvino_export
    from cnnjobs.models.openvino_export import WEIGHTS, XML

    written = bundle.read(settings["bundle"])
    network, weights = openvino_export.read(written)
    read = (Path(file).read_bytes() for file in files(settings["folder"])[:100])
    images = [preprocessing.decode(data, written.preprocessing).pixels for data in read]
    made = int8.quantize(network, weights, np.stack(images))
    at = dataclasses.replace(written, variant="int8")
    openvino_export.store(at, {name: made[name] for name in (XML, WEIGHTS)}, None)
    return {}


def _drawing(config: PredictBenchmark, number: int) -> tuple[str, bytes]:
    """Suffix and content of one file; no two have the same shape."""
    random = np.random.default_rng([config.seed, number])
    stretch = random.uniform(0.9, 1.1)
    image = phantom(
        random,
        height=round(config.side * stretch),
        width=round(config.side / stretch),
        opacity=bool(number % 2),
    )
    suffix = (".png", ".jpg")[number // 2 % 2]
    return suffix, cv2.imencode(suffix, image)[1].tobytes()


def _link(data: str, folder: Path, rows: int) -> int:
    if filesystem.is_s3(data):
        raise InputError(f"the benchmark reads local files, got {data}.")
    root = filesystem.normalize(data)
    known = (file for file in filesystem.list_files(root) if file.path.lower().endswith(SUFFIXES))
    total = 0
    for number, file in enumerate(itertools.islice(known, rows)):
        target = Path(file.path)
        (folder / f"{number:07d}{target.suffix.lower()}").symlink_to(target)
        total += file.size_bytes
    if not total:
        raise InputError(f"{root} holds no {', '.join(SUFFIXES)} files.")
    return total
