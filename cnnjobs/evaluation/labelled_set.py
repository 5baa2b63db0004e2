"""Labelled images for testing a model: it knows their labels and was not trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import constants
from cnnjobs.data import sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import ImageError, InputError
from cnnjobs.imaging import reading
from cnnjobs.imaging.preprocessing import Decoded
from cnnjobs.imaging.reading import Policy
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent

#: Images without an error in the manifest were accepted when they were indexed.
POLICY = Policy(any_modality=True)


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """The labelled images of a split.

    Attributes:
        data: the source, as given.
        split: of the data.
        manifest: the images of the split that have a label.
        fingerprint: of the manifest of all the data.
        num_unlabelled: images of the split without a label.
        warning: a caveat about the metrics, or None.
    """

    data: str
    split: str
    manifest: Manifest
    fingerprint: str
    num_unlabelled: int
    warning: str | None


def open_labelled(
    data: str,
    split: str,
    bundle: Bundle,
    progress: Progress = silent,
    *,
    exclude: Sequence[str] = (),
    allowed_root: Sequence[str] = (),
) -> LabelledSet:
    """Read the data and check that the model can be tested on it.

    Raises:
        InputError: labels that the bundle does not know, no labels, or images that the model was
            trained on (splits train and validation are accepted, with a warning).
    """
    images = sources.open_data(data, exclude=exclude, allowed_root=allowed_root, progress=progress)
    rows = images.select(split)
    unknown = sorted(set(pc.unique(rows["label"]).drop_null().to_pylist()) - set(bundle.labels))
    if unknown:
        raise InputError(
            f"{data} has labels that the bundle does not know: {', '.join(unknown)}; evaluate on "
            f"images labelled {', '.join(bundle.labels)}."
        )
    labelled = rows.filter(pc.is_valid(rows["label"]))
    if labelled.num_rows == 0:
        raise InputError(
            f"{data} has no labels in split {split}; put the images in one folder per class, or "
            "use cnnjobs predict."
        )
    return LabelledSet(
        data=data,
        split=split,
        manifest=Manifest(labelled, images.settings),
        fingerprint=images.fingerprint,
        num_unlabelled=rows.num_rows - labelled.num_rows,
        warning=_check_unseen(bundle, labelled, split, images.fingerprint),
    )


def read_image(path: str, bundle: Bundle) -> tuple[bytes, Decoded] | ImageError:
    """A file of a labelled set and its pixels for the model, or what is wrong with it.

    Raises:
        SourceError: it cannot be read by a fault that is not its own.
    """
    try:
        data = reading.read_image(path)
    except ImageError as error:
        reading.raise_if_of_source(path, error)
        return error
    decoded = reading.decoded(data, bundle.preprocessing, POLICY)
    return decoded if isinstance(decoded, ImageError) else (data, decoded)


def _check_unseen(bundle: Bundle, rows: pa.Table, split: str, fingerprint: str) -> str | None:
    """Refuse images that the model was trained on; return a warning if that is not known."""
    if split in (constants.TRAIN, constants.VALIDATION):
        return f"split {split} was used in training; its metrics say nothing about new images."
    if fingerprint == bundle.manifest_fingerprint and split == constants.TEST:
        return None
    seen = bundles.seen_images(bundle)
    hashes = rows["content_hash"]
    if hashes.null_count == rows.num_rows or seen["content_hash"].null_count == seen.num_rows:
        return (
            "this is not the manifest the model was trained on, and without content hashes it is "
            "unknown whether the model has seen these images; index with --content."
        )
    known = rows.filter(pc.is_in(hashes, pc.drop_null(seen["content_hash"].combine_chunks())))
    known = known.filter(pc.is_valid(known["content_hash"]))
    if known.num_rows:
        raise InputError(
            f"{known.num_rows} of these {rows.num_rows} images were used to train the model, for "
            f"example {known['path'][0]}; evaluate on the test split of its manifest or on other "
            "images."
        )
    return None
