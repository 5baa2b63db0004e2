"""`--hash-paths`: images under names that say nothing of a patient."""

import re
import shutil
import zipfile
from pathlib import Path

import pyarrow.compute as pc
import pytest

from cnnjobs.config import IndexConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from cnnjobs.errors import ConfigError, InputError
from cnnjobs.imaging import reading
from cnnjobs.imaging.preprocessing import Preprocessing


@pytest.fixture
def config(tmp_path: Path, archive: Path) -> IndexConfig:
    """Of a copy of the archive, with a folder per patient; one patient is `Doe^John`."""
    for number, file in enumerate(sorted(archive.rglob("*.*"))):
        folder = (
            tmp_path / "xrays" / file.parent.name / ("Doe^John" if number % 2 else f"P{number}")
        )
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.name)
    (tmp_path / "xrays" / "normal" / "Doe^John" / ".hidden").mkdir(parents=True)
    (tmp_path / "key").write_bytes(bytes(32))
    return IndexConfig(
        sources=(f"{tmp_path}/xrays",),
        output=f"{tmp_path}/manifest.parquet",
        group_key=f"{tmp_path}/key",
        hash_paths=f"{tmp_path}/links",
        group_regex="([^/]+)/[^/]+$",
    )


def test_paths_and_groups_are_keyed_hashes_and_the_images_the_same(config: IndexConfig) -> None:
    summary = index(config)
    opened = manifest.read(config.output)
    paths = opened.table["path"].to_pylist()
    assert "Doe" not in f"{summary} {opened.table.to_pydict()} {opened.settings}"
    assert all(re.fullmatch(rf"{config.hash_paths}/[0-9a-f]{{32}}(\.\w+)?", path) for path in paths)
    assert paths == sorted(paths)
    ok = opened.table.filter(pc.is_null(opened.table["error"]))
    preprocessing = Preprocessing(height=32, width=32)
    for path in ok["path"].to_pylist()[:3]:
        data = Path(path).read_bytes()
        assert reading.decoded(data, preprocessing).pixels.shape == (32, 32, 1)
    assert set(ok["group"].to_pylist()) == {
        group for group in ok["group"].to_pylist() if re.fullmatch("[0-9a-f]{32}", group)
    }
    assert Path(str(config.hash_paths)).stat().st_mode & 0o777 == 0o700


def test_the_same_files_have_the_same_names_again_and_other_names_under_another_key(
    config: IndexConfig, tmp_path: Path
) -> None:
    index(config)
    first = _names(str(config.hash_paths))
    again = {**vars(config), "overwrite": True}
    index(IndexConfig(**again))
    assert _names(str(config.hash_paths)) == first
    (tmp_path / "key").write_bytes(bytes(31) + b"1")
    index(IndexConfig(**{**again, "hash_paths": f"{tmp_path}/other"}))
    assert not {*first} & {*_names(f"{tmp_path}/other")}


def test_what_cannot_be_hashed_is_refused(config: IndexConfig, tmp_path: Path) -> None:
    given = vars(config)
    for wrong in ({"group_key": None}, {"update": True}):
        with pytest.raises(ConfigError, match="hash_paths needs the key"):
            IndexConfig(**{**given, **wrong})
    with pytest.raises(InputError, match="is inside the input"):
        index(IndexConfig(**{**given, "hash_paths": f"{tmp_path}/xrays/links"}))
    with zipfile.ZipFile(tmp_path / "xrays" / "normal" / "images.zip", "w") as opened:
        opened.writestr("a.png", b"x")
    with pytest.raises(InputError, match=r"files on local disk, got .*images\.zip::a\.png"):
        index(config)
    (tmp_path / "xrays" / "normal" / "images.zip").unlink()
    index(config)
    with pytest.raises(InputError, match="has hashed paths, which cannot be updated"):
        index(IndexConfig(**{**given, "hash_paths": None, "update": True}))


def _names(folder: str) -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())
