"""Copies that are not equal in content: found by `index`, and nothing else taken for a copy."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import IndexConfig
from cnnjobs.data.index import index
from cnnjobs.data.phantoms import phantom
from tests.support.copies import COPIES

NUM_IMAGES = 8


@pytest.mark.parametrize("change", COPIES)
def test_changed_copies_share_the_group_of_their_image_and_no_others_do(
    change: str, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(NUM_IMAGES):
        image = phantom(np.random.default_rng(seed), height=400, width=380, opacity=seed % 2 == 1)
        cv2.imwrite(str(folder / f"{seed}-original.png"), image)
        cv2.imwrite(str(folder / f"{seed}-copy.png"), COPIES[change](image))
    config = IndexConfig(sources=(str(folder),), output=str(tmp_path / "m.parquet"), split=False)
    summary = index(config)
    rows = pq.read_table(summary.manifest, columns=["path", "group"]).to_pylist()
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row["group"], set()).add(Path(row["path"]).name.partition("-")[0])
    assert sorted(groups.values(), key=min) == [{str(seed)} for seed in range(NUM_IMAGES)]
    assert summary.num_near_copies == NUM_IMAGES
