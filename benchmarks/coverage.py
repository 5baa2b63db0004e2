"""Coverage of the 95% intervals of shares and AUROCs, by simulation of images of patients.

A patient's images share a part of what makes them right or wrong: the correlation of a latent
normal variable. Sizes of 1 to 5 are mixed: patients have one, two, three, four or five images in
turn.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import binom

from cnnjobs.metrics import share_intervals

SHARE, AUROC = "share", "auroc"

#: Images per patient; `MIXED` is 1 to 5.
MIXED = 0
_IMAGES_PER_PATIENT = (1, 2, MIXED, 5)
_NUM_IMAGES = (10, 20, 50, 100, 200, 500)
_VALUES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)

#: With fewer patients there are no intervals, see `metrics.bootstrap`.
_MIN_PATIENTS = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """Samples to draw: the true `value` of a share or AUROC of `num_images` images."""

    kind: str
    value: float
    num_images: int
    images_per_patient: int
    correlation: float = 0.5

    def __str__(self) -> str:
        """Such as `share 0.9 of 100 images, 5 per patient`."""
        each = self.images_per_patient or "1 to 5"
        return f"{self.kind} {self.value:g} of {self.num_images} images, {each} per patient"


#: What the tests repeat, quickly.
TESTED = tuple(
    Case(kind=kind, value=value, num_images=num_images, images_per_patient=each)
    for kind, value, num_images, each in (
        (SHARE, 0.8, 50, 1),
        (SHARE, 0.9, 100, MIXED),
        (SHARE, 0.95, 200, 5),
        (SHARE, 0.7, 50, 5),
        (AUROC, 0.8, 50, 1),
        (AUROC, 0.98, 100, 1),
        (AUROC, 0.9, 100, 5),
    )
)


def print_tables(repeats: int, correlation: float) -> None:
    """Print a table of shares and one of AUROCs, then how many cases are within 93% to 97%."""
    for kind in (SHARE, AUROC):
        print(f"{kind:<20}" + "".join(f"{value:>7g}" for value in _VALUES))
        everything = []
        for each in _IMAGES_PER_PATIENT:
            for num_images in _NUM_IMAGES:
                cases = [
                    Case(
                        kind=kind,
                        value=value,
                        num_images=num_images,
                        images_per_patient=each,
                        correlation=correlation,
                    )
                    for value in _VALUES
                ]
                if len(_sizes(cases[0])) < _MIN_PATIENTS:
                    continue
                found = [covered(case, repeats=repeats, seed=1) for case in cases]
                everything += found[:-1]
                name = f"{num_images} images, {each or '1-5'} each"
                print(f"{name:<20}" + "".join(f"{share:>7.3f}" for share in found))
        _print_summary(everything)
    print(f"out of reach of every interval: {'; '.join(_out_of_reach())}")


def covered(case: Case, *, repeats: int, seed: int) -> float:
    """The share of samples whose interval contains the true value."""
    sizes = _sizes(case)
    patient = np.repeat(np.arange(len(sizes)), sizes)
    # alternately positive and negative, as patients
    positive = (np.arange(len(sizes)) % 2 == 0)[patient]
    num_covered = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        noise = np.sqrt(case.correlation) * rng.normal(size=len(sizes))[patient] + np.sqrt(
            1 - case.correlation
        ) * rng.normal(size=len(patient))
        if case.kind == SHARE:
            found = share_intervals.of_share(noise < ndtri(case.value), patient)
        else:
            apart = np.sqrt(2) * min(float(ndtri(case.value)), 1e3)
            found = share_intervals.of_auroc(noise + apart * positive, positive, patient)
        assert found is not None
        num_covered += found[0] <= case.value <= found[1]
    return num_covered / repeats


def _sizes(case: Case) -> NDArray[np.int64]:
    """Images of each patient."""
    sizes = np.full(case.num_images, case.images_per_patient or 1)
    if case.images_per_patient == MIXED:
        sizes = np.arange(case.num_images) % 5 + 1
    return sizes[: int(np.searchsorted(np.cumsum(sizes), case.num_images)) + 1]


def _out_of_reach() -> list[str]:
    """Shares of independent images that no interval covers in 93% to 97% of the samples.

    An interval covers a share for some successive numbers of successes, among them the most
    probable one. Where no such numbers have a probability of 93% to 97%, no interval has.
    """
    found = []
    for number in _NUM_IMAGES:
        for value in _VALUES[:-1]:
            probabilities = binom.pmf(np.arange(number + 1), number, value)
            below, mode = np.r_[0, np.cumsum(probabilities)], int(probabilities.argmax())
            sums = below[np.newaxis, mode + 1 :] - below[: mode + 1, np.newaxis]
            if not ((sums >= 0.93) & (sums <= 0.97)).any():
                found.append(f"share {value:g} of {number}")
    return found


def _print_summary(coverages: Iterable[float]) -> None:
    shares = np.array(list(coverages))
    print(
        f"below 1: {len(shares)} cases, mean {shares.mean():.3f}, lowest {shares.min():.3f}; "
        f"{(shares < 0.93).sum()} below 0.93, {(shares > 0.97).sum()} above 0.97\n"
    )
