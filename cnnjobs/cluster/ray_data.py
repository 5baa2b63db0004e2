"""Ray Data as every job uses it: quiet and in order."""

import contextlib
import logging
from collections.abc import Iterator

import ray.data


@contextlib.contextmanager
def quiet_and_ordered() -> Iterator[None]:
    """Make datasets created in the block keep the order of their rows and print nothing.

    Their errors are raised. Datasets that the caller creates elsewhere keep the caller's settings.
    """
    # Ray Data logs an error with its stack before it raises it, whether or not it is handled
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    with ray.data.DataContext.current(context):
        yield
