"""The words that stand in tables and settings."""

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

#: File names that are taken for images; everything else in a folder is counted as ignored.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp"),
    *(".dcm", ".dicom"),
)

#: The first word of a row's `error`.
ERROR_CATEGORIES = (
    "empty",  # no bytes at all
    "not an image",  # no decoder knows these bytes
    "truncated",  # the file stops before its format says so
    "damaged",  # checksums or contents are broken
    "unsupported",  # an image, but of a kind that is not read, or without a defined gray value
    "too large",  # more pixels than `max_pixels`, refused before any is allocated
    "missing",  # gone since it was indexed
    "permission",  # may not be read
    "unreadable",  # the storage failed
)
