"""Fixtures that are dear: one Ray for the session, one drawn archive, one bundle."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnjobs.cluster import node_registry
from cnnjobs.config import IndexConfig
from cnnjobs.data import manifest, synthetic
from cnnjobs.data.index import index
from tests.support.bundles import write_bundle
from tests.support.disks import disk  # noqa: F401 - a fixture
from tests.support.fault_proxy import faults  # noqa: F401 - fixtures
from tests.support.odd_server import odd  # noqa: F401 - a fixture
from tests.support.s3_server import s3, s3_environment, s3_server  # noqa: F401 - fixtures
from tests.support.users import open_folder, plain_user  # noqa: F401 - fixtures
from tests.support.without_ray import all_alone, alone  # noqa: F401 - fixtures

# Ray keeps the first token that it finds as long as a process lives, and some tests have a home
# of their own; those of tokens run Ray in other processes, without this
os.environ["RAY_AUTH_MODE"] = "disabled"

# the Ray that the tests start in this process must be closed to others, as that of a job is
os.environ.update(node_registry.LOOPBACK)

#: Folders with files that take long, the slowest first: a slow file that starts last would keep
#: one of two processes waiting.
_SLOW = ("distributed", "training", "inference", "cluster", "evaluation")

#: When slow tests that have not begun are left out, in seconds since 1970: CI has a limit.
_SLOW_UNTIL = float(os.environ.get("CNNJOBS_SLOW_UNTIL", "inf"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take long."""
    ranks = {folder: rank for rank, folder in enumerate(_SLOW)}
    items.sort(key=lambda item: ranks.get(item.path.parent.name, len(ranks)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what would take too long."""
    if item.get_closest_marker("slow") is not None and time.time() > _SLOW_UNTIL:
        pytest.skip("a slow test, and the time of CNNJOBS_SLOW_UNTIL has passed")


@pytest.fixture(scope="session")
def ray_session(s3_server: str) -> Iterator[None]:  # noqa: F811 - pytest fills it in
    """A local Ray that all tests share; jobs find it initialized and leave it running.

    Its processes inherit the keys of the S3 server, which must therefore run before.
    """
    from cnnjobs.cluster import session

    # importable in the workers also where the tests run from a checkout that is not installed
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with session.connected("local"):
        yield


@pytest.fixture(scope="session")
def ray_address(ray_session: None) -> str:
    """Where other processes find that Ray: one of their own would cost each 8 s of a core."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawings in two classes, and 5 broken files."""
    folder = tmp_path_factory.mktemp("data") / "archive"
    synthetic.write_archive(folder, num_images=40, num_broken=5, seed=3)
    return folder


@pytest.fixture(scope="session")
def untrained(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest of the archive and a bundle as its training would leave it.

    What scores does not care that nothing was learned, and a training takes 30 s of a core.
    """
    folder = tmp_path_factory.mktemp("runs") / "untrained"
    indexed = index(IndexConfig(sources=(str(archive),), output=str(folder / "manifest.parquet")))
    write_bundle(folder / "bundle", "covid-gap", seen=manifest.read(indexed.manifest))
    return folder
