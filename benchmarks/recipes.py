"""How well models trained by each recipe transfer to a hospital they have not seen.

On drawings of four hospitals: train on three, test on held-out images of these and on the fourth,
each hospital in turn. The real X-rays come from two collections, one per class, so none can be left
out: there, the AUROC with everything but the border painted over, and at 16 x 16 pixels, shows how
much of the score does not need the lungs.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.hospitals import HOSPITALS, draw
from cnnjobs import models
from cnnjobs.config import TrainConfig
from cnnjobs.data import sources
from cnnjobs.errors import InputError
from cnnjobs.imaging.preprocessing import decode, resize
from cnnjobs.training.distributed.task import preprocessing

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
    """Files, whether each shows the positive class, and the hospital each comes from."""

    files: Sequence[bytes]
    targets: NDArray[np.int64]
    sources: NDArray[np.str_]


def print_table(xrays: Path | None, seeds: Sequence[int], only: Sequence[str] | None) -> None:
    """Measure the recipes and print a table in Markdown: means and standard deviations.

    Args:
        xrays: folder with covid/, normal/ and groups.csv; None measures drawings only.
        seeds: to repeat everything with.
        only: names of recipes; None measures all.

    Raises:
        InputError: an unknown recipe.
    """
    names = list(only or RECIPES)
    for name in names:
        if name not in RECIPES:
            raise InputError(f"recipe must be one of {', '.join(RECIPES)}, got {name}.")
    models.import_keras()
    began = time.monotonic()
    columns = ["seen hospitals", "fourth hospital"]
    measured = [drawn_scores(seed, names) for seed in seeds]
    if xrays is not None:
        columns += ["X-rays", "border only", "16 x 16"]
        real = [real_scores(xrays, seed, names) for seed in seeds]
        measured = [
            {name: [*ours[name], *theirs[name]] for name in names}
            for ours, theirs in zip(measured, real, strict=True)
        ]
    print(f"| recipe | {' | '.join(columns)} |")
    print("| --- |" + " --- |" * len(columns))
    for name in names:
        scores = np.array([each[name] for each in measured])
        means, spreads = scores.mean(axis=0), scores.std(axis=0, ddof=min(1, len(scores) - 1))
        cells = (f"{mean:.2f} ± {sd:.2f}" for mean, sd in zip(means, spreads, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"{time.monotonic() - began:.0f} s")


def drawn_scores(seed: int, names: Sequence[str]) -> dict[str, list[float]]:
    """AUROC of each recipe on seen hospitals and on an unseen one: means over four."""
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
    """AUROC of each recipe on whole images, on their borders only, and at 16 x 16 pixels."""
    indexed = sources.index_sources(
        [str(folder)],
        groups=[str(folder / "groups.csv")],
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
    return np.stack([decode(file, wanted).pixels for file in archive.files])


def trained(
    config: TrainConfig, pixels: NDArray[np.uint8], archive: Labelled, rows: NDArray[np.bool_]
) -> Any:
    """The lab sheet's architecture for images of this size, trained on some rows by the recipe."""
    import keras

    from cnnjobs.models import cnn
    from cnnjobs.models.augmentation import augmented
    from cnnjobs.training.distributed.batches import InMemory
    from cnnjobs.training.distributed.loop import fit
    from cnnjobs.training.distributed.sample_weights import row_weights

    keras.utils.set_random_seed(config.seed)
    build = cnn.covid_gap if config.model == "covid-gap" else cnn.covid
    height, width = pixels.shape[1:3]
    inner = build(height, width, 2)
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
    """AUROC of the model on some rows."""
    from sklearn.metrics import roc_auc_score

    scores = np.asarray(model(pixels[rows]))
    return float(roc_auc_score(archive.targets[rows], scores[:, 0]))


def border_only(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Copies that are black except for a border."""
    masked = pixels.copy()
    masked[:, BORDER:-BORDER, BORDER:-BORDER] = 0
    return masked


def coarse(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Copies reduced to 16 x 16 pixels and enlarged again."""
    side = pixels.shape[1]
    small = [resize(image[:, :, 0], height=16, width=16) for image in pixels]
    enlarged = [resize(image, height=side, width=side) for image in small]
    return np.asarray(np.stack(enlarged)[..., np.newaxis], np.uint8)
