"""Inputs and finished runs that several files of tests share."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from cnnjobs.data import synthetic
from cnnjobs.inference.predict import predict
from tests.support import archives, disturbed_runs, prediction_runs


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive and a bundle."""
    folder = tmp_path_factory.mktemp("inputs")
    archives.write_archive(
        folder / "archive", disturbed_runs.NUM_IMAGES, num_broken=disturbed_runs.NUM_BROKEN
    )
    archives.write_bundle(str(folder / "bundle"))
    return folder


@pytest.fixture(scope="session")
def undisturbed(
    ray_session: None, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> pa.Table:
    """The rows of a run that nothing disturbs."""
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    predict(disturbed_runs.run_config(inputs, output))
    rows = disturbed_runs.read_rows(output)
    assert rows.num_rows == len(set(rows["path"].to_pylist())) == disturbed_runs.NUM_IMAGES
    assert rows["error"].null_count == disturbed_runs.NUM_IMAGES - disturbed_runs.NUM_BROKEN
    return rows


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawings in two classes, and 2 broken files."""
    folder = tmp_path_factory.mktemp("drawn") / "archive"
    synthetic.write_archive(folder, num_images=40, num_broken=2, seed=5)
    return folder


@pytest.fixture(scope="module")
def scored_folder(untrained: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive and its run, which has three parts and a CSV file."""
    folder = tmp_path_factory.mktemp("scored")
    shutil.copytree(drawn, folder / "archive")
    predict(prediction_runs.config(untrained, folder, csv=True, rows_per_file=16))
    return folder
