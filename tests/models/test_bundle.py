"""Bundles: what is written is read again, and what is damaged or dangerous is refused."""

import hashlib
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs import models, schema
from cnnjobs.errors import BundleError, TrainingError
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle
from cnnjobs.storage import run_dir

LABELS = ["covid", "normal", "pneumonia"]
IMAGES = pa.table(
    {
        "path": ["/x/a.png", "/x/b.png"],
        "label": ["covid", "normal"],
        "content_hash": ["00ff", None],
        "group": ["p1", "p2"],
        "split": ["train", "validation"],
    }
)


#: Keras 3.15 writes weights through an interface that NumPy 2 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def model():
    """A compiled model after one step: its optimizer has two more values for each weight."""
    model = models.build("digits", 3)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.train_on_batch(_batch(), np.array([0, 1, 2, 0]))
    return model


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "bundle"
    return _write(folder, model)


@pytest.fixture
def copied(written, tmp_path):
    """The folder of a copy of the bundle without its seal, for tests that damage it."""
    folder = Path(shutil.copytree(written.uri, tmp_path / "bundle"))
    (folder / "SHA256SUMS").unlink()
    return folder


def test_what_was_written_is_read_again(written):
    assert bundle.read(written.uri) == written
    assert written.labels == LABELS
    assert written.positive is None
    assert written.threshold == 0.25
    assert written.preprocessing == Preprocessing(height=28, width=28, max_pixels=1000)
    assert written.metrics == {"accuracy": 0.5, "auroc": None}
    assert written.versions == {"keras": "3"}
    assert written.manifest_fingerprint == "0123456789abcdef"
    assert written.name == f"digits-{written.model_digest[7:27]}"
    assert sorted(file.name for file in Path(written.uri).iterdir()) == [
        "SHA256SUMS",
        "bundle.json",
        "images.parquet",
        "model.keras",
        "summary.txt",
    ]


def test_the_summary_has_every_layer_and_the_number_of_parameters(written):
    text = (Path(written.uri) / "summary.txt").read_text(encoding="utf-8")
    model = bundle.load_model(written)
    for layer in model.layers:
        assert layer.name in text
    assert f"{model.count_params():,}" in text


def test_a_model_of_two_classes_keeps_its_positive_class_in_either_order(tmp_path):
    model = models.build("digits", 2)
    for positive in ("covid", "normal"):
        _write(tmp_path / positive, model, labels=["covid", "normal"], positive=positive)
        read = bundle.read(str(tmp_path / positive))
        assert (read.labels, read.positive, read.threshold) == (
            ["covid", "normal"],
            positive,
            0.25,
        )


def test_predictions_are_equal_to_the_last_bit_after_a_round_trip(model, written):
    loaded = bundle.load_model(bundle.read(written.uri))
    before, after = (np.asarray(each(_batch(), training=False)) for each in (model, loaded))
    assert before.tobytes() == after.tobytes()


def test_the_images_of_the_training_are_kept(written):
    seen = bundle.seen_images(written)
    assert seen == IMAGES.select(["path", "content_hash", "group", "split"])


def test_a_bundle_is_found_through_its_run(written):
    run = str(Path(written.uri).parent)
    found = bundle.read(run)
    assert found == written
    assert found.uri == written.uri
    assert bundle.load_model(found).count_params() == models.build("digits", 3).count_params()


def test_the_file_contains_the_weights_once_and_no_optimizer(model, written):
    file = Path(written.uri, "model.keras")
    # float32 weights and little else; with Adam's two moments it would be three times as large
    assert 4 * model.count_params() < file.stat().st_size < 1.2 * 4 * model.count_params()
    with zipfile.ZipFile(file) as parts:
        assert not json.loads(parts.read("config.json"))["compile_config"]
    assert not bundle.load_model(written).compiled
    # the model itself has not changed
    assert model.optimizer.iterations == 1


def test_the_fingerprint_depends_on_the_architecture_and_the_weights(model, written, tmp_path):
    same = models.build("digits", 3)
    same.set_weights(model.get_weights())
    other = models.build("digits", 3)
    other.set_weights([weights + 1e-7 for weights in model.get_weights()])
    # neither the compilation nor the names that Keras numbers within a process matter
    assert _write(tmp_path / "same", same).fingerprint == written.fingerprint
    assert _write(tmp_path / "other", other).fingerprint != written.fingerprint
    assert len(written.fingerprint) == 16
    assert set(written.fingerprint) <= set("0123456789abcdef")


def test_a_loaded_model_has_the_fingerprint_it_was_written_with(written, tmp_path):
    again = _write(tmp_path / "again", bundle.load_model(written))
    assert again.fingerprint == written.fingerprint


@pytest.mark.parametrize("part", ["bundle.json", "model.keras", "images.parquet"])
def test_a_missing_file_is_named(copied, part):
    (copied / part).unlink()
    with pytest.raises(BundleError) as caught:
        bundle.read(str(copied))
    assert str(caught.value) == _incomplete(copied, part)


def test_an_empty_or_absent_folder_or_a_file_is_not_a_bundle(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(BundleError) as caught:
            bundle.read(str(path))
        assert str(caught.value) == _incomplete(path, "bundle.json")


@pytest.mark.parametrize("part", ["model.keras", "images.parquet"])
def test_a_file_deleted_after_the_description_was_read_is_named(copied, part):
    described = bundle.read(str(copied))
    (copied / part).unlink()
    with pytest.raises(BundleError) as caught:
        (bundle.load_model if part == "model.keras" else bundle.seen_images)(described)
    assert str(caught.value) == _incomplete(copied, part)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", "null", "3", '"bundle"', "\xff", '{"bundle_version": 1}']
)
def test_a_file_that_is_not_a_description_is_damaged(copied, text):
    (copied / "bundle.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError) as caught:
        bundle.read(str(copied))
    _check_damaged(copied, caught)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": None},
        {"bundle_version": None},
        {"model_sha256": None},
        {"preprocessing": None},
        {"preprocessing": {"height": 28}},
        {"preprocessing": {"height": 0, "width": 28}},
        {"preprocessing": [28, 28]},
        {"color": "gray"},
        {"labels": "covid"},
        {"labels": ["covid"]},
        {"labels": ["covid", "covid", "normal"]},
        {"labels": [str(number) for number in range(10_001)]},
        {"positive": "covid"},
        {"positive": ["covid"]},
        {"threshold": "0.5"},
        {"threshold": float("nan")},
        {"threshold": True},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 0},
        {"architecture": 3},
        {"fingerprint": None},
        {"metrics": [1]},
        {"preprocessing": {"height": 10**9, "width": 10**9}},
        {"preprocessing": {"height": 28, "width": 28.0}},
        {"preprocessing": {"height": 28, "width": True}},
        {"preprocessing": {"height": 28, "width": 28, "max_pixels": 10**18}},
        {"preprocessing": {"height": 28, "width": 28, "tiles": 10**6, "equalize": True}},
        {"preprocessing": {"height": 28, "width": 28, "crop": float("nan")}},
        {"preprocessing": {"height": 28, "width": 28, "equalize": "yes"}},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_a_description_with_a_missing_wrong_or_unknown_key_is_damaged(copied, changes):
    _describe(copied, **changes)
    with pytest.raises(BundleError) as caught:
        bundle.read(str(copied))
    _check_damaged(copied, caught)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"labels": ' * 50_000, "9" * 10_000, "NaN"])
def test_json_that_is_deep_or_no_description_is_damage(copied, text):
    (copied / "bundle.json").write_text(text)
    with pytest.raises(BundleError) as caught:
        bundle.read(str(copied))
    _check_damaged(copied, caught)


def test_a_description_of_300_gb_or_that_is_a_pipe_is_not_read(copied):
    file = copied / "bundle.json"
    with file.open("r+b") as opened:
        opened.truncate(300 << 30)
    refused = r"bundle.json cannot be read: it has 322122547200 bytes, 268435456 are allowed\.$"
    with pytest.raises(BundleError, match=refused):
        bundle.read(str(copied))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(BundleError, match=r"bundle.json cannot be read: it is a pipe, not a file"):
        bundle.read(str(copied))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("bomb", "its files have 42"),
        ("path", "a file in it has a name that leads out of it"),
        ("many", "it has 1504 files, 1000 are allowed"),
        ("wide", "one of its layers has a size of 1000000000, 4194304 are allowed"),
    ],
)
def test_a_model_file_that_would_take_much_is_refused_before_keras_opens_it(
    copied, change, refused
):
    file = copied / "model.keras"
    with zipfile.ZipFile(file) as parts:
        config = json.loads(parts.read("config.json"))
        others = {name: parts.read(name) for name in parts.namelist() if name != "config.json"}
    if change == "wide":
        config["config"]["layers"][-1]["config"]["units"] = 10**9
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("config.json", json.dumps(config))
        for name, data in others.items():
            parts.writestr(name, data)
        if change == "path":
            parts.writestr("../../outside", b"")
        if change == "many":
            for number in range(1501):
                parts.writestr(f"assets/{number}", b"")
        if change == "bomb":
            with parts.open("assets/zeros", "w", force_zip64=True) as part:
                for _ in range(512):
                    part.write(bytes(1 << 20))
    if change == "bomb":
        # a member of 8 GB takes minutes to write: the size is what its entry states
        stated = struct.pack("<I", 512 << 20)
        entries, end, rest = file.read_bytes().rpartition(b"PK\5\6")
        file.write_bytes(entries.replace(stated, struct.pack("<I", 0xFFFF0000)) + end + rest)
    _describe(copied, model_sha256=_sha256(file))
    with pytest.raises(BundleError) as caught:
        bundle.load_model(bundle.read(str(copied)))
    assert str(caught.value).startswith(f"{copied}/model.keras is refused: {refused}")


def test_a_model_of_another_input_than_its_description_says_is_refused(copied):
    _describe(copied, preprocessing={"height": 30, "width": 28})
    with pytest.raises(BundleError) as caught:
        bundle.load_model(bundle.read(str(copied)))
    assert str(caught.value) == (
        f"{copied}/model.keras takes images of (28, 28, 1), but bundle.json says (30, 28, 1); "
        "copy the bundle again or train again."
    )


@pytest.mark.parametrize("version", [0, 2, "1"])
def test_a_bundle_of_another_schema_version_is_refused(copied, version):
    _describe(copied, bundle_version=version)
    with pytest.raises(BundleError) as caught:
        bundle.read(str(copied))
    assert str(caught.value) == (
        f"{copied} is a bundle with schema version {version}, but this cnnjobs reads version "
        f"{schema.BUNDLE_VERSION}; train again."
    )


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:99] + b"?", len])
def test_a_model_file_other_than_the_described_one_is_not_loaded(copied, change):
    file = copied / "model.keras"
    file.write_bytes(bytes(10) if change is len else change(file.read_bytes()))
    with pytest.raises(BundleError) as caught:
        bundle.load_model(bundle.read(str(copied)))
    assert str(caught.value) == (
        f"{file} is not the file that bundle.json describes; copy the bundle again or train again."
    )


@pytest.mark.filterwarnings("ignore:The `lambda` passed to the Lambda layer:UserWarning")
def test_code_in_a_model_file_is_not_run_but_refused(copied, tmp_path):
    keras = models.import_keras()
    marker = tmp_path / "ran"
    path = str(marker)
    # runs when the layer is called, which loading a model does
    layer = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])  # noqa: PTH123
    dangerous = keras.Sequential([keras.Input((28, 28, 1), dtype="uint8"), layer])
    dangerous.save(copied / "model.keras")
    marker.unlink()
    _describe(copied, model_sha256=_sha256(copied / "model.keras"))
    with pytest.raises(BundleError) as caught:
        bundle.load_model(bundle.read(str(copied)))
    assert str(caught.value) == _not_loadable(copied)
    assert not marker.exists()


@pytest.mark.parametrize("content", ["not a zip file", "zip without a model"])
def test_a_model_file_that_keras_cannot_read_is_refused_in_one_line(copied, content):
    file = copied / "model.keras"
    file.write_bytes(b"not a zip file")
    if content != "not a zip file":
        with zipfile.ZipFile(file, "w") as parts:
            parts.writestr("README", "nothing here")
    _describe(copied, model_sha256=_sha256(file))
    with pytest.raises(BundleError) as caught:
        bundle.load_model(bundle.read(str(copied)))
    assert str(caught.value) == _not_loadable(copied)


@pytest.mark.parametrize("content", [b"", b"not Parquet"])
def test_a_damaged_list_of_images_is_refused_in_one_line(copied, content):
    (copied / "images.parquet").write_bytes(content)
    with pytest.raises(BundleError) as caught:
        bundle.seen_images(bundle.read(str(copied)))
    assert str(caught.value) == f"{copied}/images.parquet is damaged; train again."


def _batch():
    return np.random.default_rng(1).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)


def _write(folder, model, *, labels=LABELS, positive=None):
    return bundle.write(
        str(folder),
        model,
        architecture="digits",
        labels=labels,
        positive=positive,
        preprocessing=Preprocessing(height=28, width=28, max_pixels=1000),
        images=IMAGES,
        manifest_fingerprint="0123456789abcdef",
        metrics={"accuracy": 0.5, "auroc": None},
        versions={"keras": "3"},
        threshold=0.25,
    )


def _describe(folder, **changes):
    """Change bundle.json; None removes a key."""
    file = folder / "bundle.json"
    described = {**json.loads(file.read_text()), **changes}
    kept = {name: value for name, value in described.items() if changes.get(name, 0) is not None}
    file.write_text(json.dumps(kept))


def _check_damaged(folder, caught):
    message = str(caught.value)
    assert message.startswith(f"{folder}/bundle.json is damaged")
    assert message.endswith("; train again.")
    assert "\n" not in message
    assert len(message) < 300 + len(str(folder))


def _sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _incomplete(folder, part):
    return f"{folder} is not a complete bundle: {part} is missing; use the run of a training."


def _not_loadable(folder):
    return (
        f"{folder}/model.keras cannot be loaded in safe mode; use a bundle that cnnjobs train "
        "wrote."
    )


@pytest.mark.parametrize("asked", ["run", "run/bundle"])
@pytest.mark.parametrize(
    ("command", "error", "reason"),
    [
        (
            "train",
            TrainingError("loss of epoch 2 is nan."),
            "failed at {} (loss of epoch 2 is nan)",
        ),
        ("train", KeyboardInterrupt(), "stopped at {}"),
        ("tune", TrainingError("no trial finished"), "failed at {} (no trial finished)"),
    ],
)
def test_a_training_that_failed_says_when_and_why(tmp_path, asked, command, error, reason):
    run = run_dir.start(str(tmp_path / "run"), command, {})
    with pytest.raises(type(error)), run.writing():
        raise error
    ended = run_dir.read_record(run.uri)["ended"]
    with pytest.raises(BundleError) as caught:
        bundle.read(str(tmp_path / asked))
    assert str(caught.value) == (
        f"the training in {run.uri} {reason.format(ended)}; continue it with --resume."
    )


def test_a_training_that_still_runs_or_was_killed_says_so(tmp_path):
    run = run_dir.start(str(tmp_path / "run"), "train", {})
    with run.writing(), pytest.raises(BundleError, match="has not finished: it was started"):
        bundle.read(run.uri)
