"""The audit on drawings: it catches a planted shortcut and clears a set without one."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs import schema
from cnnjobs.cli.audit import audit_text
from cnnjobs.config import AuditConfig
from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import InputError
from cnnjobs.evaluation import shortcut_audit, trivial_baseline
from cnnjobs.evaluation.audit import audit
from cnnjobs.evaluation.occlusion import Images
from cnnjobs.evaluation.shortcut_audit import LoadedImages
from cnnjobs.evaluation.shortcut_verdict import Audit
from tests.support.bundles import write_bundle

SIDE = 64
NUM_TRAIN, NUM_TEST = 200, 150


class Drawings(NamedTuple):
    pixels: Images
    is_positive: np.ndarray


@pytest.fixture(scope="module")
def clean() -> Drawings:
    """Chests, every second one with an opacity in the lungs."""
    is_positive = np.arange(NUM_TRAIN + NUM_TEST) % 2 == 1
    pixels = [
        phantom(np.random.default_rng([5, number]), height=SIDE, width=SIDE, opacity=sick)
        for number, sick in enumerate(is_positive)
    ]
    return Drawings(np.stack(pixels)[:, :, :, np.newaxis], is_positive)


@pytest.fixture(scope="module")
def planted(clean: Drawings) -> Drawings:
    """The same chests, with a white square in the corner of every positive one."""
    pixels = clean.pixels.copy()
    pixels[clean.is_positive, 1:7, 1:7] = 255
    return Drawings(pixels, clean.is_positive)


def test_a_shortcut_planted_in_the_corner_is_caught(planted: Drawings) -> None:
    audit = _audited(planted)

    assert audit.verdict == "shortcut"
    assert audit.surviving_share is not None
    assert audit.surviving_share > 0.8
    assert audit.line.startswith("audit: shortcut: ")


def test_a_set_without_a_shortcut_is_cleared(clean: Drawings) -> None:
    audit = _audited(clean)

    rows = {row.name: row for row in audit.rows}
    assert (rows["unchanged"].auroc or 0) > 0.9
    assert rows["border only"].auroc == pytest.approx(0.5, abs=0.15)
    assert audit.verdict == "none found"
    assert audit.line.startswith("audit: no shortcut found: the AUROC of ")


def test_a_model_without_signal_is_undecided(clean: Drawings) -> None:
    images = _loaded(clean)
    noise = np.random.default_rng(0)

    audit = shortcut_audit.compare(
        images, lambda pixels: noise.random(len(pixels), np.float32), positive="sick", resamples=100
    )

    assert (audit.verdict, audit.surviving_share) == ("undecided", None)
    assert "is not clearly above chance: no signal to audit." in audit.line


def test_a_model_clearly_below_chance_is_called_so(planted: Drawings) -> None:
    score = _mean_of_corner

    audit = shortcut_audit.compare(
        _loaded(planted), lambda pixels: 1 - score(pixels), positive="sick", resamples=100
    )

    assert audit.verdict == "undecided"
    assert "the AUROC of 0.00 (0.00 to 0.0" in audit.line
    assert "is clearly below chance (0.5): the labels are reversed" in audit.line
    assert "not clearly above" not in audit.line


def test_what_gives_the_class_away_is_in_the_audit(clean: Drawings) -> None:
    images = _loaded(clean, width=[300 + 10 * sick for sick in clean.is_positive[NUM_TRAIN:]])
    images = dataclasses.replace(images, sources=["east", "west"] * (NUM_TEST // 2))

    audit = shortcut_audit.compare(images, _middle_gray, positive="sick", resamples=100)

    assert [line.split(":")[0] for line in audit.give_aways] == [
        "source east has only well",
        "source west has only sick",
        "every image of well is narrower than every image of sick",
    ]


def _mean_of_corner(pixels: Images) -> np.ndarray:
    return pixels[:, 1:7, 1:7, 0].mean(axis=(1, 2)).astype(np.float32) / 255


def test_reversed_scores_are_undecided(clean: Drawings) -> None:
    audit = shortcut_audit.compare(_loaded(clean), _middle_gray, positive="sick", resamples=100)

    assert audit.verdict == "undecided"
    assert " reverses to 0." in audit.line


def test_a_trivial_baseline_as_good_as_the_model_leaves_it_undecided(clean: Drawings) -> None:
    images = _loaded(clean, width=[300 + 10 * sick for sick in clean.is_positive[NUM_TRAIN:]])

    audit = shortcut_audit.compare(images, _middle_gray, positive="sick", resamples=100)

    assert audit.verdict == "undecided"
    assert (
        "a baseline that sees only size, gray levels and format reaches an AUROC of 1.00"
        in audit.line
    )
    assert audit.rows[-1].name == shortcut_audit.TRIVIAL


def test_a_bundle_of_many_classes_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, "digits")

    with pytest.raises(InputError) as refused:
        shortcut_audit.load(bundle, schema.MANIFEST.empty_table())

    assert str(refused.value) == (
        "an audit takes models of two classes, this bundle has 10; use cnnjobs evaluate."
    )


def test_unreadable_files_are_left_out_of_an_audit(archive: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, "covid-gap")
    paths = sorted(str(path) for path in archive.glob("*/*.*"))
    rows = pa.table(
        {
            "path": paths,
            "label": [Path(path).parent.name for path in paths],
            "group": pa.nulls(len(paths), pa.string()),
        }
    )

    audit = shortcut_audit.audit_rows(bundle, rows, resamples=100)

    assert (audit.num_images, audit.num_groups, audit.num_left_out) == (40, 40, 5)
    assert [row.name for row in audit.rows] == [
        *("unchanged", "border only", "borders masked", "corners masked", "16x16 pixels"),
        *("gray levels only", "no picture: size, gray, file"),
    ]


def test_the_command_leaves_a_run_and_the_bundle_stores_the_audit(
    archive: Path, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "bundle", "covid-gap")
    config = AuditConfig(
        bundle=bundle.uri,
        data=str(archive),
        output=str(tmp_path / "run"),
        split="all",
        resamples=100,
    )

    summary = audit(config)

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    carried = json.loads((tmp_path / "bundle" / "audit.json").read_text())
    assert record["seeds"].keys() >= {"bootstrap", "shuffled pixels", "folds of the baseline"}
    assert record["summary"]["verdict"] == carried["verdict"] == summary.verdict
    assert summary.carried
    for name in ("audit.png", "examples.png"):
        assert (tmp_path / "run" / "plots" / name).read_bytes().startswith(b"\x89PNG")
    text = audit_text(summary)
    assert text.splitlines()[0] == summary.line
    assert "\nborder only " in text
    assert "left out, unreadable or not sampled: 5 images" in text


def test_a_large_set_is_sampled(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut_audit, "MAX_IMAGES", 10)
    bundle = write_bundle(tmp_path, "covid-gap")
    paths = sorted(str(path) for path in archive.glob("normal/*.png"))[:14]
    rows = pa.table({"path": paths, "label": ["normal"] * len(paths), "group": paths})

    one, other = (shortcut_audit.load(bundle, rows, seed=seed).groups for seed in (0, 1))

    assert len(one) <= 10
    assert one != other


def _audited(drawings: Drawings) -> Audit:
    return shortcut_audit.compare(
        _loaded(drawings), _trained(drawings), positive="sick", resamples=200
    )


def _loaded(drawings: Drawings, width: list[int] | None = None) -> LoadedImages:
    """The test images, as if their files differed in width only."""
    pixels, is_positive = drawings.pixels[NUM_TRAIN:], drawings.is_positive[NUM_TRAIN:]
    return LoadedImages(
        pixels=pixels,
        labels=["sick" if sick else "well" for sick in is_positive],
        groups=[str(number) for number in range(len(pixels))],
        features=[
            trivial_baseline.Features(
                width=width[index] if width is not None else 300,
                height=300,
                size_bytes=9000,
                mean=float(image.mean()),
                sd=float(image.std()),
                format="png",
            )
            for index, image in enumerate(pixels)
        ],
    )


def _trained(drawings: Drawings) -> Callable[[Images], np.ndarray]:
    """A small network, trained on the training images."""
    from cnnjobs.models import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy")
    pixels, is_positive = drawings.pixels[:NUM_TRAIN], drawings.is_positive[:NUM_TRAIN]
    model.fit(pixels, is_positive, epochs=12, batch_size=16, verbose=0)
    return lambda images: np.asarray(model.predict_on_batch(images))[:, 0]


def _middle_gray(images: Images) -> np.ndarray:
    """Brighter lungs, higher score: some signal, not all of it."""
    middle = images[:, 16:48, 16:48].mean(axis=(1, 2, 3))
    return np.asarray(middle / 255, np.float32)
