"""Image files by hand, where OpenCV writes no such kind: PNG, TIFF and DICOM of any layout."""

import io
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


def tiff(samples, *, photometric=1, orientation=1, extra_samples=None, size=None):
    """Return an uncompressed little-endian TIFF; `size` is the (width, height) it declares."""
    height, width = samples.shape[:2]
    width, height = size or (width, height)
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    pixels = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    short, long = (3, "H"), (4, "I")
    tags = {
        256: (long, [width]),
        257: (long, [height]),
        258: (short, [samples.dtype.itemsize * 8] * channels),
        259: (short, [1]),
        262: (short, [photometric]),
        273: (long, [8]),
        274: (short, [orientation]),
        277: (short, [channels]),
        278: (long, [height]),
        279: (long, [len(pixels)]),
        339: (short, [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * channels),
    }
    if extra_samples is not None:
        tags[338] = (short, [extra_samples])
    body = struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels
    directory, tail = struct.pack("<H", len(tags)), b""
    tail_start = len(body) + 2 + 12 * len(tags) + 4
    for tag, ((kind, letter), values) in sorted(tags.items()):
        value = struct.pack(f"<{len(values)}{letter}", *values)
        if len(value) > 4:
            tail, value = tail + value, struct.pack("<I", tail_start + len(tail))
        directory += struct.pack("<HHI", tag, kind, len(values)) + value.ljust(4, b"\0")
    return body + directory + struct.pack("<I", 0) + tail


def dicom(samples, *, syntax="1.2.840.10008.1.2.1", frames=None, meta=True, **attributes):
    """Return a DICOM file of (rows, columns[, 3]) samples.

    `frames` are the bytes of compressed ones; attributes of None are left out.
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
