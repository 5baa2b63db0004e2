"""Tests of a model on images of other collections, kept with its evaluation in the bundle.

`cnnjobs evaluate --beside` makes them. Of each set, the last test is kept.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cnnjobs.config.printable import counted
from cnnjobs.models import model_card
from cnnjobs.models.bundle import Bundle

#: Of the list in `evaluation.json`.
KEY = "external"

#: The AUROC of guessing.
CHANCE = 0.5


def merged(bundle: Bundle, tests: Mapping[str, Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The tests in the bundle and new ones, which replace those of the same images.

    Args:
        bundle: of the model.
        tests: summaries of sets, by the fingerprint of their manifest. That of the training is
            no external test.
    """
    date = datetime.now(UTC).isoformat(timespec="seconds")
    known = {test["manifest"]: test for test in read(bundle)}
    for manifest, summary in tests.items():
        if manifest != bundle.manifest_fingerprint:
            known[manifest] = {
                "set": set_name(summary["data"]),
                "manifest": manifest,
                "date": date,
                "num_images": summary["num_images"],
                "counts": summary["counts"],
                "auroc": summary["metrics"].get("auroc"),
                "interval": summary["intervals"].get("auroc"),
            }
    return list(known.values())


def read(bundle: Bundle) -> Sequence[Mapping[str, Any]]:
    """The tests that the bundle keeps."""
    tests = (model_card.read(bundle, model_card.EVALUATION) or {}).get(KEY)
    if not isinstance(tests, list):
        return []
    return [test for test in tests if isinstance(test, dict) and "manifest" in test]


def sentence(test: Mapping[str, Any]) -> str:
    """The result of a test, and whether the model may be used there."""
    value, interval = test.get("auroc"), test.get("interval")
    images = counted(test["num_images"], "image")
    tested = f"external test on {images} of {test['set']} ({test['date'][:10]})"
    if value is None or interval is None:
        return f"{tested}: too few images for an AUROC with its interval"
    result = f"{tested}: AUROC {value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
    if is_above_chance(test):
        return result
    return f"{result}: no better than chance at {test['set']}: do not use there"


def is_above_chance(test: Mapping[str, Any]) -> bool:
    """Whether the whole interval of the AUROC is above 0.5."""
    interval = test.get("interval")
    return interval is not None and interval[0] > CHANCE


def missing(bundle: Bundle) -> str | None:
    """Why no external test is a reason to use the model; None if one is."""
    tests = read(bundle)
    if any(map(is_above_chance, tests)):
        return None
    if not tests:
        return f"{bundle.name} has no external test; run cnnjobs evaluate --beside DATA"
    return f"{bundle.name} has no external test above chance; {sentence(tests[-1])}"


def set_name(data: str) -> str:
    """The last part of a location that says something."""
    parts = [part for part in data.split("/") if part]
    if len(parts) > 1 and parts[-1] == "manifest.parquet":
        parts.pop()
    return parts[-1].removesuffix(".parquet") if parts else data
