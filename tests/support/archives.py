"""An archive that takes some seconds to score, and a model that takes next to none."""

import os
from pathlib import Path

import cv2
import numpy as np

from cnnjobs import models, schema
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle, openvino_export

NUM_DISTINCT, SIDE = 6, 640
#: Of the model's input. Large, so that Ray Data works in blocks of few rows: 4 MB of pixels.
INPUT_SIDE = 512


def write_archive(folder: Path, num_images: int, *, num_broken: int = 0) -> None:
    """Draw noise in two classes: a few PNG files of half a megapixel under many names.

    Broken ones are cut in the middle.
    """
    random = np.random.default_rng(0)
    drawn = folder.with_name(f"{folder.name}-drawn")
    drawn.mkdir()
    for number in range(NUM_DISTINCT):
        image = random.integers(0, 100 + 30 * number, (SIDE, SIDE))
        cv2.imwrite(str(drawn / f"{number}.png"), image.astype(np.uint8))
    whole = (drawn / "0.png").read_bytes()
    (drawn / "broken.png").write_bytes(whole[: len(whole) // 2])
    for number in range(num_images):
        is_broken = number % (num_images // num_broken) == 1 if num_broken else False
        name = folder / ("dark", "bright")[number % 2] / f"{number:05d}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        os.link(drawn / ("broken.png" if is_broken else f"{number % NUM_DISTINCT}.png"), name)


def write_bundle(uri: str, *, seed: int = 0) -> None:
    """Write an untrained model of a few weights, with its export."""
    keras = models.import_keras()
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((INPUT_SIDE, INPUT_SIDE, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.AveragePooling2D(64),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    written = bundle.write(
        uri,
        model,
        architecture="means",
        labels=["bright", "dark"],
        positive="bright",
        preprocessing=Preprocessing(height=INPUT_SIDE, width=INPUT_SIDE),
        images=schema.MANIFEST.empty_table(),
        manifest_fingerprint="none",
        metrics={},
        versions={},
    )
    openvino_export.write(written, model)
