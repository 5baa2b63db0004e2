"""One page of a TIFF: what its directory says, checked, and its strips or tiles as stored."""

import numpy as np

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import BAND_BYTES, check_bytes, check_size, tiff_tags

#: Numbers of tags.
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_SIZES, PLANAR = 273, 274, 277, 278, 279, 284
PREDICTOR, PALETTE, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES = 317, 320, 322, 323, 324, 325
EXTRA, FORMAT, JPEG_TABLES, BLACK_LEVEL, XMP = 338, 339, 347, 532, 700

#: The largest value in use, whatever the samples are, and of each kind of sample.
_MAX_VALUE, _MAX_SAMPLE_VALUE = 281, 341

#: Largest number of strips or tiles; each takes some microseconds, and many of a JPEG.
_MAX_CHUNKS = 1 << 18
_MAX_JPEGS = 1 << 15

#: Compressions: none, CCITT (three), LZW, JPEG, deflate (two), PackBits.
NONE, CCITT, LZW, JPEG, DEFLATE, PACK_BITS = 1, (2, 3, 4), 5, 7, (8, 32946), 32773
_COMPRESSIONS = {
    NONE: "not compressed",
    **dict.fromkeys(CCITT, "CCITT"),
    LZW: "LZW",
    JPEG: "JPEG",
    **dict.fromkeys(DEFLATE, "deflate"),
    PACK_BITS: "PackBits",
}

#: Photometric interpretations, and how many samples of a pixel are its color.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, INDEXED, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
NUM_COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, INDEXED: 1, CMYK: 4, YCBCR: 3}

_PHOTOMETRIC = {
    WHITE_IS_ZERO: "white is zero",
    BLACK_IS_ZERO: "black is zero",
    RGB: "RGB",
    INDEXED: "palette",
    CMYK: "CMYK",
    YCBCR: "YCbCr",
}

#: Extra samples: alpha that the colors are premultiplied by, and alpha that they are not.
PREMULTIPLIED, ALPHA = 1, 2
_MAX_SAMPLES = 8

#: Bytes of the largest strip, or row of tiles, that libtiff decompresses as a whole.
_MAX_AT_ONCE = 512 << 20

#: Largest tables of a JPEG, which precede each of its strips: they have about 600 bytes.
_MAX_TABLES = 1 << 16

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page:
    """The directory of an image, and how it says that samples are stored.

    Samples are stored in chunks (strips or tiles) of several rows and columns, one plane after
    another.
    """

    def __init__(self, data: bytes, max_pixels: int) -> None:
        directory, self.warning = tiff_tags.image(data)
        self.tags, self.order, _ = directory
        first = self.first = directory.first
        if not self.tags.keys() >= {WIDTH, HEIGHT, PHOTOMETRIC}:
            raise ImageError("damaged", "the TIFF states no size or no photometric interpretation")
        self.width, self.height = first(WIDTH, 0), first(HEIGHT, 0)
        check_size(self.width, self.height, max_pixels)
        self.bits, self.compression = first(BITS, 1), first(COMPRESSION, NONE)
        self.photometric = first(PHOTOMETRIC, 0)
        self.has_predictor = self.compression in (LZW, *DEFLATE) and first(PREDICTOR, 1) != 1
        samples, planar = first(SAMPLES, 1), first(PLANAR, 1) == 2
        self.planes, self.samples = (samples, 1) if planar else (1, samples)
        self.is_tiled = TILES in self.tags
        self.rows, self.columns = min(first(ROWS, self.height), self.height), self.width
        if self.is_tiled:
            self.rows, self.columns = first(TILE_HEIGHT, 0), first(TILE_WIDTH, 0)
        if min(self.rows, self.columns, samples, self.bits) < 1:
            raise ImageError("damaged", "the TIFF has strips, tiles or samples of no size")
        # the fourth sample of RGB is alpha unless stated otherwise
        unstated = [ALPHA] if (self.photometric, samples) == (RGB, 4) else []
        self.extra = self.tags.get(EXTRA, np.array(unstated))[:_MAX_SAMPLES].tolist()
        self._check_kind(samples)
        down, self.across = -(-self.height // self.rows), -(-self.width // self.columns)
        num_chunks = down * self.across * self.planes
        num_stated = len(self.tags.get(TILES if self.is_tiled else STRIPS, ()))
        if num_chunks > num_stated:
            have = f"{num_stated} of {num_chunks} strips or tiles"
            raise ImageError("damaged", f"the TIFF has {have}")
        most = _MAX_JPEGS if self.compression == JPEG else _MAX_CHUNKS
        if num_chunks > most:
            reason = f"a TIFF of {num_chunks} strips or tiles, {most} are allowed"
            raise ImageError("too large", reason)
        if len(self.tags.get(JPEG_TABLES, ())) > _MAX_TABLES:
            reason = f"a TIFF whose JPEG tables have more than {_MAX_TABLES} bytes"
            raise ImageError("too large", reason)
        self.row_bytes = (self.columns * self.samples * self.bits + 7) // 8
        self.chunk_rows = [self.rows] * (down * self.across)
        if not self.is_tiled:
            self.chunk_rows[-1] -= down * self.rows - self.height
        num_bytes = self.planes * sum(self.chunk_rows) * self.row_bytes
        check_bytes(num_bytes, max_pixels)
        # what is decompressed as a whole: a strip, or the tiles next to each other
        at_once = self.across * self.rows * self.row_bytes
        if at_once > _MAX_AT_ONCE and not self.is_inflated_here:
            reason = f"a strip or tiles of {at_once} bytes, {_MAX_AT_ONCE} are allowed"
            raise ImageError("too large", reason)
        #: Chunks below each other that are decoded together, and rows of a long strip.
        row = self.columns * self.samples * (2 if self.bits > 8 else 1)
        self.step = max(1, BAND_BYTES // (self.across * self.rows * row))
        self.band_rows = max(1, BAND_BYTES // row)
        decoded = self.planes * self.across * sum(self.chunk_rows[:: self.across]) * row
        band = max(self.planes * BAND_BYTES, 0 if self.is_inflated_here else at_once)
        self.needed_bytes = 2 * self.width * self.height + 4 * min(decoded, band)

    @property
    def stated_bits(self) -> int | None:
        """The depth of samples of more than 8 bits; None if it must be inferred from them.

        16-bit files often contain fewer significant bits, and some say so.
        """
        if self.bits < 16:
            return self.bits if self.bits > 8 else None
        largest = self.first(_MAX_SAMPLE_VALUE, self.first(_MAX_VALUE, 0))
        bits = largest.bit_length()
        # the largest of a depth; others are only what the brightest sample happens to be
        return bits if 8 <= bits < 16 and largest == (1 << bits) - 1 else None

    @property
    def kind(self) -> str:
        """How the samples are stored, for people."""
        words = [f"TIFF, {self.bits} bits", _PHOTOMETRIC[self.photometric]]
        words += ["in planes"] if self.planes > 1 else []
        words += ["tiled"] if self.is_tiled else []
        return ", ".join([*words, _COMPRESSIONS[self.compression]])

    @property
    def is_inflated_here(self) -> bool:
        """Whether libtiff is not needed, and a long strip can be decoded piece by piece."""
        return (
            self.compression in (NONE, *DEFLATE) and self.photometric != YCBCR and not self.is_tiled
        )

    def _check_kind(self, samples: int) -> None:
        """Refuse unsupported kinds, so that none is misread."""
        bits, compression, photometric = self.bits, self.compression, self.photometric
        first = self.first
        kind = {1: "uint", 2: "int", 3: "float", 4: "uint"}.get(first(FORMAT, 1), "complex")
        if kind != "uint" or bits > 16:
            raise ImageError("unsupported", f"{kind}{bits} pixels have no defined gray range")
        predictor = first(PREDICTOR, 1) if self.has_predictor else 1
        num_known = NUM_COLORS.get(photometric, 0) + len(self.extra)
        # libtiff must treat them as pixels, not as bytes
        as_pixels = compression in (*CCITT, JPEG) or photometric == YCBCR
        known = (3,) if photometric == YCBCR else (1,) if compression in CCITT else (1, 3, 4)
        is_read = (
            compression in _COMPRESSIONS
            and photometric in NUM_COLORS
            and samples == num_known <= _MAX_SAMPLES
            and (self.tags.get(BITS, np.array([bits]))[:samples] == bits).all()
            and not (photometric == WHITE_IS_ZERO and PREMULTIPLIED in self.extra)
            and not (photometric == YCBCR and compression != JPEG and first(BLACK_LEVEL, 0))
            and (predictor == 1 or (predictor == 2 and bits in (8, 16) and not as_pixels))
            and not (as_pixels and self.samples not in known)
            and not (as_pixels and bits != (1 if compression in CCITT else 8))
        )
        if not is_read:
            raise ImageError(
                "unsupported",
                f"a TIFF of compression {compression}, photometric interpretation {photometric}, "
                f"predictor {predictor} and {samples} samples of {bits} bits",
            )

    def chunks(self, data: bytes) -> list[bytes]:
        """The strips or tiles of all planes, as stored."""
        expected = [rows * self.row_bytes for rows in self.chunk_rows] * self.planes
        names = (TILES, TILE_SIZES) if self.is_tiled else (STRIPS, STRIP_SIZES)
        starts, sizes = (
            self.tags.get(name, np.zeros(0))[: len(expected)].tolist() for name in names
        )
        if self.compression == NONE and len(starts) == 1 and self.photometric != YCBCR:
            # some writers omit the size of a single strip, or state a wrong one
            sizes = [max(expected + sizes)]
        if len(sizes) < len(starts):
            raise ImageError("damaged", "the TIFF does not state the sizes of its strips or tiles")
        spans = [(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        if max(end for _, end in spans) > len(data):
            raise ImageError("truncated", "the TIFF ends before its pixels do")
        if sum(sizes) > 2 * len(data):
            raise ImageError("unsupported", "a TIFF whose strips or tiles share their bytes")
        chunks = [data[start:end] for start, end in spans]
        if self.first(FILL_ORDER, 1) == 2 and self.compression != JPEG:
            return [chunk.translate(_REVERSED_BITS) for chunk in chunks]
        return chunks
