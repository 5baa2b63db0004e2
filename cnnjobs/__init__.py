"""Train a CNN on chest X-rays and score archives of them, on a laptop or a Ray cluster."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cnnjobs")
except PackageNotFoundError:
    # a working directory sent to a cluster is imported without being installed
    __version__ = "0+unknown"
