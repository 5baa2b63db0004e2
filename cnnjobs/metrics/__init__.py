"""Metrics as pure NumPy functions; nothing here reads or writes files."""

from cnnjobs.metrics.bootstrap import Bootstrap, Interval
from cnnjobs.metrics.classification import Difference, Metrics, binary, differences, multiclass

__all__ = ["Bootstrap", "Difference", "Interval", "Metrics", "binary", "differences", "multiclass"]
