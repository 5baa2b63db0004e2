"""Broken and unusual files through the whole job: each becomes the right row."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.inference.predict import predict
from cnnjobs.models.bundle import Bundle
from tests.support import corpus
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def bundle(all_alone: None, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "gap", "covid-gap")


@pytest.mark.parametrize("damaged", ["error", "score"])
def test_every_unusual_file_becomes_the_right_row(
    bundle: Bundle, tmp_path: Path, damaged: str
) -> None:
    folder = tmp_path / "corpus"
    outcomes = corpus.write(folder)

    summary = predict(
        PredictConfig(
            bundle=bundle.uri, data=str(folder), output=str(tmp_path / "run"), damaged=damaged
        )
    )

    found = {}
    for row in pq.read_table(tmp_path / "run" / "predictions").to_pylist():
        name = row["path"].removeprefix(f"{folder}/")
        category = corpus.WARNING if row["warning"] is not None else corpus.SOUND
        found[name] = category if row["error"] is None else row["error"].partition(":")[0]
        assert (row["probability"] is None) == (row["error"] is not None), name
    which = "default" if damaged == "error" else "kept"
    expected = {name: getattr(outcome, which) for name, outcome in outcomes.items()}
    assert len(expected) >= 60
    assert found == {name: each for name, each in expected.items() if name in found}
    absent = set(expected) - set(found)
    assert {expected[name] for name in absent} <= {corpus.ABSENT}
    assert summary.indexed == len(found)
