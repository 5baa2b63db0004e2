"""What a bundle carries of how it did: its last evaluation and audit, and what they lack.

evaluation.json   metrics with intervals, and of which images
audit.json        the verdict, and of which images
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cnnjobs.config import constants
from cnnjobs.errors import StorageError
from cnnjobs.models.bundle import Bundle
from cnnjobs.storage import filesystem

EVALUATION, AUDIT = "evaluation.json", "audit.json"

#: As `verdicts` writes it.
_SHORTCUT = "shortcut"


def carry(
    bundle: Bundle, file: str, *, manifest: str, split: str, facts: Mapping[str, Any]
) -> bool:
    """Write a file of evidence into the bundle, in place of an older one; whether it was.

    Nothing that was seen in training is evidence, and where a bundle may not be written it
    carries none.

    Args:
        bundle: as read.
        file: `EVALUATION` or `AUDIT`.
        manifest: fingerprint of the images' manifest.
        split: of it.
        facts: what was found.
    """
    if split in (constants.TRAIN, constants.VALIDATION):
        return False
    record = {
        "fingerprint": bundle.fingerprint,
        "manifest": manifest,
        "own_test_split": manifest == bundle.manifest_fingerprint and split == constants.TEST,
        "split": split,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    try:
        filesystem.write_bytes(_place(bundle, file), json.dumps(record, indent=2).encode())
    except (StorageError, OSError):
        return False
    return True


def carried(bundle: Bundle, file: str) -> dict[str, Any] | None:
    """What `carry` wrote; None if there is nothing, or it is of another model."""
    try:
        record = json.loads(filesystem.read_bytes(_place(bundle, file)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("fingerprint") != bundle.fingerprint:
        return None
    return record


def doubt(bundle: Bundle) -> str | None:
    """Why nobody should rely on this model's scores, in one line; None if no reason is known."""
    if carried(bundle, EVALUATION) is None:
        return (
            f"{bundle.name} was never evaluated: nobody knows how often it is right; "
            "cnnjobs evaluate tells"
        )
    audit = carried(bundle, AUDIT)
    if audit is not None and audit.get("verdict") == _SHORTCUT:
        return (
            f"{bundle.name} takes a shortcut: {audit['surviving_share']:.0%} of its score "
            "survives without the lungs; cnnjobs audit tells more"
        )
    return None


def _place(bundle: Bundle, file: str) -> str:
    return filesystem.join(bundle.uri, file)
