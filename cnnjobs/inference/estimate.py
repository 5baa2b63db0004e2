"""`cnnjobs predict --dry-run`: score a sample and estimate the time and cost of the whole job."""

from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa

from cnnjobs.config import PredictConfig
from cnnjobs.inference import backends
from cnnjobs.inference.plan import PredictPlan, plan
from cnnjobs.inference.run_stats import Tally

#: Images in the sample.
_SAMPLE = 512


def estimate(config: PredictConfig) -> dict[str, Any]:
    """The plan, and an estimate for the images that have no row yet from scoring a sample.

    Writes nothing. The sample is drawn with a fixed seed; start-up time is reported separately.

    Raises:
        InputError: see `plan`.
    """
    planned = plan(config)
    total = planned.num_left
    if not total:
        cost = {} if config.price_per_hour is None else {"cost": 0.0}
        return {**planned.facts, "estimate": {"to score": 0, "hours for all": 0.0, **cost}}
    sample, window_bytes = _sample(planned)
    tally = Tally(sample.num_rows, done_before=0)
    # where the whole job will be scored
    with backends.started(config, total) as backend:
        scoring = backends.choose_engine(backend, planned.scoring("dry-run"), may_export=False)
        with closing(backends.score(backend, sample, scoring)) as tables:
            for table in tables:
                tally.add(table)
        store = backend.object_store_bytes
    seconds = (tally.seconds_to_first or 0) + total / tally.steady_rate
    estimated = {
        "to score": total,
        "sample": sample.num_rows,
        "engine": scoring.engine,
        "failed in the sample": tally.failed.total(),
        "images per second": round(tally.steady_rate, 2),
        "seconds to the first images": round(tally.seconds_to_first or 0, 1),
        "hours for all": round(seconds / 3600, 3),
        "peak memory in MB": {
            name: round(number / 1e6) for name, number in tally.peak_memory_bytes().items()
        },
    }
    if store is not None:
        # paths and results only: an actor reads, decodes and scores in one process
        estimated["object store in MB"] = {
            "needed": round(window_bytes / 1e6, 1),
            "there": round(store / 1e6),
        }
    if config.price_per_hour is not None:
        estimated["cost"] = round(seconds / 3600 * config.price_per_hour, 2)
    return {**planned.facts, "estimate": estimated}


def _sample(planned: PredictPlan) -> tuple[pa.Table, int]:
    """Images that have no row yet, drawn at random, and the bytes of the largest window."""
    total = planned.num_left
    drawn = np.sort(np.random.default_rng(0).choice(total, min(_SAMPLE, total), replace=False))
    taken, start, most = [], 0, 0
    for window in planned.windows():
        inside = drawn[(start <= drawn) & (drawn < start + window.num_rows)] - start
        taken.append(window.take(inside))
        start += window.num_rows
        most = max(most, window.nbytes)
    return pa.concat_tables(taken), most
