"""Values that appear in tables and settings."""

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

#: File names taken to be images; everything else in a folder is counted as ignored.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp"),
    *(".dcm", ".dicom"),
)

#: Largest size of an image file: more than 200 megapixels of 16 bits, uncompressed.
MAX_BYTES = 512 << 20

#: The first word of a row's `error`.
ERROR_CATEGORIES = (
    "empty",  # no bytes at all
    "not an image",  # no decoder recognizes these bytes
    "truncated",  # the file ends before its format says so
    "damaged",  # checksums or contents are wrong
    "unsupported",  # an image, but of a kind that is not supported, or without a defined gray value
    "too large",  # more pixels, bytes or parts than are allowed, or than there is memory for
    "missing",  # deleted since it was indexed
    "permission",  # reading is not permitted
    "unreadable",  # the storage failed otherwise
    "timed out",  # took longer than `image_timeout`
    "crashed",  # ended the process that scored it, twice, and the second time alone
)

#: Those that may be gone at the next attempt.
TRANSIENT_ERRORS = ("missing", "permission", "unreadable")

#: DICOM attributes by which a table may name images, most specific first.
DICOM_KEYS = ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID")

#: Paths of files that may be DICOM.
DICOM_NAME = r"(?i)(\.dcm|\.dicom|(^|/)[^./]*)$"
