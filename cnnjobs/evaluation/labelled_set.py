"""Images with known labels to try a model on: that it can name, and has not seen."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import constants
from cnnjobs.data import sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.imaging.reading import Policy
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent

#: What the manifest has no error for was taken when it was indexed.
POLICY = Policy(any_modality=True)


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """What a model is tried on.

    Attributes:
        data: as it was given.
        split: of the data.
        manifest: of the images of the split that have a label.
        fingerprint: of the manifest of all the data.
        num_unlabelled: images of the split without a label.
        warning: what to know of the metrics, or None.
    """

    data: str
    split: str
    manifest: Manifest
    fingerprint: str
    num_unlabelled: int
    warning: str | None


def open_labelled(
    data: str, split: str, bundle: Bundle, progress: Progress = silent
) -> LabelledSet:
    """Read the data and check that the model can be tried on it.

    Raises:
        InputError: labels the bundle does not know, no labels, or images that the model was
            trained on (splits train and validation are taken as asked for, with a warning).
    """
    images = sources.open_data(data, progress=progress)
    rows = images.select(split)
    unknown = sorted(set(pc.unique(rows["label"]).drop_null().to_pylist()) - set(bundle.labels))
    if unknown:
        raise InputError(
            f"the bundle knows the labels {', '.join(bundle.labels)}, {data} also has "
            f"{', '.join(unknown)}; evaluate on data with the bundle's labels."
        )
    labelled = rows.filter(pc.is_valid(rows["label"]))
    if labelled.num_rows == 0:
        raise InputError(
            f"{data} has no labels in split {split}; put the images in one folder "
            "a class, or use cnnjobs predict."
        )
    return LabelledSet(
        data=data,
        split=split,
        manifest=Manifest(labelled, images.settings),
        fingerprint=images.fingerprint,
        num_unlabelled=rows.num_rows - labelled.num_rows,
        warning=_check_unseen(bundle, labelled, split, images.fingerprint),
    )


def _check_unseen(bundle: Bundle, rows: pa.Table, split: str, fingerprint: str) -> str | None:
    """Refuse a test on images the model has seen; returns a warning where none can tell."""
    if split in (constants.TRAIN, constants.VALIDATION):
        return f"split {split} made this model; its metrics say nothing of new images."
    if fingerprint == bundle.manifest_fingerprint and split == constants.TEST:
        return None
    seen = bundles.seen_images(bundle)
    hashes = rows["content_hash"]
    if hashes.null_count == rows.num_rows or seen["content_hash"].null_count == seen.num_rows:
        return (
            "this is not the manifest the model was trained on, and without content hashes "
            "nobody can tell whether it has seen these images; index with --content."
        )
    known = rows.filter(pc.is_in(hashes, pc.drop_null(seen["content_hash"].combine_chunks())))
    known = known.filter(pc.is_valid(known["content_hash"]))
    if known.num_rows:
        raise InputError(
            f"{known.num_rows} of these {rows.num_rows} images made the model "
            f"({known['path'][0]} the first); evaluate on the test split of its own manifest, "
            "or on other images."
        )
    return None
