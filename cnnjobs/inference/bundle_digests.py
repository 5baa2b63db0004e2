"""`cnnjobs bundle show` and `bundle verify`: whose model it is, and whether it is unchanged."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs.config import BundleConfig
from cnnjobs.errors import CnnjobsError
from cnnjobs.models import bundle as bundles
from cnnjobs.models import model_card, openvino_export
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import s3


@dataclass(frozen=True, kw_only=True)
class BundleSummary:
    """What a bundle is, by digests computed from its files.

    Attributes:
        bundle: where it is.
        model: its name, as in the `model` column of predictions.
        digest: of all files.
        model_digest: of the model alone, which an evaluation or audit does not change.
        is_sealed: whether `SHA256SUMS` says the same.
        files: SHA-256 of each.
        created: when it was trained.
        evaluated: when it was last evaluated; None if it was not.
        audited: when it was last audited; None if it was not.
        doubts: see `model_card.doubts`.
        differences: largest difference of the networks for OpenVINO from Keras' probabilities, on
            noise, by precision (fp32, int8); empty if there are none, or they were not compared.
    """

    bundle: str
    model: str
    digest: str
    model_digest: str
    is_sealed: bool
    files: Mapping[str, str]
    created: str
    evaluated: str | None
    audited: str | None
    doubts: Sequence[str]
    differences: Mapping[str, float] = dataclasses.field(default_factory=dict)


def plan(config: BundleConfig) -> dict[str, Any]:
    """What `--dry-run` prints."""
    return {"model": show(config).model}


def show(config: BundleConfig, progress: Progress = silent) -> BundleSummary:
    """Open a bundle and digest its files.

    Raises:
        BundleError: it cannot be opened, is not the one that was sealed, or not the expected one.
    """
    return _summary(config, compare=False)


def verify(config: BundleConfig, progress: Progress = silent) -> BundleSummary:
    """Also load the model, and compare its networks for OpenVINO with it.

    Raises:
        BundleError: as `show`; or one scores differently.
    """
    progress("verify", 0, None)
    return _summary(config, compare=True)


def judge(summary: BundleSummary) -> None:
    """Raise CnnjobsError for a bundle without a seal."""
    if not summary.is_sealed:
        raise CnnjobsError(
            f"{summary.bundle} is unsealed: nothing shows whether its files are those that its "
            "training wrote; run cnnjobs evaluate, which seals it."
        )


def _summary(config: BundleConfig, *, compare: bool) -> BundleSummary:
    s3.use(**config.s3)
    bundle = bundles.read(config.bundle, expect=config.expect)
    differences = {}
    if compare:
        bundles.load_model(bundle)
        for precision in ("fp32", "int8"):
            difference = openvino_export.check(dataclasses.replace(bundle, variant=precision))
            if difference is not None:
                differences[precision] = difference
    evaluation, audit = (
        model_card.read(bundle, name) for name in (model_card.EVALUATION, model_card.AUDIT)
    )
    return BundleSummary(
        bundle=bundle.uri,
        model=bundle.name,
        digest=bundle.digest,
        model_digest=bundle.model_digest,
        is_sealed=bundle.is_sealed,
        files=dict(sorted(bundle.parts.items())),
        created=bundle.created,
        evaluated=None if evaluation is None else str(evaluation.get("date")),
        audited=None if audit is None else str(audit.get("date")),
        doubts=model_card.doubts(bundle),
        differences=differences,
    )
