"""The last evaluation and audit of a model, stored in its bundle, and reasons for doubt.

evaluation.json   metrics with intervals, and the images they are on
audit.json        the verdict, and the images it is on

Both name the digest of the model that they are of, and are sealed with the bundle.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cnnjobs.config import constants
from cnnjobs.errors import StorageError
from cnnjobs.models import bundle_seal, openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.storage import filesystem, json_files

EVALUATION, AUDIT = "evaluation.json", "audit.json"

#: The verdict in `evaluation.shortcut_verdict` on a model whose score survives without the lungs.
_SHORTCUT = "shortcut"


def write(
    bundle: Bundle, file: str, *, manifest: str, split: str, facts: Mapping[str, Any]
) -> bool:
    """Write a result into the bundle, replacing an older one; returns whether it was written.

    Results on images used in training are not written, nor is anything to a read-only bundle. A
    bundle without a seal is sealed, once its export was found to score as its Keras model does.

    Args:
        bundle: of the model.
        file: `EVALUATION` or `AUDIT`.
        manifest: fingerprint of the manifest of the images.
        split: of the manifest.
        facts: the result.

    Raises:
        BundleError: the export of an unsealed bundle scores differently.
    """
    if split in (constants.TRAIN, constants.VALIDATION):
        return False
    record = {
        "fingerprint": bundle.fingerprint,
        "model_digest": bundle.model_digest,
        "manifest": manifest,
        "own_test_split": manifest == bundle.manifest_fingerprint and split == constants.TEST,
        "split": split,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    if not bundle.is_sealed:
        openvino_export.check(bundle)
    try:
        if not bundle.is_sealed:
            bundle_seal.seal(bundle.uri)
        bundle_seal.add(bundle.uri, {file: json_files.text(record).encode()})
    except (StorageError, OSError):
        return False
    return True


def read(bundle: Bundle, file: str) -> dict[str, Any] | None:
    """The result that `write` wrote; None if there is none, or it belongs to another model."""
    try:
        data = filesystem.read_bytes(_uri(bundle, file), limit=json_files.MAX_BYTES)
        record = json_files.parsed(data)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    # older results only name the fingerprint that the bundle itself states
    name = "model_digest" if bundle.is_sealed else "fingerprint"
    return record if record.get(name) == getattr(bundle, name) else None


def doubts(bundle: Bundle) -> list[str]:
    """Reasons not to rely on this model's scores, each in one line."""
    unsealed = (
        f"{bundle.name} is unsealed: nothing shows whether its files are those that its training "
        "wrote; run cnnjobs evaluate, which seals it"
    )
    known = doubt(bundle)
    return [*([] if bundle.is_sealed else [unsealed]), *([] if known is None else [known])]


def doubt(bundle: Bundle) -> str | None:
    """A reason not to rely on this model's scores, in one line; None if none is known."""
    if read(bundle, EVALUATION) is None:
        return (
            f"{bundle.name} has not been evaluated: its accuracy is unknown; run cnnjobs evaluate"
        )
    audit = read(bundle, AUDIT)
    share = None if audit is None else audit.get("surviving_share")
    if audit is not None and audit.get("verdict") == _SHORTCUT and isinstance(share, int | float):
        return (
            f"{bundle.name} takes a shortcut: {share:.0%} of its score survives without the lungs; "
            "run cnnjobs audit for details"
        )
    return None


def _uri(bundle: Bundle, file: str) -> str:
    return filesystem.join(bundle.uri, file)
