"""Log a finished training to an MLflow store; needs the extra `mlflow`."""

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnjobs.errors import ConfigError, StorageError

EXPERIMENT = "cnnjobs"

_DATABASES = ("sqlite:", "postgresql:", "mysql:", "mssql:")

#: MLflow's default is 7, which takes minutes.
_RETRIES = "2"


def check(uri: str) -> None:
    """Check that runs can be logged there; creates the experiment if it does not exist.

    Raises:
        ConfigError: the package is not installed.
        StorageError: the store cannot be opened.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "mlflow needs the package mlflow-skinny; install it: pip install 'cnnjobs[mlflow]'."
        )
    if uri.startswith(_DATABASES) and importlib.util.find_spec("sqlalchemy") is None:
        raise ConfigError(
            f"mlflow needs its full package to write to {uri}; install it: pip install mlflow."
        )
    with _opened(uri) as client:
        _experiment(client)


def log(
    uri: str,
    *,
    name: str,
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, float | None]],
    tags: Mapping[str, str],
    files: Mapping[str, bytes],
) -> str:
    """Log one run with one step per epoch; returns its MLflow id.

    Args:
        uri: of the store: a folder, `sqlite:///file` or `http://host:port`.
        name: of the run.
        settings: logged as params.
        history: one mapping per epoch, with `epoch`; None is not logged.
        tags: to find the run by.
        files: content of each artifact, by name.
    """
    from mlflow.entities import Metric, Param

    with _opened(uri) as client, tempfile.TemporaryDirectory() as folder:
        run = client.create_run(_experiment(client), run_name=name, tags=dict(tags))
        run_id: str = run.info.run_id
        params = [Param(key, str(value)) for key, value in settings.items()]
        client.log_batch(run_id, params=params)
        for epoch in history:
            step = int(epoch["epoch"] or 0)
            metrics = [
                Metric(key, float(value), run.info.start_time, step)
                for key, value in epoch.items()
                if key != "epoch" and value is not None
            ]
            client.log_batch(run_id, metrics=metrics)
        for file, content in files.items():
            Path(folder, file).write_bytes(content)
        client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
    return run_id


def _experiment(client: Any) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id if found is not None else client.create_experiment(EXPERIMENT))


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[Any]:
    """MLflow's client for the store; its errors become a `StorageError` of one line."""
    # MLflow 3 refuses folders without this; here the user has named one on purpose
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _RETRIES)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=uri)
    except (MlflowException, OSError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise StorageError(f"MLflow's store {uri} cannot be used: {first}.") from error
