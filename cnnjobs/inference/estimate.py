"""`cnnjobs predict --dry-run`: how long all images would take, from scoring a sample of them."""

from contextlib import closing
from typing import Any

import numpy as np

from cnnjobs.cluster import session
from cnnjobs.config import PredictConfig
from cnnjobs.inference import ray_pipeline
from cnnjobs.inference.plan import plan
from cnnjobs.inference.run_stats import Tally

#: Images that are scored.
_SAMPLE = 512


def estimate(config: PredictConfig) -> dict[str, Any]:
    """What `--dry-run` tells: the plan, and from scoring a sample how long all will take.

    Writes nothing. The sample is drawn with a fixed seed; start-up is told apart.

    Raises:
        InputError: see `plan`.
    """
    planned = plan(config)
    total = planned.rows.num_rows
    drawn = np.random.default_rng(0).permutation(total)[:_SAMPLE]
    sample = planned.rows.take(np.sort(drawn))
    tally = Tally(sample.num_rows, done_before=0)
    with session.connected(config.address):
        how = planned.scoring("dry-run", may_export=False)
        with closing(ray_pipeline.score(sample, how, planned.wanted)) as tables:
            for table in tables:
                tally.add(table)
        store = session.object_store_bytes()
    seconds = (tally.seconds_to_first or 0) + total / tally.steady_rate
    told = {
        "sample": sample.num_rows,
        "engine": how.engine,
        "failed in the sample": tally.failed.total(),
        "images per second": round(tally.steady_rate, 2),
        "seconds to the first images": round(tally.seconds_to_first or 0, 1),
        "hours for all": round(seconds / 3600, 3),
        "peak memory in MB": {
            name: round(number / 1e6) for name, number in tally.peak_memory_bytes().items()
        },
        # the pixels never enter it: a scorer reads, decodes and scores in one process
        "object store in MB": {
            "needed": round(planned.rows.nbytes / 1e6, 1),
            "there": round(store / 1e6),
        },
    }
    if config.price_per_hour is not None:
        told["cost"] = round(seconds / 3600 * config.price_per_hour, 2)
    return {**planned.facts, "estimate": told}
