"""Fixtures that are dear: one Ray for the session, one drawn archive, one trained bundle."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnjobs import synthetic
from cnnjobs.config import TrainConfig
from tests.fault_proxy import faults  # noqa: F401 - fixtures
from tests.s3_server import s3, s3_environment, s3_server  # noqa: F401 - fixtures

# Ray keeps the first token that it finds as long as a process lives, and some tests have a home
# of their own; those of tokens run Ray in other processes, without this
os.environ["RAY_AUTH_MODE"] = "disabled"


#: Folders whose files take long; what starts last would keep one of two processes waiting.
_FIRST = ("training", "faults", "integration")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long."""
    ranks = {folder: rank for rank, folder in enumerate(_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.parent.name, len(ranks)))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray that all tests share; jobs find it initialized and leave it running."""
    from cnnjobs import cluster

    # importable in the workers also where the tests run from a checkout that is not installed
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with cluster.connected("local"):
        yield


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawings in two classes, and 5 broken files."""
    folder = tmp_path_factory.mktemp("data") / "archive"
    synthetic.write_archive(folder, num_images=40, num_broken=5, seed=3)
    return folder


@pytest.fixture(scope="session")
def trained(ray_session: None, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a training on the archive: one epoch, enough to score with."""
    from cnnjobs.train import train

    output = tmp_path_factory.mktemp("runs") / "trained"
    train(TrainConfig(data=str(archive), output=str(output), epochs=1))
    return output


@pytest.fixture(scope="session")
def trained_again(
    ray_session: None, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the same training as `run` once more, and MLflow's record of it as `store`."""
    from cnnjobs.train import train

    folder = tmp_path_factory.mktemp("again")
    output, store = str(folder / "run"), str(folder / "store")
    train(TrainConfig(data=str(archive), output=output, epochs=1, mlflow=store))
    return folder
