"""TIFF: the layout is checked and samples are unpacked here; Pillow's libtiff decompresses.

Neither library reads every kind correctly: OpenCV misreads planar files, 9 to 15 bits and white as
zero; Pillow reduces 16-bit color to 8 bits.
"""

import contextlib
import ctypes
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, _imaging

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import BAND_BYTES, LUMA, OVER_BLACK, Gray, Picture, jpeg, opencv
from cnnjobs.imaging.formats import tiff_page as tags
from cnnjobs.imaging.formats.orientation import Orientation, stated, upright
from cnnjobs.imaging.formats.streams import Stream, inflated, pieces
from cnnjobs.imaging.formats.tiff_page import Page

#: Options of CCITT (two) and subsampling of YCbCr.
_FOR_LIBTIFF = (292, 293, 530)


# libtiff prints its errors, and Pillow, whose libtiff it is, has no setting for that
with contextlib.suppress(AttributeError, OSError):
    _set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    _set_handler.argtypes, _set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    _set_handler(None)


class _Strips(TiffImagePlugin.TiffImageFile):
    """A TIFF without Pillow's limit on pixels, which warns about sizes that are allowed here."""

    def load_prepare(self) -> None:
        self.im = Image.new(self.mode, self.size).im


def read(data: bytes, *, max_pixels: int) -> Picture:
    """Gray pixels of a TIFF's first page of full resolution, upright.

    Raises:
        ImageError: too large, unsupported, truncated or damaged.
    """
    page = _Image(data, max_pixels)
    chunks = page.chunks(data)
    memory.take(page.needed_bytes)
    gray = page.gray_pixels(chunks)
    turned = page.orientation()
    gray = upright(gray, turned)
    steps = (page.kind, *page.steps(), *turned.steps)
    return Picture(gray, gray.shape[1], gray.shape[0], page.warning, page.stated_bits, steps)


class _Image(Page):
    """Decodes the samples of a page."""

    def orientation(self) -> Orientation:
        """The one of the tag, or else XMP's."""
        number = self.first(tags.ORIENTATION, 0)
        if 1 <= number <= 8:
            return Orientation(number, "TIFF")
        return stated(b"", bytes(self.tags.get(tags.XMP, ())))

    def steps(self) -> Iterator[str]:
        """What `gray` does, for people."""
        if self.photometric in (tags.WHITE_IS_ZERO, tags.CMYK):
            what = "white is zero" if self.photometric == tags.WHITE_IS_ZERO else "inks"
            yield f"inverted: {what}"
        if tags.ALPHA in self.extra:
            yield OVER_BLACK
        elif tags.PREMULTIPLIED in self.extra:
            yield "blended with black already: premultiplied alpha"
        if tags.NUM_COLORS[self.photometric] > 1 or self.photometric == tags.INDEXED:
            yield LUMA

    def gray_pixels(self, chunks: Sequence[bytes]) -> Gray:
        """All rows as (height, width) gray, decoded band by band."""
        step, top = len(self.chunk_rows), 0
        planes = [self._bands(chunks[at : at + step]) for at in range(0, len(chunks), step)]
        is_wide = self.bits > 8 and self.photometric != tags.INDEXED
        whole = np.empty((self.height, self.width), np.uint16 if is_wide else np.uint8)
        for parts in zip(*planes, strict=True):
            band = self.gray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))
            # the last row of tiles may be higher than the image
            rows = whole[top : top + len(band)]
            rows[:] = band[: len(rows)]
            top += len(band)
        return whole

    def _bands(self, chunks: Sequence[bytes]) -> Iterator[NDArray[Any]]:
        """The samples of a plane, (rows, width, samples) of 8 or up to 16 bits each."""
        step = self.across * self.step
        for start in range(0, len(chunks), step):
            heights = self.chunk_rows[start : start + step]
            if len(heights) == 1 and heights[0] > self.band_rows and self.is_inflated_here:
                for band in self._long_strip(chunks[start], heights[0]):
                    yield self._samples(band)
            else:
                yield self._samples(self._decompressed(chunks[start : start + step], heights))

    def _long_strip(self, chunk: bytes, height: int) -> Iterator[bytes]:
        """The rows of a strip that is larger than a band."""
        is_plain = self.compression == tags.NONE
        stream = Stream(pieces(chunk, BAND_BYTES) if is_plain else _inflating(chunk))
        for top in range(0, height, self.band_rows):
            size = min(self.band_rows, height - top) * self.row_bytes
            band = stream.read(size)
            if len(band) < size:
                raise ImageError("damaged", "a strip of the TIFF is too short")
            yield band
        if not is_plain and stream.read(1):
            raise ImageError("damaged", "a strip of the TIFF has no end")

    def _samples(self, decompressed: bytes) -> NDArray[Any]:
        """The samples in whole rows, or in tiles one below the other."""
        rows = np.frombuffer(decompressed, np.uint8).reshape(-1, self.row_bytes)
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
        return values[:, : self.width]

    def _decompressed(self, chunks: Sequence[bytes], heights: Sequence[int]) -> bytes:
        """The rows of some chunks, one chunk below the other."""
        sizes = [rows * self.row_bytes for rows in heights]
        if self.compression == tags.JPEG:
            tables = bytes(self.tags.get(tags.JPEG_TABLES, ()))
            for chunk in chunks:
                # an abbreviated image after its tables (TIFF technical note 2)
                jpeg.read(tables[:-2] + chunk[2:] if tables else chunk, max_pixels=sizes[0])
        if self.compression in tags.DEFLATE:
            chunks = [_inflated(chunk, size) for chunk, size in zip(chunks, sizes, strict=True)]
        if self.photometric == tags.YCBCR or self.compression not in (tags.NONE, *tags.DEFLATE):
            return self._by_libtiff(chunks, sum(heights))
        raw = b"".join([chunk[:size] for chunk, size in zip(chunks, sizes, strict=True)])
        if len(raw) < sum(sizes):
            raise ImageError("damaged", "a strip of the TIFF is too short")
        return raw

    def _by_libtiff(self, chunks: Sequence[bytes], height: int) -> bytes:
        """Decompress the chunks with libtiff, as strips of a TIFF with only the necessary tags.

        For LZW and PackBits the bytes of a row serve as pixels, whatever samples they contain.
        """
        compression, samples, columns = self.compression, self.samples, self.columns
        if self.photometric == tags.YCBCR and compression in (tags.NONE, *tags.DEFLATE):
            # Pillow misreads subsampling unless it calls libtiff
            compression, chunks = tags.DEFLATE[0], [zlib.compress(chunk, 0) for chunk in chunks]
        elif self.photometric != tags.YCBCR and compression in (tags.LZW, tags.PACK_BITS):
            samples, columns = 1, self.row_bytes
        sizes = [len(chunk) for chunk in chunks]
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory.update(
            {
                tags.WIDTH: columns,
                tags.HEIGHT: height,
                tags.BITS: (1 if compression in tags.CCITT else 8,) * samples,
                tags.COMPRESSION: compression,
                tags.PHOTOMETRIC: tags.BLACK_IS_ZERO if samples == 1 else self.photometric,
                tags.STRIPS: (0, *np.cumsum(sizes[:-1]).tolist()),
                tags.SAMPLES: samples,
                tags.ROWS: self.rows,
                tags.STRIP_SIZES: tuple(sizes),
                **{
                    tag: tuple(self.tags[tag][:2].tolist())
                    for tag in _FOR_LIBTIFF
                    if tag in self.tags
                },
            }
        )
        if tags.JPEG_TABLES in self.tags:
            directory[tags.JPEG_TABLES] = bytes(self.tags[tags.JPEG_TABLES])
        file = io.BytesIO()
        directory.save(file)
        file.writelines(chunks)
        file.seek(0)
        try:
            return _Strips(file).tobytes()
        except (OSError, SyntaxError) as error:
            reason = "a strip of the TIFF cannot be decompressed"
            raise ImageError("damaged", reason) from error

    def gray(self, pixels: NDArray[Any]) -> Gray:
        """Luma of (height, width, samples); transparent pixels are blended with black."""
        num_colors, largest = tags.NUM_COLORS[self.photometric], (1 << self.bits) - 1
        colors, extra = pixels[:, :, :num_colors], pixels[:, :, num_colors:]
        if self.photometric == tags.WHITE_IS_ZERO and self.bits == 16 and self.stated_bits:
            white = (1 << self.stated_bits) - 1
            colors = white - np.minimum(colors, white)
        elif self.photometric in (tags.WHITE_IS_ZERO, tags.CMYK):
            colors = largest - colors
        opacities = [
            extra[:, :, index] for index, kind in enumerate(self.extra) if kind == tags.ALPHA
        ]
        if self.photometric == tags.CMYK:
            opacities.append(colors[:, :, 3])
        if self.photometric == tags.INDEXED:
            colors = self._palette(largest + 1)[colors]
        elif self.bits < 8:
            colors = np.rint(np.linspace(0, 255, largest + 1)).astype(np.uint8)[colors]
        gray: Gray = colors[:, :, 0] if num_colors == 1 else opencv.luma(colors[:, :, :3])
        for opacity in opacities:
            gray = opencv.over_black(gray, opacity / largest)
        return gray

    def _palette(self, num_colors: int) -> Gray:
        """The luma of each color."""
        palette = self.tags.get(tags.PALETTE, np.zeros(0))
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


def _inflating(chunk: bytes) -> Iterator[bytes]:
    try:
        yield from inflated(chunk)
    except zlib.error as error:
        raise ImageError("damaged", "a strip of the TIFF cannot be inflated") from error


def _inflated(chunk: bytes, size: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        whole = inflater.decompress(chunk, size + 1)
    except zlib.error as error:
        raise ImageError("damaged", "a strip of the TIFF cannot be inflated") from error
    if not inflater.eof:
        raise ImageError("damaged", "a strip of the TIFF has no end")
    return whole
