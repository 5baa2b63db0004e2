"""How often the 95 % intervals of `cnnjobs evaluate` hold the true value, by simulation.

    python -m benchmarks intervals

Draws test sets of patients with known labels and scores, some patients with several images that
are alike, and counts the intervals that hold what 400,000 patients have.
"""

import numpy as np

from cnnjobs import metrics
from cnnjobs.metrics import Bootstrap, Metrics

SHOWN = ("accuracy", "sensitivity", "ppv", "mcc", "auroc", "auprc", "brier", "ece")
REPEATS, RESAMPLES = 400, 500


def main() -> None:
    """Print a row a metric: the coverage at each number of patients, by group and by image."""
    truth = _measured(400_000, seed=0, resamples=0).values
    kinds = [(number, by) for number in (40, 200) for by in ("group", "image")]
    covered = {kind: np.zeros(len(SHOWN)) for kind in kinds}
    for repeat in range(REPEATS):
        for number, by in kinds:
            found = _measured(number, seed=repeat + 1, resamples=RESAMPLES, by=by).intervals
            for place, name in enumerate(SHOWN):
                ends = found[name]
                assert ends is not None
                covered[number, by][place] += ends[0] <= (truth[name] or 0) <= ends[1]
    print(f"{'patients':<12}" + "".join(f"{number:>12}" for number, _ in kinds))
    print(f"{'drawn by':<12}" + "".join(f"{by:>12}" for _, by in kinds))
    for place, name in enumerate(SHOWN):
        shares = [covered[kind][place] / REPEATS for kind in kinds]
        print(f"{name:<12}" + "".join(f"{share:>12.3f}" for share in shares))


def _measured(number: int, *, seed: int, resamples: int, by: str = "group") -> Metrics:
    """Metrics of so many patients with 1 to 5 images each, whose scores go together."""
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


if __name__ == "__main__":
    main()
