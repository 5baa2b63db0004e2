"""How well models travel that were trained by each recipe.

    python -m benchmarks recipes [--xrays DIR/chest-xray] [--seeds 0 1 2] [--only NAME ...]

On drawings of four hospitals: trained on three, tested on other images of these and on the
fourth, each hospital in turn. On real X-rays of two collections, one for each class, nothing can
be left out: there the AUROC with all but a border painted over, and at 16 x 16 pixels, tells how
much of it needs no lung. Prints a table in Markdown: means, and standard deviations over seeds.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnjobs import models
from cnnjobs.config import TrainConfig
from cnnjobs.data import sources
from cnnjobs.imaging import preprocessing as images
from cnnjobs.training.distributed.task import preprocessing
from tests.support.hospitals import HOSPITALS, draw

DRAWN = TrainConfig(data="unused", output="unused", epochs=10, batch_size=16)
REAL = replace(DRAWN, epochs=6)
TOGETHER = {"crop": 0.1, "equalize": True, "augment": "strong", "balance": "source"}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "crop 0.1": {"crop": 0.1},
    "mask corners 0.2": {"mask_corners": 0.2},
    "equalize": {"equalize": True},
    "augment strong": {"augment": "strong"},
    "balance source": {"balance": "source"},
    "covid-gap": {"model": "covid-gap"},
    "2 epochs": {"epochs": 2},
    "crop, mask corners, equalize": {"crop": 0.1, "mask_corners": 0.2, "equalize": True},
    "crop, equalize, strong, balance": TOGETHER,
    "the same with covid-gap, 2 epochs": {**TOGETHER, "model": "covid-gap", "epochs": 2},
}

DRAWN_SIDE, REAL_SIDE = 64, 128
IMAGES_PER_HOSPITAL = 100
TEST_SHARE = 0.25
#: What `border only` leaves: 32 pixels of 256.
BORDER = REAL_SIDE // 8


class Labelled(NamedTuple):
    """Files, whether each shows the positive class, and where each is from."""

    files: Sequence[bytes]
    targets: NDArray[np.int64]
    sources: NDArray[np.str_]


def main() -> None:
    """Measure all recipes and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--xrays", type=Path, help="with covid/, normal/ and groups.csv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    given = parser.parse_args()
    models.import_keras()
    began = time.monotonic()
    columns = ["seen hospitals", "fourth hospital"]
    measured = [drawn_scores(seed, given.only) for seed in given.seeds]
    if given.xrays is not None:
        columns += ["X-rays", "border only", "16 x 16"]
        real = [real_scores(given.xrays, seed, given.only) for seed in given.seeds]
        measured = [
            {name: [*ours[name], *theirs[name]] for name in given.only}
            for ours, theirs in zip(measured, real, strict=True)
        ]
    print(f"| recipe | {' | '.join(columns)} |")
    print("| --- |" + " --- |" * len(columns))
    for name in given.only:
        scores = np.array([each[name] for each in measured])
        means, spreads = scores.mean(axis=0), scores.std(axis=0, ddof=min(1, len(scores) - 1))
        cells = (f"{mean:.2f} ± {sd:.2f}" for mean, sd in zip(means, spreads, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"{time.monotonic() - began:.0f} s")


def drawn_scores(seed: int, names: Sequence[str]) -> dict[str, list[float]]:
    """AUROC of each recipe on hospitals it has seen and on one it has not, means over four."""
    drawn = draw(IMAGES_PER_HOSPITAL, seed=seed)
    archive = Labelled(
        [file.data for file in drawn],
        np.array([file.is_ill for file in drawn], np.int64),
        np.array([file.source for file in drawn]),
    )
    for_test = np.random.default_rng(seed).random(len(drawn)) < TEST_SHARE
    scores = {}
    for name in names:
        config = replace(DRAWN, seed=seed, **RECIPES[name])
        pixels = decoded(archive, config, DRAWN_SIDE)
        found = []
        for left_out in HOSPITALS:
            is_outside = archive.sources == left_out
            model = trained(config, pixels, archive, ~is_outside & ~for_test)
            found.append(
                [
                    auroc(model, pixels, archive, rows)
                    for rows in (~is_outside & for_test, is_outside)
                ]
            )
        scores[name] = np.mean(found, axis=0).tolist()
    return scores


def real_scores(folder: Path, seed: int, names: Sequence[str]) -> dict[str, list[float]]:
    """AUROC of each recipe on images as they are, without their middle, and at 16 x 16."""
    indexed = sources.index_sources(
        [str(folder)],
        groups=str(folder / "groups.csv"),
        shares={"train": 0.6, "test": 0.4},
        seed=seed,
    )
    rows = [row for row in indexed.manifest.table.to_pylist() if row["split"] is not None]
    archive = Labelled(
        [Path(row["path"]).read_bytes() for row in rows],
        np.array([row["label"] == "covid" for row in rows], np.int64),
        np.array([row["label"] for row in rows]),
    )
    for_test = np.array([row["split"] == "test" for row in rows])
    scores = {}
    for name in names:
        config = replace(REAL, seed=seed, **RECIPES[name])
        pixels = decoded(archive, config, REAL_SIDE)
        model = trained(config, pixels, archive, ~for_test)
        changed = (pixels, border_only(pixels), coarse(pixels))
        scores[name] = [auroc(model, each, archive, for_test) for each in changed]
    return scores


def decoded(archive: Labelled, config: TrainConfig, side: int) -> NDArray[np.uint8]:
    """All images as the recipe wants them, (N, side, side, 1)."""
    architecture = replace(models.find(config.model), height=side, width=side)
    wanted = preprocessing(config, architecture)
    return np.stack([images.decode(file, wanted).pixels for file in archive.files])


def trained(
    config: TrainConfig, pixels: NDArray[np.uint8], archive: Labelled, rows: NDArray[np.bool_]
) -> Any:
    """The sheet's architecture for images of this size, trained on some rows by the recipe."""
    import keras

    from cnnjobs.models import cnn
    from cnnjobs.models.augmentation import augmented
    from cnnjobs.training.distributed.batches import InMemory
    from cnnjobs.training.distributed.loop import fit
    from cnnjobs.training.distributed.sample_weights import row_weights

    keras.utils.set_random_seed(config.seed)
    build = cnn.covid_gap if config.model == "covid-gap" else cnn.covid
    inner = build(*pixels.shape[1:3], 2)
    model = inner if config.augment == "off" else augmented(inner, config.augment)
    model.compile(keras.optimizers.Adam(config.learning_rate), "binary_crossentropy")
    targets = archive.targets[rows]
    fit(
        model,
        InMemory(pixels[rows], targets),
        epochs=config.epochs,
        global_batch_size=config.batch_size,
        seed=config.seed,
        row_weights=row_weights(config, targets, archive.sources[rows]),
    )
    return inner


def auroc(
    model: Any, pixels: NDArray[np.uint8], archive: Labelled, rows: NDArray[np.bool_]
) -> float:
    """Of the model on some rows."""
    from cnnjobs.training.distributed import scores

    found = np.asarray(model(pixels[rows]))
    return scores.auroc(archive.targets[rows], found[:, 0])


def border_only(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Copies that are black but for a border."""
    masked = pixels.copy()
    masked[:, BORDER:-BORDER, BORDER:-BORDER] = 0
    return masked


def coarse(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Copies of the details that 16 x 16 pixels have."""
    side = pixels.shape[1]
    small = [images.resize(each[:, :, 0], height=16, width=16) for each in pixels]
    return np.stack([images.resize(each, height=side, width=side) for each in small])[..., None]


if __name__ == "__main__":
    main()
