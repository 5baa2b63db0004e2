"""Archives as people and attackers write them: each member a row, a count or a line."""

import contextlib
import io
import os
import struct
import subprocess
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.errors import ImageError
from cnnjobs.imaging.reading import read_image
from cnnjobs.storage import archives, filesystem
from cnnjobs.storage.archives.listing import Notes, list_tables
from tests.support.shards import WRITERS, png, write_parquet, write_tar, write_zip

FILES = [(f"{('cat', 'dog')[number % 2]}/{number}.png", png(number)) for number in range(8)]


def listed(uri: object) -> tuple[list[str], Notes]:
    """The paths below a folder, or in an archive, relative to it."""
    notes = Notes()
    rows = pa.concat_tables(list_tables(str(uri), notes))
    return [path.removeprefix(str(uri)).lstrip(":/") for path in rows["path"].to_pylist()], notes


def failure(path: object) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(str(path))
    return str(caught.value)


@pytest.mark.parametrize("suffix", WRITERS)
def test_members_are_listed_in_order_and_read_in_any(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"images{suffix}"
    WRITERS[suffix](archive, FILES)

    names, notes = listed(archive)

    assert names == [name for name, _ in FILES]
    assert (notes.ignored, notes.problems) == (Counter(), {})
    for name, data in sorted(FILES, reverse=True):
        assert read_image(f"{archive}::{name}") == data
        assert filesystem.read_first(f"{archive}::{name}", 8) == data[:8]
    assert filesystem.is_file(f"{archive}::{FILES[0][0]}")
    assert not filesystem.is_file(f"{archive}::no.png")
    assert failure(f"{archive}::no.png") == "missing: the file is gone"
    assert failure(f"{tmp_path}/no{suffix}::a.png") == "missing: the file is gone"


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_limit_of_bytes_holds_for_members(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"images{suffix}"
    WRITERS[suffix](archive, [("big.png", bytes(2_000_000))])

    with pytest.raises(ImageError, match="too large: 2000000 bytes, but max_bytes allows 1000"):
        read_image(f"{archive}::big.png", 1000)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_are_read(tmp_path: Path, form: int) -> None:
    names = ["./a.png", f"{'long' * 60}/b.png", "röntgen/ü::x.png", "sub/./c.png"]
    write_tar(tmp_path / "a.tar", [(name, png(seed)) for seed, name in enumerate(names)], form)

    found, _ = listed(tmp_path / "a.tar")

    assert found == ["a.png", names[1], names[2], "sub/c.png"]
    for seed, name in enumerate(found):
        assert read_image(f"{tmp_path}/a.tar::{name}") == png(seed)


def test_a_name_that_is_not_utf8_is_escaped_and_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    write_tar(tmp_path / "a.tar", [(name, png(1))], tarfile.GNU_FORMAT)

    assert listed(tmp_path / "a.tar")[0] == [r"caf\xe9.png"]
    assert read_image(rf"{tmp_path}/a.tar::caf\xe9.png") == png(1)


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_names_outside_are_counted_and_of_copies_the_last_is_read(
    tmp_path: Path, suffix: str
) -> None:
    archive = tmp_path / f"a{suffix}"
    names = ["../../etc/evil.png", "/etc/abs.png", "a/../../b.png", "c.png", "d.png", "./c.png"]
    WRITERS[suffix](archive, [(name, png(seed)) for seed, name in enumerate(names)])

    found, notes = listed(archive)

    assert found == ["c.png", "d.png"]
    assert notes.ignored == {"names outside their archive": 3, "older copies in archives": 1}
    assert read_image(f"{archive}::c.png") == png(5)
    assert failure(f"{archive}::../../etc/evil.png") == "missing: the file is gone"


def test_links_and_special_members_are_counted_and_sparse_files_read(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as file:
        file.write(png(1))
        file.truncate(1 << 20)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (
            ("folder", tarfile.DIRTYPE),
            ("link.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
            ("disk.png", tarfile.BLKTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        tar.add(sparse, "plain.png")
    command = ["tar", "--sparse", "--append", "-f", "a.tar", "sparse.png"]
    subprocess.run(command, cwd=tmp_path, check=True)

    found, notes = listed(tmp_path / "a.tar")

    assert found == ["plain.png", "sparse.png"]
    assert notes.ignored == {"links in archives": 2, "special files in archives": 2}
    assert read_image(f"{tmp_path}/a.tar::sparse.png") == sparse.read_bytes()


@pytest.mark.parametrize("cut", [300, 512 + 40, 512 + 1024 + 100, 512 + 1024 + 512 + 1])
def test_a_tar_that_ends_early_keeps_what_is_whole(tmp_path: Path, cut: int) -> None:
    write_tar(tmp_path / "a.tar", [(f"{n}.png", bytes(1000)) for n in range(3)], tarfile.GNU_FORMAT)
    with (tmp_path / "a.tar").open("r+b") as file:
        file.truncate(cut)

    found, notes = listed(tmp_path)

    assert len(notes.problems) == 1
    assert "a.tar" in found or found[0] == "a.tar::0.png"
    for name in found[:-1]:
        assert read_image(f"{tmp_path}/{name}") == bytes(1000)
    if cut == 512 + 40:
        assert found == ["a.tar::0.png"]
        assert failure(tmp_path / found[0]) == "damaged: the archive ends in the middle of it"


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [(f"{n}.png", bytes(1000)) for n in range(3)], tarfile.GNU_FORMAT)
    with (tmp_path / "a.tar").open("r+b") as file:
        file.seek(1536 + 20)
        file.write(b"damage")

    found, notes = listed(tmp_path)

    assert found == ["a.tar::0.png"]
    assert list(notes.problems.values()) == ["the header at byte 1536 is damaged"]
    assert "its archive is damaged" in failure(tmp_path / "a.tar::1.png")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_a_compressed_tar_is_a_file_with_a_reason(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / name, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x.png"))

    found, notes = listed(tmp_path)

    assert found == [name]
    assert "compressed as a whole" in notes.problems[f"{tmp_path}/{name}"]


@pytest.mark.parametrize("name", ["a.tar", "b.zip", "c.parquet"])
@pytest.mark.parametrize("content", [b"", b"nothing", bytes(5000), b"PK\3\4" + bytes(3000)])
def test_what_only_has_the_name_of_an_archive_is_a_file(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "x.png").write_bytes(png(1))

    found, notes = listed(tmp_path)

    if name == "a.tar" and content == bytes(5000):  # an empty archive, as tar writes it
        assert (found, notes.problems) == (["x.png"], {})
    else:
        assert found == [name, "x.png"]
        assert list(notes.problems) == [f"{tmp_path}/{name}"]


def test_empty_archives_have_no_members(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [])
    write_zip(tmp_path / "b.zip", [])
    pq.write_table(pa.table({"jpg": pa.array([], pa.binary())}), tmp_path / "c.parquet")

    assert listed(tmp_path) == ([], Notes())


def test_a_zip_that_lies_about_its_sizes_takes_no_memory(tmp_path: Path) -> None:
    write_zip(tmp_path / "bomb.zip", [("a.png", bytes(50 << 20)), ("b.png", png(2))])
    data = bytearray((tmp_path / "bomb.zip").read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    (tmp_path / "bomb.zip").write_bytes(data)

    found, _ = listed(tmp_path / "bomb.zip")

    assert found == ["a.png", "b.png"]
    assert failure(tmp_path / "bomb.zip::a.png").startswith("damaged: ")
    assert read_image(f"{tmp_path}/bomb.zip::b.png") == png(2)


def test_encrypted_and_damaged_members_of_a_zip_fail_alone(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    write_zip(archive, [(f"{number}.png", png(number)) for number in range(4)])
    data = bytearray(archive.read_bytes())
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2"]
    files = [at for at in range(len(data)) if data[at : at + 4] == b"PK\3\4"]
    data[entries[0] + 8] |= 1  # encrypted
    data[entries[1] + 10] = data[files[1] + 8] = 9  # deflate64
    data[files[2] + 60] ^= 0xFF
    archive.write_bytes(data)

    found, _ = listed(archive)

    assert found == [f"{number}.png" for number in range(4)]
    assert failure(f"{archive}::0.png") == "unsupported: it is encrypted"
    assert failure(f"{archive}::1.png").startswith("unsupported: ")
    assert failure(f"{archive}::2.png").startswith("damaged: ")
    assert read_image(f"{archive}::3.png") == png(3)


def test_rows_of_parquet_are_named_by_their_key_or_their_number(tmp_path: Path) -> None:
    images = pa.array([png(0), png(1), None], pa.binary())
    struct_of = pa.StructArray.from_arrays([images, pa.array(["a", "b", "c"])], ["bytes", "path"])
    tables = {
        "keys": ({"__key__": ["k0", "k1", "k2"], "png": images}, ["k0", "k1", "k2"]),
        "huggingface": ({"image": struct_of, "label": [0, 1, 0]}, ["a", "b", "c"]),
        "twice": ({"key": ["k", "k", "l"], "jpg": images}, ["0", "1", "2"]),
        "outside": ({"key": ["../k", "/k", "l"], "jpg": images}, ["0", "1", "2"]),
        "numbers": ({"id": [7, 8, 9], "bytes": images.cast(pa.large_binary())}, ["7", "8", "9"]),
        "no key": ({"image": images}, ["0", "1", "2"]),
    }
    for name, (columns, names) in tables.items():
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns), file, row_group_size=2)
        assert listed(file)[0] == names
        assert read_image(f"{file}::{names[1]}") == png(1)
        assert read_image(f"{file}::{names[0]}") == png(0)
        assert failure(f"{file}::{names[2]}") == "damaged: its row holds no bytes"


def test_other_tables_are_files_and_need_no_reason(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a"], "wkb": [b"geometry"]}), tmp_path / "labels.parquet")

    assert listed(tmp_path) == (["labels.parquet"], Notes())


def test_a_large_row_group_is_read_forward_in_pieces(tmp_path: Path) -> None:
    rows = [(str(number), np.random.default_rng(number).bytes(40_000)) for number in range(1000)]
    write_parquet(tmp_path / "a.parquet", rows, row_group_size=1000)

    for number in (0, 999, 3, 500, 501, 100):
        assert read_image(f"{tmp_path}/a.parquet::{number}") == rows[number][1]


def test_a_plain_file_may_be_called_like_a_member(tmp_path: Path) -> None:
    (tmp_path / "a.tar::x.png").write_bytes(png(1))
    (tmp_path / "b.tar::folder").mkdir()
    write_zip(tmp_path / "b.tar::folder/c.zip", [("y.png", png(2))])

    names, _ = listed(tmp_path)

    assert names == ["a.tar::x.png", "b.tar::folder/c.zip::y.png"]
    assert [read_image(f"{tmp_path}/{name}") for name in names] == [png(1), png(2)]


def test_of_a_file_and_a_member_with_one_path_the_member_is_read(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("x.png", png(1))])
    (tmp_path / "a.tar::x.png").write_bytes(png(2))
    (tmp_path / "a.tar::y.png").write_bytes(png(3))
    (tmp_path / "b.tar").write_bytes(b"no archive")
    (tmp_path / "b.tar::z.png").write_bytes(png(4))

    names, notes = listed(tmp_path)

    assert names == ["a.tar::x.png", "a.tar::y.png", "b.tar", "b.tar::z.png"]
    assert notes.ignored == {"files named like an image in an archive": 1}
    read = [read_image(f"{tmp_path}/{name}") for name in names if name != "b.tar"]
    assert read == [png(1), png(3), png(4)]


def test_a_replaced_archive_is_read_as_it_is_now(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    write_tar(archive, FILES)
    rows = pa.concat_tables(list_tables(str(archive), Notes()))
    archives.expect(rows)
    write_tar(tmp_path / "new", FILES[::-1])
    (tmp_path / "new").rename(archive)

    assert [read_image(path) for path in rows["path"].to_pylist()] == [data for _, data in FILES]


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    member = tarfile.TarInfo("pax")
    member.type, member.size = tarfile.XHDTYPE, 7 << 30
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(8 << 30)

    found, notes = listed(tmp_path)

    assert found == ["a.tar"]
    assert list(notes.problems.values()) == ["a header in it is too large"]


def test_random_damage_never_ends_a_listing_or_a_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for suffix, write in WRITERS.items():
        whole = tmp_path / f"whole{suffix}"
        write(whole, FILES)
        for number in range(150):
            data = bytearray(whole.read_bytes())
            for at in random.integers(0, len(data), random.integers(1, 12)):
                data[at] = random.integers(0, 256)
            file = tmp_path / f"{number}{suffix}"
            file.write_bytes(data[: random.integers(1, len(data) + 1)] if number % 3 else data)
            notes = Notes()
            for table in list_tables(str(file), notes):
                for path in table["path"].to_pylist():
                    with contextlib.suppress(ImageError):
                        read_image(path, 1 << 20)
            file.unlink()


def test_many_archives_take_few_open_files(tmp_path: Path) -> None:
    for number in range(300):
        write_zip(tmp_path / f"{number:03d}.zip", [("x.png", png(number))])
    before = len(list(Path("/proc/self/fd").iterdir()))

    names, _ = listed(tmp_path)
    contents = [read_image(f"{tmp_path}/{name}") for name in names]

    assert contents == [png(number) for number in range(300)]
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 150


def test_a_symbolic_link_in_a_zip_is_counted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("x.png", io.BytesIO(png(1)).getvalue())

    found, notes = listed(tmp_path / "a.zip")

    assert (found, notes.ignored) == (["x.png"], {"links in archives": 1})
