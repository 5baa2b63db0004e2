"""What one process does with rows: every image gets one row, whatever is wrong with its file."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs import schema
from cnnjobs.data import synthetic
from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing, tensors
from cnnjobs.imaging.preprocessing import Decoded
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import image_table
from cnnjobs.inference.predictor import Predictor, Scoring, open_engine, prediction_rows
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import Images, OpenVinoEngine, Scores
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def gap(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "gap", "covid-gap")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model with another input size and other weights."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "other", "mobilenetv3small", seed=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """20 drawings and 5 broken files."""
    folder = tmp_path_factory.mktemp("files") / "archive"
    synthetic.write_archive(folder, num_images=20, num_broken=5, seed=2)
    return sorted(folder.glob("*/*"))


def rows_of(files: list[Path]) -> pa.Table:
    return pa.table(
        {
            "path": pa.array([str(file) for file in files]),
            "label": pa.array([file.parent.name for file in files]),
            "size_bytes": pa.array([file.stat().st_size for file in files]),
        }
    )


def scoring(*bundles: Bundle, **settings: object) -> Scoring:
    defaults = {"engine": "openvino", "batch_size": 4, "run_id": "test", **settings}
    return Scoring(bundles=bundles, **defaults)  # type: ignore[arg-type]


def readable(bundle: Bundle, files: list[Path]) -> list[Path]:
    table = Predictor(scoring(bundle), threads=2)(rows_of(files))
    return [Path(row["path"]) for row in table.to_pylist() if row["error"] is None]


def test_rows_keep_their_order_and_get_the_measures(gap: Bundle, files: list[Path]) -> None:
    table = Predictor(scoring(gap), threads=2)(rows_of(files))

    assert table["path"].to_pylist() == [str(file) for file in files]
    assert table.schema.equals(pa.unify_schemas([schema.predictions(2), schema.MEASURES]))
    assert table["error"].null_count == 20
    assert min(table["decode_seconds"].to_pylist()) >= 0
    assert table["peak_memory_bytes"][0].as_py() > 1e7


def test_the_scores_equal_those_of_decoder_and_engine_alone(gap: Bundle, files: list[Path]) -> None:
    table = Predictor(scoring(gap), threads=2)(rows_of(files))
    valid = [row for row in table.to_pylist() if row["error"] is None]
    pixels = np.stack(
        [
            preprocessing.decode(Path(row["path"]).read_bytes(), gap.preprocessing).pixels
            for row in valid
        ]
    )
    expected = open_engine(gap, "openvino", batch_size=4, threads=1).scores(pixels)[:, 0]

    np.testing.assert_array_equal([row["probability"] for row in valid], expected)


def test_images_decoded_by_another_process_get_the_same_rows(
    gap: Bundle, other: Bundle, files: list[Path]
) -> None:
    settings = scoring(gap, other)
    rows = rows_of(files)
    predictor = Predictor(settings, threads=2)
    images = [image() for image in settings.decoder(2).begin(rows)]
    decoded = image_table.from_images(rows, images, settings.preprocessings, retries=2)
    received = pa.ipc.open_stream(_serialized(decoded)).read_all()

    remote, local = predictor(received), predictor(rows)

    names = [name for name in schema.predictions(2, num_models=2).names if name != "scored_at"]
    assert remote.select(names).equals(local.select(names))
    assert sum(remote["retries"].to_pylist()) == 2


def test_images_decoded_by_another_process_are_not_copied(gap: Bundle, files: list[Path]) -> None:
    settings, rows = scoring(gap), rows_of(files)
    images = [image() for image in settings.decoder(2).begin(rows)]
    decoded = image_table.from_images(rows, images, settings.preprocessings, retries=0)
    received = pa.ipc.open_stream(_serialized(decoded)).read_all()

    read = image_table.to_images(received, num_preprocessings=1)

    whole = tensors.to_numpy(received["pixels_0"])
    for before, after in zip(images, read, strict=True):
        if isinstance(before.decoded, ImageError):
            assert str(after.decoded) == str(before.decoded)
            continue
        assert not isinstance(after.decoded, ImageError)
        assert np.shares_memory(after.decoded[0].pixels, whole)
        np.testing.assert_array_equal(after.decoded[0].pixels, before.decoded[0].pixels)


def test_the_threshold_is_applied_after_the_bundles_temperature(
    gap: Bundle, files: list[Path]
) -> None:
    plain = Predictor(scoring(gap), threads=2)(rows_of(files)).to_pylist()
    raw = np.array([row["probability"] for row in plain if row["error"] is None])
    warm = dataclasses.replace(gap, temperature=2.5, threshold=float(np.median(raw)))

    scored = Predictor(scoring(warm), threads=2)(rows_of(files)).to_pylist()

    found = np.array([row["probability"] for row in scored if row["error"] is None])
    np.testing.assert_allclose(found, 1 / (1 + (1 / raw - 1) ** (1 / 2.5)), atol=1e-6)
    called = [row["prediction"] for row in scored if row["error"] is None]
    assert [name == "opacity" for name in called] == (found >= warm.threshold).tolist()


def test_calls_from_several_threads_do_not_mix_their_rows(gap: Bundle, files: list[Path]) -> None:
    predictor = Predictor(scoring(gap), threads=2)
    alone = predictor(rows_of(files))
    parts = [rows_of(files[start : start + 5]) for start in range(0, 25, 5)]

    with ThreadPoolExecutor(3) as pool:
        tables = list(pool.map(predictor, parts))

    kept = [name for name in schema.predictions(2).names if name != "scored_at"]
    assert pa.concat_tables(tables).select(kept).equals(alone.select(kept))


def test_files_larger_than_the_read_ahead_limit_are_read_one_at_a_time(
    gap: Bundle, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnjobs.imaging.decoder._BYTES_AHEAD", 1)
    done = threading.Event()
    predictor = Predictor(scoring(gap), threads=2)

    def run() -> None:
        predictor(rows_of(files))
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(60), "readers wait for space that is never freed"


def test_an_ensemble_has_the_mean_of_its_models_and_each_models_score(
    gap: Bundle, other: Bundle, files: list[Path]
) -> None:
    rows = rows_of(files[:9])
    both = Predictor(scoring(gap, other), threads=2)(rows)
    one, two = (Predictor(scoring(each), threads=2)(rows) for each in (gap, other))

    assert both.schema.field("by_model").type == pa.list_(pa.float32())
    assert set(both["model"].to_pylist()) == {f"{gap.name}+{other.name}"}
    for row, first, second in zip(both.to_pylist(), one.to_pylist(), two.to_pylist(), strict=True):
        if row["error"] is not None:
            assert (row["probability"], row["by_model"]) == (None, None)
            continue
        assert row["by_model"] == [first["probability"], second["probability"]]
        assert row["probability"] == pytest.approx(np.mean(row["by_model"]), abs=1e-7)


def test_a_damaged_file_is_an_error_or_a_score_with_a_warning(
    gap: Bundle, files: list[Path], tmp_path: Path
) -> None:
    whole = next(file for file in files if file.suffix == ".jpg" and file.stat().st_size > 20_000)
    truncated = tmp_path / "cut.jpg"
    truncated.write_bytes(whole.read_bytes()[:-4000])

    strict = Predictor(scoring(gap), threads=1)(rows_of([truncated])).to_pylist()[0]
    kept = Predictor(scoring(gap, policy=Policy(keep_damaged=True)), threads=1)(
        rows_of([truncated])
    )

    assert strict["error"].startswith(("truncated: ", "damaged: "))
    assert (strict["probability"], strict["warning"]) == (None, None)
    row = kept.to_pylist()[0]
    assert row["error"] is None
    assert 0 <= row["probability"] <= 1
    assert row["warning"]


def test_scores_at_the_threshold_are_positive_and_unknown_labels_are_null(
    gap: Bundle,
) -> None:
    limit = gap.threshold
    scores = np.array([[limit], [np.nextafter(limit, 0, dtype=np.float32)], [0.9]], np.float32)
    pixels = np.zeros((1, 1, 1), np.uint8)
    rows = pa.table({"path": ["a", "b", "c"], "label": ["opacity", "fracture", None]})
    decoded = [[Decoded(pixels, 5, 4)], [Decoded(pixels, 5, 4)], ImageError("empty", "no bytes")]

    table = prediction_rows(rows, decoded, [scores], scoring(gap))

    assert table["prediction"].to_pylist() == ["opacity", "normal", None]
    assert table["label"].to_pylist() == ["opacity", None, None]
    assert table["error"].to_pylist() == [None, None, "empty: no bytes"]
    assert table["width"].to_pylist() == [5, 5, None]


@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_a_score_has_the_same_bits_whatever_fails_beside_its_image(
    gap: Bundle, files: list[Path], tmp_path: Path, engine: str
) -> None:
    good = readable(gap, files)[:7]
    broken = [tmp_path / f"{number}.png" for number in range(12)]
    for file in broken:
        file.write_bytes(b"no image")
    mixed = [broken[0], *good[:3], *broken[1:8], *good[3:4], broken[8], *good[4:], *broken[9:]]

    predictor = Predictor(scoring(gap, engine=engine), threads=2)
    beside = predictor(rows_of(mixed)).to_pylist()
    places = [mixed.index(file) % 4 for file in good]
    expected = []
    for file, place in zip(good, places, strict=True):
        # TensorFlow gives another last bit at another place of the batch
        alone = [*good[:place], file] if engine == "keras" else [file]
        expected.append(predictor(rows_of(alone))["probability"][-1].as_py())

    scores = {row["path"]: row["probability"] for row in beside}
    assert [scores[str(file)] for file in good] == expected
    assert all(scores[str(file)] is None for file in broken)


def test_only_images_without_an_error_reach_the_engine(
    gap: Bundle, tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken, good = tmp_path / "broken.png", readable(gap, files)
    batches: list[int] = []
    scores = OpenVinoEngine.scores

    def counted(engine: OpenVinoEngine, images: Images) -> Scores:
        batches.append(len(images))
        return scores(engine, images)

    monkeypatch.setattr(OpenVinoEngine, "scores", counted)
    predictor = Predictor(scoring(gap), threads=1)

    predictor(rows_of([broken] * 9))
    assert batches == []
    predictor(rows_of([broken, good[0], broken, good[1], *[broken] * 5, *good[2:5]]))
    assert batches == [4, 1]


def test_rows_with_nothing_left_to_score_do_not_wait_for_the_engine(
    gap: Bundle, tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    is_busy, may_end = threading.Event(), threading.Event()
    scores = OpenVinoEngine.scores

    def slow(engine: OpenVinoEngine, images: Images) -> Scores:
        is_busy.set()
        may_end.wait()
        return scores(engine, images)

    good = rows_of(readable(gap, files)[:4])
    monkeypatch.setattr(OpenVinoEngine, "scores", slow)
    predictor = Predictor(scoring(gap), threads=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(predictor, good)
        try:
            is_busy.wait()
            second = pool.submit(predictor, rows_of([tmp_path / "broken.png"]))
            assert second.result(60)["error"].null_count == 0
            assert not first.done()
        finally:
            may_end.set()


def _serialized(table: pa.Table) -> pa.Buffer:
    """The table as another process receives it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()
