"""TIFF: the layout is checked and samples are unpacked here; Pillow's libtiff decompresses.

Neither library reads every kind correctly: OpenCV misreads planar files, 9 to 15 bits and white as
zero; Pillow reduces 16-bit color to 8 bits.
"""

import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import Gray, Picture, check_size, jpeg, opencv, tiff_tags, upright

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_SIZES, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 317, 320, 322, 323, 324, 325
_EXTRA, _FORMAT, _JPEG_TABLES, _BLACK_LEVEL = 338, 339, 347, 532

#: Options of CCITT (two) and subsampling of YCbCr.
_FOR_LIBTIFF = (292, 293, 530)

#: Largest number of strips or tiles: one strip per row of the tallest image.
_MAX_CHUNKS = 1 << 20

#: Compressions: none, CCITT (three), LZW, JPEG, deflate (two), PackBits.
_NONE, _CCITT, _LZW, _JPEG, _DEFLATE, _PACK_BITS = 1, (2, 3, 4), 5, 7, (8, 32946), 32773
_COMPRESSIONS = (_NONE, *_CCITT, _LZW, _JPEG, *_DEFLATE, _PACK_BITS)

#: Photometric interpretations, and how many samples of a pixel are its color.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_NUM_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _INDEXED: 1, _CMYK: 4, _YCBCR: 3}

#: Extra samples: alpha that the colors are premultiplied by, and alpha that they are not.
_PREMULTIPLIED, _ALPHA = 1, 2
_MAX_SAMPLES = 8

#: Decoded bytes per allowed pixel: color and alpha of 16 bits, or padded tiles.
_MAX_BYTES = 8

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Strips(TiffImagePlugin.TiffImageFile):
    """A TIFF without Pillow's limit on pixels, which warns about sizes that are allowed here."""

    def load_prepare(self) -> None:
        self.im = Image.new(self.mode, self.size).im


def read(data: bytes, *, max_pixels: int) -> Picture:
    """Gray pixels of a TIFF's first page, upright.

    Raises:
        ImageError: too large, unsupported, truncated or damaged.
    """
    page = _Page(data, max_pixels)
    chunks, step = page.chunks(data), len(page.chunk_rows)
    planes = [page.pixels(chunks[start : start + step]) for start in range(0, len(chunks), step)]
    gray = page.gray(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))
    gray = upright(gray, page.first(_ORIENTATION, 1))
    warning = "the first of several pages" if page.has_next else None
    # 16-bit files often contain fewer significant bits
    bits = page.bits if 8 < page.bits < 16 else None
    return Picture(gray, gray.shape[1], gray.shape[0], warning, bits)


class _Page:
    """The first directory of a file, and how it says that samples are stored.

    Samples are stored in chunks (strips or tiles) of several rows and columns, one plane after
    another.
    """

    def __init__(self, data: bytes, max_pixels: int) -> None:
        self.tags, self.order, self.has_next = tiff_tags.read(data)
        first = self.first
        if not self.tags.keys() >= {_WIDTH, _HEIGHT, _PHOTOMETRIC}:
            raise ImageError("damaged", "the TIFF states no size or no photometric interpretation")
        self.width, self.height = first(_WIDTH, 0), first(_HEIGHT, 0)
        check_size(self.width, self.height, max_pixels)
        self.bits, self.compression = first(_BITS, 1), first(_COMPRESSION, _NONE)
        self.photometric = first(_PHOTOMETRIC, 0)
        self.has_predictor = self.compression in (_LZW, *_DEFLATE) and first(_PREDICTOR, 1) != 1
        samples, planar = first(_SAMPLES, 1), first(_PLANAR, 1) == 2
        self.planes, self.samples = (samples, 1) if planar else (1, samples)
        self.is_tiled = _TILES in self.tags
        self.rows, self.columns = min(first(_ROWS, self.height), self.height), self.width
        if self.is_tiled:
            self.rows, self.columns = first(_TILE_HEIGHT, 0), first(_TILE_WIDTH, 0)
        if min(self.rows, self.columns, samples, self.bits) < 1:
            raise ImageError("damaged", "the TIFF has strips, tiles or samples of no size")
        # the fourth sample of RGB is alpha unless stated otherwise
        unstated = [_ALPHA] if (self.photometric, samples) == (_RGB, 4) else []
        self.extra = self.tags.get(_EXTRA, np.array(unstated))[:_MAX_SAMPLES].tolist()
        self._check_kind(samples)
        down, self.across = -(-self.height // self.rows), -(-self.width // self.columns)
        num_chunks = down * self.across * self.planes
        num_stated = len(self.tags.get(_TILES if self.is_tiled else _STRIPS, ()))
        if num_chunks > min(num_stated, _MAX_CHUNKS):
            have = f"{num_stated} of {num_chunks} strips or tiles"
            raise ImageError("damaged", f"the TIFF has {have}")
        self.row_bytes = (self.columns * self.samples * self.bits + 7) // 8
        self.chunk_rows = [self.rows] * (down * self.across)
        if not self.is_tiled:
            self.chunk_rows[-1] -= down * self.rows - self.height
        num_bytes = self.planes * sum(self.chunk_rows) * self.row_bytes
        allowed = _MAX_BYTES * max(max_pixels, 1 << 20)
        if num_bytes > allowed:
            raise ImageError("too large", f"{num_bytes} bytes of samples, {allowed} are allowed")

    def first(self, tag: int, otherwise: int) -> int:
        return int(self.tags[tag][0]) if tag in self.tags else otherwise

    def _check_kind(self, samples: int) -> None:
        """Refuse unsupported kinds, so that none is misread."""
        bits, compression, photometric = self.bits, self.compression, self.photometric
        first = self.first
        kind = {1: "uint", 2: "int", 3: "float", 4: "uint"}.get(first(_FORMAT, 1), "complex")
        if kind != "uint" or bits > 16:
            raise ImageError("unsupported", f"{kind}{bits} pixels have no defined gray range")
        predictor = first(_PREDICTOR, 1) if self.has_predictor else 1
        num_known = _NUM_COLORS.get(photometric, 0) + len(self.extra)
        # libtiff must treat them as pixels, not as bytes
        as_pixels = compression in (*_CCITT, _JPEG) or photometric == _YCBCR
        known = (3,) if photometric == _YCBCR else (1,) if compression in _CCITT else (1, 3, 4)
        is_read = (
            compression in _COMPRESSIONS
            and photometric in _NUM_COLORS
            and samples == num_known <= _MAX_SAMPLES
            and (self.tags.get(_BITS, np.array([bits]))[:samples] == bits).all()
            and not (photometric == _WHITE_IS_ZERO and _PREMULTIPLIED in self.extra)
            and not (photometric == _YCBCR and compression != _JPEG and first(_BLACK_LEVEL, 0))
            and (predictor == 1 or (predictor == 2 and bits in (8, 16) and not as_pixels))
            and not (as_pixels and self.samples not in known)
            and not (as_pixels and bits != (1 if compression in _CCITT else 8))
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
        names = (_TILES, _TILE_SIZES) if self.is_tiled else (_STRIPS, _STRIP_SIZES)
        starts, sizes = (
            self.tags.get(name, np.zeros(0))[: len(expected)].tolist() for name in names
        )
        if self.compression == _NONE and len(starts) == 1 and self.photometric != _YCBCR:
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
        if self.first(_FILL_ORDER, 1) == 2 and self.compression != _JPEG:
            return [chunk.translate(_REVERSED_BITS) for chunk in chunks]
        return chunks

    def pixels(self, chunks: Sequence[bytes]) -> NDArray[Any]:
        """The samples of a plane, (height, width, samples) of 8 or up to 16 bits."""
        rows = np.frombuffer(self._decompressed(chunks), np.uint8).reshape(-1, self.row_bytes)
        if self.bits == 8:
            values: NDArray[Any] = rows
        elif self.bits == 16:
            values = rows.view(self.order + "u2").astype(np.uint16, copy=False)
        else:
            values = _unpacked(rows, self.bits, self.columns * self.samples)
        values = values.reshape(-1, self.columns, self.samples)
        if self.has_predictor:
            values = np.cumsum(values, axis=1, dtype=values.dtype)
        if self.is_tiled:
            tiles = values.reshape(-1, self.across, self.rows, self.columns, self.samples)
            values = tiles.swapaxes(1, 2).reshape(-1, self.across * self.columns, self.samples)
        return values[: self.height, : self.width]

    def _decompressed(self, chunks: Sequence[bytes]) -> bytes:
        """The rows of a plane's chunks, one chunk below the other."""
        sizes = [rows * self.row_bytes for rows in self.chunk_rows]
        if self.compression == _JPEG:
            tables = bytes(self.tags.get(_JPEG_TABLES, ()))
            for chunk in chunks:
                # an abbreviated image after its tables (TIFF technical note 2)
                jpeg.read(tables[:-2] + chunk[2:] if tables else chunk, max_pixels=sizes[0])
        if self.compression in _DEFLATE:
            chunks = [_inflated(chunk, size) for chunk, size in zip(chunks, sizes, strict=True)]
        if self.photometric == _YCBCR or self.compression not in (_NONE, *_DEFLATE):
            return self._by_libtiff(chunks)
        raw = b"".join([chunk[:size] for chunk, size in zip(chunks, sizes, strict=True)])
        if len(raw) < sum(sizes):
            raise ImageError("damaged", "a strip of the TIFF is too short")
        return raw

    def _by_libtiff(self, chunks: Sequence[bytes]) -> bytes:
        """Decompress the chunks with libtiff, as strips of a TIFF with only the necessary tags.

        For LZW and PackBits the bytes of a row serve as pixels, whatever samples they contain.
        """
        compression, samples, columns = self.compression, self.samples, self.columns
        if self.photometric == _YCBCR and compression in (_NONE, *_DEFLATE):
            # Pillow misreads subsampling unless it calls libtiff
            compression, chunks = _DEFLATE[0], [zlib.compress(chunk, 0) for chunk in chunks]
        elif self.photometric != _YCBCR and compression in (_LZW, _PACK_BITS):
            samples, columns = 1, self.row_bytes
        sizes = [len(chunk) for chunk in chunks]
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory.update(
            {
                _WIDTH: columns,
                _HEIGHT: sum(self.chunk_rows),
                _BITS: (1 if compression in _CCITT else 8,) * samples,
                _COMPRESSION: compression,
                _PHOTOMETRIC: _BLACK_IS_ZERO if samples == 1 else self.photometric,
                _STRIPS: (0, *np.cumsum(sizes[:-1]).tolist()),
                _SAMPLES: samples,
                _ROWS: self.rows,
                _STRIP_SIZES: tuple(sizes),
                **{tag: tuple(self.tags[tag].tolist()) for tag in _FOR_LIBTIFF if tag in self.tags},
            }
        )
        if _JPEG_TABLES in self.tags:
            directory[_JPEG_TABLES] = bytes(self.tags[_JPEG_TABLES])
        file = io.BytesIO()
        directory.save(file)
        file.writelines(chunks)
        file.seek(0)
        try:
            return _Strips(file).tobytes()
        except (OSError, SyntaxError) as error:
            raise ImageError("damaged", f"a strip of the TIFF ({error})") from None

    def gray(self, pixels: NDArray[Any]) -> Gray:
        """Luma of (height, width, samples); transparent pixels are blended with black."""
        num_colors, largest = _NUM_COLORS[self.photometric], (1 << self.bits) - 1
        colors, extra = pixels[:, :, :num_colors], pixels[:, :, num_colors:]
        if self.photometric in (_WHITE_IS_ZERO, _CMYK):
            colors = largest - colors
        opacities = [extra[:, :, index] for index, kind in enumerate(self.extra) if kind == _ALPHA]
        if self.photometric == _CMYK:
            opacities.append(colors[:, :, 3])
        if self.photometric == _INDEXED:
            colors = self._palette(largest + 1)[colors]
        elif self.bits < 8:
            colors = np.rint(np.linspace(0, 255, largest + 1)).astype(np.uint8)[colors]
        gray: Gray = colors[:, :, 0] if num_colors == 1 else opencv.luma(colors[:, :, :3])
        for opacity in opacities:
            gray = opencv.over_black(gray, opacity / largest)
        return gray

    def _palette(self, num_colors: int) -> Gray:
        """The luma of each color."""
        palette = self.tags.get(_PALETTE, np.zeros(0))
        if len(palette) != 3 * num_colors:
            raise ImageError("damaged", f"the TIFF's palette does not have {num_colors} colors")
        if palette.max() > 255:
            palette = palette >> 8
        colors = palette.astype(np.uint8).reshape(1, 3, num_colors).swapaxes(1, 2)
        luma: Gray = opencv.luma(np.ascontiguousarray(colors))[0]
        return luma


def _unpacked(rows: NDArray[np.uint8], bits: int, num_samples: int) -> Gray:
    """Samples packed bit by bit in each row: eight samples take as many bytes as one has bits."""
    groups = -(-num_samples // 8)
    padded = np.pad(rows, ((0, 0), (0, groups * bits + 2 - rows.shape[1])))
    values = np.empty((len(rows), groups * 8), np.uint8 if bits < 8 else np.uint16)
    for index in range(8):
        first, skipped = divmod(index * bits, 8)
        high, middle, low = (
            padded[:, first + byte :: bits][:, :groups].astype(np.uint32) for byte in range(3)
        )
        window = (high << 16 | middle << 8 | low) >> (24 - skipped - bits)
        values[:, index::8] = window & ((1 << bits) - 1)
    return values[:, :num_samples]


def _inflated(chunk: bytes, size: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(chunk, size + 1)
    except zlib.error as error:
        raise ImageError("damaged", f"a strip of the TIFF: {error}") from None
    if not inflater.eof:
        raise ImageError("damaged", "a strip of the TIFF has no end")
    return inflated
