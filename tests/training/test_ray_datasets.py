"""Decoding through Ray Data gives the same pixels as without it, in small blocks, once."""

import ctypes
import inspect
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray

from cnnjobs.data.sources import open_data
from cnnjobs.errors import TrainingError
from cnnjobs.imaging.preprocessing import Preprocessing, decode
from cnnjobs.training import decoded_images, ray_datasets
from tests.support.odd_server import NO_KEY, OddServer
from tests.support.shards import png, write_tar

#: Of inotify(7): an event, and its size without a name.
IN_OPEN, EVENT_BYTES = 0x20, 16

SMALL = Preprocessing(height=24, width=32)


@pytest.fixture(scope="module")
def rows(archive: Path) -> pa.Table:
    return open_data(str(archive), for_training=False).table


def decoded(rows: pa.Table, preprocessing: Preprocessing, batch_size: int) -> list[pa.Table]:
    dataset = ray_datasets.decoded(rows, preprocessing, batch_size=batch_size, num_cpus=2)
    return [ray.get(ref) for ref in dataset.materialize().to_arrow_refs()]


def test_pixels_are_the_same_as_without_ray(ray_session: None, rows: pa.Table) -> None:
    for block in decoded(rows, SMALL, batch_size=8):
        pixels = decoded_images.pixels_of(block)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (block.num_rows, 24, 32, 1)
        for row, seen in zip(block.drop_columns("pixels").to_pylist(), pixels, strict=True):
            if row["error"] is None:
                alone = decode(Path(row["path"]).read_bytes(), SMALL)
                np.testing.assert_array_equal(seen, alone.pixels)
                assert (row["width"], row["height"]) == (alone.width, alone.height)
            else:
                assert not seen.any()


def test_images_of_a_shard_have_the_pixels_of_their_files(tmp_path: Path) -> None:
    files = [(f"{number}.png", png(number)) for number in range(8)]
    write_tar(tmp_path / "a.tar", files)
    rows = open_data(str(tmp_path), for_training=False).table

    pixels = decoded_images.pixels_of(decoded_images.decode_rows(rows, SMALL))

    for seen, (_, data) in zip(pixels, files, strict=True):
        np.testing.assert_array_equal(seen, decode(data, SMALL).pixels)


def test_every_row_is_in_the_blocks_once_and_in_order(ray_session: None, rows: pa.Table) -> None:
    blocks = decoded(rows, SMALL, batch_size=4)

    assert pa.concat_tables(blocks)["path"].to_pylist() == rows["path"].to_pylist()


def test_blocks_are_small_and_contain_whole_batches(ray_session: None, rows: pa.Table) -> None:
    many = pa.concat_tables([rows] * 12)
    full_size = Preprocessing(height=256, width=256)

    blocks = decoded(many, full_size, batch_size=16)

    assert len(blocks) > 4
    assert all(block.num_rows % 16 == 0 for block in blocks[:-1])
    # 64 images of 256 x 256: not the 64 MB of Ray Data's default batch of 1024
    assert max(block["pixels"].nbytes for block in blocks) <= 64 * 256 * 256


def test_the_caller_s_ray_data_settings_do_not_change(ray_session: None, rows: pa.Table) -> None:
    def settings() -> tuple[bool, bool]:
        context = ray.data.DataContext.get_current()
        return context.execution_options.preserve_order, context.enable_progress_bars

    assert settings() == (False, True)
    decoded(rows, SMALL, batch_size=8)
    assert settings() == (False, True)


def test_ray_data_still_has_no_argument_for_restarts_of_actors() -> None:
    # once it has one, `inference/ray_pipeline.py` can use it and stop hiding a warning
    assert "max_restarts" not in inspect.signature(ray.data.Dataset.map_batches).parameters


def test_each_image_is_read_once(ray_session: None, archive: Path, tmp_path: Path) -> None:
    source = next(archive.glob("normal/*.png"))
    once = tmp_path / "once.png"
    once.write_bytes(source.read_bytes())
    rows = open_data(str(archive), for_training=False).table.slice(0, 1)
    rows = rows.set_column(0, "path", pa.array([str(once)]))
    # the kernel reports every time that a process opens the file (inotify(7))
    libc = ctypes.CDLL(None)
    events = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(events, str(once).encode(), IN_OPEN) > 0

    (block,) = decoded(rows, SMALL, batch_size=1)

    assert len(os.read(events, 4096)) == EVENT_BYTES
    os.close(events)
    alone = decode(source.read_bytes(), SMALL)
    np.testing.assert_array_equal(decoded_images.pixels_of(block)[0], alone.pixels)


def test_a_decoded_set_contains_the_decodable_images_of_a_split(archive: Path) -> None:
    manifest = open_data(str(archive)).table
    blocks = [
        decoded_images.decode_rows(manifest.slice(start, 10), SMALL) for start in range(0, 45, 10)
    ]

    train = decoded_images.DecodedSet(blocks, "train", {"normal": 0, "opacity": 1})

    expected = [row for row in manifest.to_pylist() if row["split"] == "train"]
    assert len(train) == len(expected)
    assert train.num_failed == 0
    some = np.array([5, 0, 5])
    (pixels,) = train.stream([some])
    for image, target, row in zip(pixels, train.labels(some), some, strict=True):
        alone = decode(Path(expected[row]["path"]).read_bytes(), SMALL)
        np.testing.assert_array_equal(image, alone.pixels)
        assert target == (expected[row]["label"] == "opacity")
    assert train.sources.tolist() == [row["source"] for row in expected]


def _with_first_path(rows: pa.Table, path: str) -> pa.Table:
    return rows.set_column(0, "path", pa.array([path, *rows["path"].to_pylist()[1:]]))


def test_an_image_deleted_since_it_was_indexed_ends_the_training(
    archive: Path, tmp_path: Path
) -> None:
    rows = open_data(str(archive)).table
    gone = str(tmp_path / "gone.png")
    block = decoded_images.decode_rows(_with_first_path(rows, gone), SMALL)

    with pytest.raises(TrainingError) as caught:
        decoded_images.DecodedSet([block], "train", {"normal": 0, "opacity": 1})

    assert str(caught.value) == (
        f"{gone} was readable when it was indexed, but no longer is (missing: the file is gone); "
        "index again."
    )


def test_an_image_that_no_index_has_opened_is_counted_and_left_out(
    archive: Path, tmp_path: Path
) -> None:
    rows = open_data(str(archive)).table
    rows = rows.set_column(
        rows.column_names.index("width"), "width", pa.nulls(rows.num_rows, pa.int32())
    )
    first = rows.filter(pc.equal(rows["split"], "train"))
    moved = _with_first_path(first, str(tmp_path / "gone.png"))

    found = decoded_images.DecodedSet(
        [decoded_images.decode_rows(moved, SMALL)], "train", {"normal": 0, "opacity": 1}
    )

    assert found.num_failed == 1
    assert len(found) == moved.num_rows - 1


def test_storage_that_fails_ends_the_training(archive: Path, odd: OddServer) -> None:
    odd.answer = lambda method, path: NO_KEY
    rows = open_data(str(archive)).table.slice(0, 3)
    paths = pa.array(["s3://bucket/a.png"] * 3)
    remote = rows.set_column(0, "path", paths).set_column(
        rows.column_names.index("width"), "width", pa.nulls(3, pa.int32())
    )
    block = decoded_images.decode_rows(remote, SMALL)

    with pytest.raises(TrainingError, match=r"^s3://bucket/a.png cannot be read .*; restore "):
        decoded_images.DecodedSet([block], "train", {"normal": 0, "opacity": 1})
