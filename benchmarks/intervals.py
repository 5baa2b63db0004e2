"""Coverage of the 95% intervals of `cnnjobs evaluate` that are resampled, by simulation.

Draws test sets of patients with known labels and scores, some with several correlated images, and
counts the intervals that contain the value of 400,000 patients.
"""

import numpy as np

from cnnjobs import metrics
from cnnjobs.metrics import Bootstrap, Metrics

#: Metrics with intervals from resampling; `coverage` has the others.
SHOWN = ("mcc", "auprc", "brier", "ece")
REPEATS, RESAMPLES = 400, 500


def print_coverage() -> None:
    """Print one row per metric: coverage by number of patients, resampled by group or by image."""
    truth = _measured(400_000, seed=0, resamples=0).values
    kinds = [(number, by) for number in (40, 200) for by in ("group", "image")]
    covered = {kind: np.zeros(len(SHOWN)) for kind in kinds}
    for repeat in range(REPEATS):
        for number, by in kinds:
            found = _measured(number, seed=repeat + 1, resamples=RESAMPLES, by=by).intervals
            for row, name in enumerate(SHOWN):
                ends = found[name]
                assert ends is not None
                covered[number, by][row] += ends[0] <= (truth[name] or 0) <= ends[1]
    print(f"{'patients':<12}" + "".join(f"{number:>12}" for number, _ in kinds))
    print(f"{'drawn by':<12}" + "".join(f"{by:>12}" for _, by in kinds))
    for row, name in enumerate(SHOWN):
        shares = [covered[kind][row] / REPEATS for kind in kinds]
        print(f"{name:<12}" + "".join(f"{share:>12.3f}" for share in shares))


def _measured(number: int, *, seed: int, resamples: int, by: str = "group") -> Metrics:
    """Metrics of `number` patients with 1 to 5 correlated images each."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 6, number)
    positive = rng.random(number) < 0.4
    patient = np.repeat(np.arange(number), images)
    logits = rng.normal(2.2 * positive - 1.1, 1.2)[patient] + rng.normal(0, 0.7, len(patient))
    groups = patient if by == "group" else np.arange(len(patient))
    return metrics.binary(
        np.where(positive[patient], "covid", "normal").tolist(),
        (1 / (1 + np.exp(-logits))).astype(np.float32),
        positive="covid",
        negative="normal",
        threshold=0.5,
        bootstrap=Bootstrap(groups=groups.astype(str).tolist(), resamples=resamples, seed=seed),
    )
