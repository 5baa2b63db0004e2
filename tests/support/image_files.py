"""Image files by hand, where OpenCV writes no such kind: PNG, TIFF and DICOM of any layout."""

import io
import itertools
import struct
import zlib

import numpy as np
import pydicom
from pydicom.encaps import encapsulate

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(kind, body=b""):
    """Return one PNG chunk with its checksum."""
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_header(width, height, depth=8, color=GRAY):
    """Return the signature and the IHDR chunk."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def png(samples, *chunks, depth=8, color=GRAY):
    """Return a PNG of (height, width[, channels]) samples; `chunks` stand before the pixels."""
    samples = np.asarray(samples)
    if depth < 8:
        bits = samples[..., np.newaxis] >> np.arange(depth - 1, -1, -1) & 1
        rows = [np.packbits(row.astype(np.uint8)).tobytes() for row in bits]
    else:
        rows = [row.astype(f">u{depth // 8}").tobytes() for row in samples]
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = png_header(samples.shape[1], samples.shape[0], depth, color)
    return header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND")


def exif(orientation, order="<", thumbnail=b""):
    """Return an EXIF block with an orientation, and a thumbnail's bytes after it."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return start + struct.pack(f"{order}IH", 8, 1) + entry + struct.pack(f"{order}I", 0) + thumbnail


def tiff(
    samples,
    *,
    photometric=1,
    orientation=1,
    extra_samples=None,
    size=None,
    bits=None,
    order="<",
    big=False,
    planar=False,
    rows=None,
    tile=None,
    compression=1,
    predictor=1,
    fill_order=1,
    tags=(),
):
    """Return a TIFF of (height, width[, channels]) samples, packed if of few bits.

    `size` is the (width, height) it declares, `rows` the height of a strip, `tile` the (height,
    width) of a tile, `tags` other ones: number to (type, values), or to None.
    """
    height, width = samples.shape[:2]
    pixels = samples.reshape(height, width, -1)
    channels, bits = pixels.shape[2], bits or samples.dtype.itemsize * 8
    planes = np.split(pixels, channels, axis=2) if planar else [pixels]
    down, across = tile or (rows or height, width)
    chunks = []
    for plane in planes:
        for top, left in itertools.product(range(0, height, down), range(0, width, across)):
            chunk = plane[top : top + down, left : left + across]
            if tile:
                missing = (0, down - chunk.shape[0]), (0, across - chunk.shape[1]), (0, 0)
                chunk = np.pad(chunk, missing, "edge")
            if predictor == 2:
                chunk = np.diff(chunk, axis=1, prepend=np.zeros_like(chunk[:, :1]))
            raw = TIFF_ENCODERS[compression](_packed(chunk, bits, order))
            chunks.append(_reversed(raw) if fill_order == 2 else raw)
    start = 16
    places = np.cumsum([start, *map(len, chunks)]).tolist()
    short, long, offset = 3, 4, 16 if big else 4
    size = size or (width, height)
    layout = {
        256: (long, size[:1]),
        257: (long, size[1:]),
        258: (short, [bits] * channels),
        259: (short, [compression]),
        262: (short, [photometric]),
        266: (short, [fill_order]),
        274: (short, [orientation]),
        277: (short, [channels]),
        284: (short, [2 if planar else 1]),
        317: (short, [predictor]),
        324 if tile else 273: (offset, places[:-1]),
        325 if tile else 279: (offset, [len(chunk) for chunk in chunks]),
        339: (short, [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * channels),
    }
    if tile:
        layout |= {322: (long, [across]), 323: (long, [down])}
    else:
        layout[278] = (long, [down])
    if extra_samples is not None:
        layout[338] = (short, [extra_samples])
    layout = {tag: value for tag, value in {**layout, **dict(tags)}.items() if value}
    directory = tiff_directory(layout, places[-1], order=order, big=big)
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}2sHHHQ", mark, 43, 8, 0, places[-1])
    if not big:
        head = struct.pack(f"{order}2sHIQ", mark, 42, places[-1], 0)
    return head + b"".join(chunks) + directory


def tiff_directory(tags, start, *, order="<", big=False):
    """Return a TIFF's directory of tags, number to (type, values), to stand at `start`."""
    count, number, field = ("Q", "Q", 8) if big else ("H", "I", 4)
    entries, tail = struct.pack(order + count, len(tags)), b""
    tail_start = start + len(entries) + len(tags) * (4 + 2 * field) + field
    for tag, (kind, values) in sorted(tags.items()):
        letter = {1: "B", 3: "H", 4: "I", 5: "I", 7: "B", 16: "Q"}[kind]
        value = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(value) > field:
            tail, value = tail + value, struct.pack(order + number, tail_start + len(tail))
        # a fraction is two numbers
        length = len(values) // 2 if kind == 5 else len(values)
        entries += struct.pack(f"{order}HH{number}", tag, kind, length)
        entries += value.ljust(field, b"\0")
    return entries + bytes(field) + tail


def _packed(samples, bits, order):
    """Return rows of samples, each row from a whole byte on."""
    if bits % 8 == 0:
        return samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    rows = samples.reshape(len(samples), -1, 1)
    flat = (rows >> np.arange(bits - 1, -1, -1) & 1).reshape(len(samples), -1)
    return np.packbits(flat.astype(np.uint8), axis=1).tobytes()


def _lzw(data):
    """Return LZW codes of nine bits, literals only: the table is cleared before it grows."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    codes = np.array([*codes, 257])
    flat = codes[:, np.newaxis] >> np.arange(8, -1, -1) & 1
    return np.packbits(flat.astype(np.uint8)).tobytes()


def _pack_bits(data):
    parts = [data[start : start + 128] for start in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def _reversed(data):
    """Return bytes whose lowest bit comes first."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return np.packbits(bits).tobytes()


TIFF_ENCODERS = {1: bytes, 5: _lzw, 8: zlib.compress, 32773: _pack_bits}


def bmp(pixels, *, masks=(), header=40):
    """Return a BMP of (height, width) unsigned pixels; `masks` say where their colors are."""
    rows = np.ascontiguousarray(pixels[::-1].astype(pixels.dtype.newbyteorder("<")))
    body = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in rows)
    height, width = pixels.shape
    fields = struct.pack(f"<{len(masks)}I", *masks)
    start = 14 + max(header, 40 + len(fields))
    info = (header, width, height, 1, 8 * pixels.itemsize, 3 if masks else 0, len(body), *[0] * 4)
    head = struct.pack("<2sIII", b"BM", start + len(body), 0, start)
    return (head + struct.pack("<IiiHHIIiiII", *info) + fields).ljust(start, b"\0") + body


def dicom(
    samples, *, syntax="1.2.840.10008.1.2.1", frames=None, meta=True, written=None, **attributes
):
    """Return a DICOM file of (rows, columns[, 3]) samples.

    `frames` are the bytes of compressed ones; attributes of None are left out. `written` is a data
    set of other elements, of whatever value representation.
    """
    samples = np.asarray(samples)
    dataset = pydicom.Dataset()
    bits = samples.dtype.itemsize * 8
    described = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "DX",
        "SamplesPerPixel": 1 if samples.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if samples.ndim == 2 else "RGB",
        "PlanarConfiguration": None if samples.ndim == 2 else 0,
        "Rows": samples.shape[0],
        "Columns": samples.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(samples.dtype.kind == "i"),
        "PixelData": encapsulate(frames) if frames else samples.tobytes(),
        **attributes,
    }
    described.setdefault("HighBit", (described["BitsStored"] or bits) - 1)
    for name, value in described.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.update(written or {})
    dataset["PixelData"].VR = "OB" if frames or bits == 8 else "OW"
    dataset["PixelData"].is_undefined_length = frames is not None
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True, overwrite=True)
    whole = file.getvalue()
    if meta:
        return whole
    (length,) = struct.unpack_from("<I", whole, 140)
    return whole[144 + length :]
