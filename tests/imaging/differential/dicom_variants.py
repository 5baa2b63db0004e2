"""DICOM files of many kinds, drawn by script, and what dcmtk makes of them.

Run `python -m tests.imaging.differential.dicom_variants` for the counts.
"""

import dataclasses
import io
import itertools

import cv2
import imagecodecs
import numpy as np
import pydicom
from pydicom.sequence import Sequence

from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom
from tests.support import dcmtk
from tests.support.image_files import dicom as dicom_file

#: Gray levels of mean difference that an accepted picture may have.
MOST = 1.5

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_12 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS, JPEG_LS = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

#: How dcmtk is asked for the first VOI LUT, the first window, the whole range, the bits as stored.
LUT, WINDOW, RANGE, STORED = ("+Wl", "1"), ("+Wi", "1"), ("+Wm",), ("-W",)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A file, and how dcmtk shows it.

    `like` is another file of the same pixels, for what dcmtk cannot read or takes otherwise than
    the standard. `padding` is where black is expected, which dcmtk does not know. `refused` is the
    error of a file that is refused on purpose. `by_pydicom` says that pydicom shows it right, too.
    """

    name: str
    data: bytes
    options: tuple = WINDOW
    tool: str = dcmtk.PLAIN
    like: bytes | None = None
    padding: np.ndarray | None = None
    warning: str | None = None
    refused: str | None = None
    by_pydicom: bool = False


def drawing(bits, *, signed=False, seed=0):
    """Return (40, 48) values of so many bits: a body with two lungs, noise, and both extremes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:40j, -1:1:48j]
    body = 0.75 * (x**2 / 0.8 + y**2 / 0.95 < 1) + 0.1 * (y + 1)
    for center in (-0.4, 0.4):
        body -= 0.4 * (((x - center) / 0.28) ** 2 + ((y + 0.1) / 0.55) ** 2 < 1)
    body = np.clip(body + rng.normal(0, 0.03, body.shape), 0, 1)
    body[0, :2] = 0, 1
    values = np.rint(body * ((1 << bits) - 1)).astype(np.int64)
    return values - (1 << (bits - 1)) if signed else values


def stored(values, *, allocated=16, bits=12, high=None, signed=False, junk=True):
    """Return samples with values where HighBit says, and arbitrary bits elsewhere."""
    high = bits - 1 if high is None else high
    shift = high + 1 - bits
    mask = ((1 << bits) - 1) << shift
    noise = np.random.default_rng(1).integers(0, 1 << allocated, values.shape) if junk else 0
    samples = (values << shift & mask) | (noise & ~mask)
    kind = np.dtype(f"u{allocated // 8}")
    samples = samples.astype(kind)
    return samples.view(f"i{allocated // 8}") if signed else samples


def made(values, *, allocated=16, bits=12, high=None, signed=False, syntax=EXPLICIT, **attributes):
    """Return a DICOM file of values."""
    samples = stored(values, allocated=allocated, bits=bits, high=high, signed=signed)
    described = {"BitsStored": bits, "HighBit": bits - 1 if high is None else high, **attributes}
    if syntax == BIG and allocated > 8:
        described["PixelData"] = samples.byteswap().tobytes()
    return dicom_file(samples, syntax=syntax, **described)


def window(bits=12, *, signed=False, **attributes):
    """Return the attributes of a window over the middle of the values."""
    size = 1 << bits
    center = 0.4 * size - (size / 2 if signed else 0)
    return {"WindowCenter": round(center), "WindowWidth": round(0.6 * size), **attributes}


def table(entries, *, first=0, bits=12, stored_as="US", stated=None, order="<", vr=None):
    """Return a sequence of one look-up table.

    Its entries are words (US, OW), bytes (OB) or bytes packed into words (packed).
    """
    item = pydicom.Dataset()
    count = len(entries) if stated is None else stated
    vr = vr or ("SS" if first < 0 else "US")
    item.add_new("LUTDescriptor", vr, [count % 65536, first, bits])
    entries = np.asarray(entries)
    if stored_as == "US":
        item.add_new("LUTData", "US", entries.tolist())
    elif stored_as == "OW":
        item.add_new("LUTData", "OW", entries.astype(f"{order}u2").tobytes())
    else:
        raw = entries.astype(np.uint8).tobytes()
        raw += bytes(len(raw) % 2)
        if stored_as == "packed" and order == ">":
            raw = np.frombuffer(raw, "<u2").astype(">u2").tobytes()
        item.add_new("LUTData", "OB" if stored_as == "OB" else "OW", raw)
    item.ModalityLUTType = "US"
    return Sequence([item])


def curve(count, bits):
    """Return entries of a table that rise like an S."""
    x = np.linspace(-3, 3, count)
    y = 1 / (1 + np.exp(-2 * x))
    return np.rint((y - y[0]) / (y[-1] - y[0]) * ((1 << bits) - 1)).astype(np.int64)


def _storage():
    """Bits and signs, where they are stored, and everything else around them."""
    layouts = [
        *((8, 8, 7), (8, 6, 5), (8, 6, 7), (16, 8, 7), (16, 10, 9), (16, 12, 11), (16, 12, 15)),
        *((16, 12, 13), (16, 10, 15), (16, 14, 13), (16, 16, 15), (32, 24, 23), (32, 24, 31)),
    ]
    for layout, signed, photometric in itertools.product(layouts, (False, True), (1, 2)):
        allocated, bits, high = layout
        kind = {"allocated": allocated, "bits": bits, "high": high, "signed": signed}
        values = drawing(bits, signed=signed)
        name = f"{bits} of {allocated} bits, high {high}, signed {signed}, MONOCHROME{photometric}"
        kind["PhotometricInterpretation"] = f"MONOCHROME{photometric}"
        data = made(values, **kind, **window(bits, signed=signed))
        yield Variant(f"{name}, window", data, by_pydicom=high == bits - 1)
        whole = ("+Ww", str(1 << (bits - 1)), str(1 << bits))
        options = whole if bits <= 8 and not signed else RANGE
        yield Variant(f"{name}, no window", made(values, **kind), options)


def _encoded(samples, syntax):
    match syntax:
        case "12-bit JPEG":
            return imagecodecs.jpeg_encode(samples, level=98, bitspersample=12)
        case "JPEG":
            return cv2.imencode(".jpg", samples, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        case "JPEG Lossless":
            return imagecodecs.ljpeg_encode(samples, bitspersample=samples.dtype.itemsize * 8)
        case "JPEG-LS":
            return imagecodecs.jpegls_encode(samples)
        case "JPEG 2000":
            return imagecodecs.jpeg2k_encode(samples, codecformat="j2k", level=0, reversible=True)
    raise ValueError(syntax)


_COMPRESSED = {
    "12-bit JPEG": (JPEG_12, dcmtk.JPEG),
    "JPEG": (JPEG, dcmtk.JPEG),
    "JPEG Lossless": (JPEG_LOSSLESS, dcmtk.JPEG),
    "JPEG-LS": (JPEG_LS, dcmtk.JPEG_LS),
    "JPEG 2000": (JPEG_2000, dcmtk.PLAIN),
}


def _syntaxes():
    """Every transfer syntax, with values of 8, 12 and 16 bits."""
    plain = {"implicit": IMPLICIT, "big-endian": BIG, "deflated": DEFLATED, "RLE": RLE}
    kinds = [(8, 8, 7), (16, 12, 11), (16, 12, 15), (16, 16, 15)]
    for (name, syntax), kind, signed in itertools.product(plain.items(), kinds, (False, True)):
        allocated, bits, high = kind
        layout = {"allocated": allocated, "bits": bits, "high": high, "signed": signed}
        values = drawing(bits, signed=signed)
        shown = window(bits, signed=signed)
        if syntax != RLE:
            data = made(values, **layout, **shown, syntax=syntax)
        else:
            dataset = pydicom.dcmread(io.BytesIO(made(values, **layout, **shown)))
            dataset.compress(RLE)
            file = io.BytesIO()
            dataset.save_as(file)
            data = file.getvalue()
        yield Variant(f"{name}, {bits} of {allocated} bits, high {high}, signed {signed}", data)
    for (name, (syntax, tool)), kind in itertools.product(_COMPRESSED.items(), kinds):
        allocated, bits, high = kind
        if (name == "JPEG") != (bits == 8) or (name == "12-bit JPEG" and high != 11):
            continue
        values = drawing(bits)
        samples = stored(values, allocated=allocated, bits=bits, high=high, junk=False)
        described = {"BitsStored": bits, "HighBit": high, **window(bits)}
        data = dicom_file(samples, syntax=syntax, frames=[_encoded(samples, name)], **described)
        like = dicom_file(samples, **described) if tool == dcmtk.PLAIN else None
        yield Variant(f"{name}, {bits} bits, high {high}", data, tool=tool, like=like)


def _scan_parameters():
    """JPEGs whose sequential scans state other parameters than 0, 63 and 0."""
    for name, wrong in itertools.product(
        ("JPEG", "12-bit JPEG"), ((0, 0, 0), (0, 63, 1), (1, 5, 0))
    ):
        bits = 8 if name == "JPEG" else 12
        samples = stored(drawing(bits), allocated=8 if bits == 8 else 16, bits=bits, junk=False)
        frame = bytearray(_encoded(samples, name))
        scan = frame.index(b"\xff\xda")
        end = scan + 2 + int.from_bytes(frame[scan + 2 : scan + 4], "big")
        assert frame[end - 3 : end] == bytes((0, 63, 0))
        syntax, tool = _COMPRESSED[name]
        described = {"BitsStored": bits, "syntax": syntax, **window(bits)}
        like = dicom_file(samples, frames=[bytes(frame)], **described)
        frame[end - 3 : end] = bytes(wrong)
        data = dicom_file(samples, frames=[bytes(frame)], **described)
        warning = "the JPEG's scan states odd parameters, which are ignored"
        yield Variant(f"{name}, scan {wrong}", data, tool=tool, like=like, warning=warning)


def _voi_tables():
    """VOI LUTs of every depth and storage, and their faults."""
    values = drawing(12)
    for bits, stored_as in itertools.product((8, 9, 10, 12, 14, 16), ("US", "OW", "packed", "OB")):
        if bits > 8 and stored_as in ("packed", "OB"):
            continue
        for count, first in ((4096, 0), (256, 1000), (1000, 500), (999, 500)):
            luts = table(curve(count, bits), first=first, bits=bits, stored_as=stored_as)
            # dcmtk reads no table of bytes: the same one, packed into words, tells
            same = table(curve(count, bits), first=first, bits=bits, stored_as="packed")
            like = made(values, VOILUTSequence=same) if stored_as == "OB" else None
            yield Variant(
                f"VOI LUT of {count} from {first}, {bits} bits as {stored_as}",
                made(values, VOILUTSequence=luts, **window()),
                LUT,
                like=like,
                by_pydicom=bits >= 10,
            )
    for syntax, stored_as, photometric in itertools.product(
        (IMPLICIT, BIG, DEFLATED), ("OW", "packed"), ("MONOCHROME1", "MONOCHROME2")
    ):
        bits = 8 if stored_as == "packed" else 12
        order = ">" if syntax == BIG else "<"
        luts = table(curve(4096, bits), bits=bits, stored_as=stored_as, order=order)
        kind = {"syntax": syntax, "PhotometricInterpretation": photometric}
        data = made(values, VOILUTSequence=luts, **kind)
        yield Variant(f"VOI LUT, {stored_as}, {photometric}, {syntax}", data, LUT)
    whole = table(curve(65536, 16), bits=16, stored_as="OW")
    yield Variant("VOI LUT of 65536", made(drawing(16), bits=16, VOILUTSequence=whole), LUT)


def _signs_of_tables():
    """First values whose sign depends on the values."""
    hounsfield = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    for syntax, vr, first, signed in itertools.product(
        (EXPLICIT, IMPLICIT), ("US", "SS"), (-1024, -2048, 0), (False, True)
    ):
        number = first % 65536 if vr == "US" else first
        luts = table(curve(4096, 12), first=number, vr=vr, stored_as="OW")
        rescale = {} if signed else hounsfield
        values = drawing(12, signed=signed)
        data = made(values, signed=signed, syntax=syntax, VOILUTSequence=luts, **rescale)
        yield Variant(f"VOI LUT from {first} as {vr}, signed {signed}, {syntax}", data, LUT)
    luts = table(curve(4096, 12), first=40000, vr="US", stored_as="OW")
    high = {"RescaleSlope": 1, "RescaleIntercept": 40000}
    yield Variant("VOI LUT from 40000", made(drawing(12), VOILUTSequence=luts, **high), LUT)
    # dcmtk takes it for 64512, beyond all values; by PS3.3 C.11.2.1.1 a word is signed as SS says
    luts = table(curve(4096, 12), first=-1024, vr="SS", stored_as="OW")
    data = made(drawing(12), VOILUTSequence=luts)
    moved = table(curve(4096, 12), first=-3072, vr="SS", stored_as="OW")
    like = made(drawing(12) - 2048, signed=True, VOILUTSequence=moved)
    yield Variant("VOI LUT from -1024 of unsigned values", data, LUT, like=like)


def _faults_of_tables():
    """Tables that are short, blank, beside others, or of odd bits."""
    values, good = drawing(12), table(curve(4096, 12), stored_as="OW")
    blank = pydicom.Dataset()
    null = pydicom.Dataset()
    null.add_new("LUTDescriptor", "US", None)
    null.add_new("LUTData", "OW", None)
    empty = pydicom.Dataset()
    empty.add_new("LUTDescriptor", "US", [4096, 0, 12])
    flat = table(np.zeros(4096), stored_as="OW")[0]
    short = pydicom.Dataset()
    short.add_new("LUTDescriptor", "US", [4096, 0])
    short.add_new("LUTData", "OW", good[0].LUTData)
    for name, item in {
        "blank": blank,
        "null": null,
        "empty": empty,
        "flat": flat,
        "short": short,
    }.items():
        warning = {
            "empty": "VOI LUT 1 has no entries and is ignored",
            "flat": "VOI LUT 1 is flat and is ignored",
        }.get(name, "VOI LUT 1 is damaged and ignored")
        beside = made(values, VOILUTSequence=Sequence([item]), **window())
        # dcmtk would show a flat table as one gray
        yield Variant(f"a {name} VOI LUT beside a window", beside, WINDOW, warning=warning)
        second = made(values, VOILUTSequence=Sequence([item, good[0]]))
        like = made(values, VOILUTSequence=good)
        yield Variant(
            f"a {name} VOI LUT before a good one", second, LUT, like=like, warning=warning
        )
        alone = made(values, VOILUTSequence=Sequence([item]))
        yield Variant(f"a {name} VOI LUT alone", alone, RANGE, warning=warning)
        line = {"RescaleSlope": 2, "RescaleIntercept": -100}
        modality = warning.replace("VOI", "modality")
        both = made(values, ModalityLUTSequence=Sequence([item]), **line, **window(13))
        like = made(values, **line, **window(13))
        yield Variant(f"a {name} modality LUT", both, WINDOW, like=like, warning=modality)
    yield Variant("no VOI LUT in a sequence", made(values, VOILUTSequence=Sequence(), **window()))
    for stated, count in ((4096, 3000), (256, 4096), (4096, 4095), (65536, 4096)):
        luts = table(curve(count, 12), stated=stated, stored_as="OW")
        warning = f"VOI LUT 1 has {count} of {stated} entries"
        yield Variant(warning, made(values, VOILUTSequence=luts), LUT, warning=warning)
    damaged = curve(4096, 12)
    damaged[[5, 100, 3000]] |= 0x8000
    luts = table(damaged, stored_as="OW")
    warning = "VOI LUT 1 has 3 entries above 12 bits"
    yield Variant(warning, made(values, VOILUTSequence=luts), LUT, warning=warning)
    for bits, true in ((0, 12), (8, 12), (10, 12), (24, 12), (0, 8)):
        luts = table(curve(4096, true), bits=bits, stored_as="OW")
        warning = f"VOI LUT 1 states {bits} bits, which are taken for {true}"
        # +Mv: dcmtk finds the bits by itself
        options = ("+Mv", *LUT)
        yield Variant(warning, made(values, VOILUTSequence=luts), options, warning=warning)


def _modality_tables():
    for bits, stored_as in itertools.product((8, 9, 10, 12, 15, 16), ("US", "OW", "packed", "OB")):
        if bits > 8 and stored_as in ("packed", "OB"):
            continue
        luts = table(curve(4096, bits), bits=bits, stored_as=stored_as)
        same = table(curve(4096, bits), bits=bits, stored_as="packed")
        for photometric, shown in (("MONOCHROME1", window(bits)), ("MONOCHROME2", {})):
            kind = {"PhotometricInterpretation": photometric, **shown}
            data = made(drawing(12), ModalityLUTSequence=luts, **kind)
            like = (
                made(drawing(12), ModalityLUTSequence=same, **kind) if stored_as == "OB" else None
            )
            options = WINDOW if shown else RANGE
            yield Variant(
                f"modality LUT of {bits} bits as {stored_as}, {photometric}",
                data,
                options,
                like=like,
            )
    signed = table(curve(4096, 16), first=-2048, bits=16)
    data = made(drawing(12, signed=True), signed=True, ModalityLUTSequence=signed, **window(16))
    yield Variant("modality LUT of signed values", data)
    both = {
        "ModalityLUTSequence": table(curve(4096, 12)),
        "VOILUTSequence": table(curve(4096, 8)[::-1], bits=8),
    }
    yield Variant("modality LUT and VOI LUT", made(drawing(12), **both), LUT)
    line = {"RescaleSlope": 3, "RescaleIntercept": 9}
    luts = table(curve(4096, 12))
    data = made(drawing(12), ModalityLUTSequence=luts, **line, **window())
    yield Variant("modality LUT beside a slope", data)


def _windows():
    values = drawing(12)
    for function, width in itertools.product(
        (None, "LINEAR", "SIGMOID"), (1, 2, 3, 50, 4096, 9999)
    ):
        data = made(values, **window(WindowWidth=width, VOILUTFunction=function))
        yield Variant(f"{function} window of width {width}", data, by_pydicom=width > 3)
    # dcmtk 3.6.7 knows no LINEAR_EXACT: the same window as LINEAR (C.11.2.1.3.2) tells
    for width in (0.5, 1, 50, 2000):
        exact = made(values, WindowCenter=1700, WindowWidth=width, VOILUTFunction="LINEAR_EXACT")
        like = made(values, WindowCenter=1700.5, WindowWidth=width + 1)
        yield Variant(f"LINEAR_EXACT window of width {width}", exact, like=like, by_pydicom=True)
    for width in (0, 0.5, -3):
        data = made(values, **window(WindowWidth=width))
        warning = f"the window of center 1638 and width {width:g} is ignored"
        yield Variant(f"window of width {width}", data, RANGE, warning=warning)
    several = window(WindowCenter=[1500, 400], WindowWidth=[2000, 90])
    yield Variant("two windows", made(values, **several))
    odd = window(WindowCenter=[1500, 400], WindowWidth=[2000])
    yield Variant("two centers and one width", made(values, **odd))
    warning = "WindowWidth is missing: the window is ignored"
    yield Variant("center without width", made(values, WindowCenter=9), RANGE, warning=warning)
    warning = "an unknown VOILUTFunction is taken for LINEAR"
    odd = window(VOILUTFunction="CUBIC")
    yield Variant("unknown function", made(values, **odd), warning=warning)


def _lines():
    values = drawing(12)
    lines = [(2, -1000), (-1, 4095), (-0.5, 100), (0.25, 0), (1, -1024), (1, 0), (16, 7)]
    for (slope, intercept), photometric, shown in itertools.product(
        lines, ("MONOCHROME1", "MONOCHROME2"), (True, False)
    ):
        ends = sorted((intercept, 4095 * slope + intercept))
        span = ends[1] - ends[0]
        middle = {"WindowCenter": ends[0] + 0.4 * span, "WindowWidth": 0.7 * span} if shown else {}
        kind = {"RescaleSlope": slope, "RescaleIntercept": intercept, **middle}
        data = made(values, PhotometricInterpretation=photometric, **kind)
        name = f"slope {slope}, intercept {intercept}, {photometric}, window {shown}"
        yield Variant(name, data, WINDOW if shown else RANGE, by_pydicom=shown)
    zero = {"RescaleSlope": 0, "RescaleIntercept": 1000}
    warning = "RescaleSlope 0 and RescaleIntercept 1000 are ignored: values would be lost"
    yield Variant("slope 0", made(values, **zero, **window()), warning=warning)
    yield Variant("slope 0, no window", made(values, **zero), RANGE, warning=warning)
    for name, other in (("Slope", "Intercept"), ("Intercept", "Slope")):
        data = made(values, **{f"Rescale{name}": 50}, **window())
        warning = f"Rescale{other} is missing: values are not rescaled"
        yield Variant(f"Rescale{name} alone", data, warning=warning)
    for intercept in (-1024, 30000):
        line = {"RescaleSlope": 1, "RescaleIntercept": intercept}
        luts = table(curve(4096, 10), first=intercept, bits=10)
        data = made(values, VOILUTSequence=luts, **line)
        yield Variant(f"intercept {intercept} before a VOI LUT", data, LUT)
    half = {"RescaleSlope": 0.5, "RescaleIntercept": 0}
    luts = table(curve(2048, 16), bits=16)
    yield Variant("slope 0.5 before a VOI LUT", made(values, VOILUTSequence=luts, **half), LUT)


def _inversions():
    for photometric, shape in itertools.product((1, 2), ("INVERSE", "IDENTITY")):
        name = f"MONOCHROME{photometric}"
        kind = {"PhotometricInterpretation": name, "PresentationLUTShape": shape}
        disagree = (shape == "INVERSE") != (photometric == 1)
        warning = f"PresentationLUTShape {shape} counts, not {name}" if disagree else None
        data = made(drawing(12), **kind, **window())
        yield Variant(f"{name}, {shape}", data, warning=warning)
        luts = table(curve(4096, 8), bits=8)
        data = made(drawing(12), **kind, VOILUTSequence=luts)
        yield Variant(f"{name}, {shape}, VOI LUT", data, LUT, warning=warning)


def _padding():
    """Padding becomes black (PS3.3 C.7.5.1.1.2); dcmtk shows it like any other value."""
    for (low, high), signed, photometric, shown in itertools.product(
        ((0, 0), (4095, 4095), (0, 60), (4000, 4095)), (False, True), (1, 2), (True, False)
    ):
        start = 2048 if signed else 0
        values = drawing(12)
        where = (values >= low) & (values <= high)
        values = values - start
        kind = {
            "PhotometricInterpretation": f"MONOCHROME{photometric}",
            "PixelPaddingValue": low - start,
            "signed": signed,
        }
        if high > low:
            kind["PixelPaddingRangeLimit"] = high - start
        options = WINDOW
        if not shown:
            seen = values[~where]
            width = int(seen.max() - seen.min()) + 1
            options = ("+Ww", str(seen.min() + width / 2), str(width))
        data = made(values, **kind, **(window(signed=signed) if shown else {}))
        name = f"padding {low} to {high}, signed {signed}, MONOCHROME{photometric}, window {shown}"
        yield Variant(name, data, options, padding=where)


def _colors():
    color = np.stack([drawing(8, seed=seed) for seed in range(3)], axis=2).astype(np.uint8)
    color[:, :, 1] = color[:, ::-1, 1]
    planes = np.ascontiguousarray(np.moveaxis(color, 2, 0)).tobytes()
    yield Variant("RGB", dicom_file(color), STORED)
    apart = dicom_file(color, PlanarConfiguration=1, PixelData=planes)
    yield Variant("RGB in planes", apart, STORED)
    ybr = cv2.cvtColor(color, cv2.COLOR_RGB2YCrCb)[:, :, [0, 2, 1]]
    yield Variant("YBR_FULL", dicom_file(ybr, PhotometricInterpretation="YBR_FULL"), STORED)
    halves = np.empty((40, 24, 4), np.uint8)
    halves[:, :, 0], halves[:, :, 1] = ybr[:, ::2, 0], ybr[:, 1::2, 0]
    halves[:, :, 2:] = ybr[:, ::2, 1:]
    kind = {"PhotometricInterpretation": "YBR_FULL_422", "PixelData": halves.tobytes()}
    yield Variant("YBR_FULL_422", dicom_file(ybr, **kind), STORED)
    yield Variant("RGB, 16 bits", dicom_file(color.astype(np.uint16) * 257), STORED)
    for bits, stored_as, count, first in (
        *((8, "packed", 256, 0), (8, "OW", 256, 0), (16, "OW", 256, 0), (8, "packed", 200, 20)),
        *((16, "OW", 100, 60), (16, "OW", 255, 1), (8, "packed", 101, 90)),
    ):
        shapes = (
            curve(count, bits),
            curve(count, bits)[::-1],
            np.roll(curve(count, bits), count // 2),
        )
        yield Variant(
            f"palette of {count} from {first}, {bits} bits as {stored_as}",
            _with_palette(
                [table(each, first=first, bits=bits, stored_as=stored_as) for each in shapes]
            ),
            STORED,
        )
    # dcmtk 3.6.7 expands no segments
    ramp = [table(np.arange(256) * 257, bits=16, stored_as="OW")] * 3
    segmented = _with_palette(ramp)
    dataset = pydicom.dcmread(io.BytesIO(segmented))
    for name in ("Red", "Green", "Blue"):
        del dataset[f"{name}PaletteColorLookupTableData"]
        segments = np.array([0, 1, 0, 1, 255, 65535], "<u2").tobytes()
        dataset.add_new(f"Segmented{name}PaletteColorLookupTableData", "OW", segments)
    file = io.BytesIO()
    dataset.save_as(file)
    yield Variant("segmented palette", file.getvalue(), STORED, like=segmented)


def _with_palette(luts):
    attributes = {"PhotometricInterpretation": "PALETTE COLOR"}
    dataset = pydicom.dcmread(io.BytesIO(dicom_file(drawing(8).astype(np.uint8), **attributes)))
    for name, (item,) in zip(("Red", "Green", "Blue"), luts, strict=True):
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", item.LUTDescriptor)
        dataset.add_new(f"{name}PaletteColorLookupTableData", "OW", item.LUTData)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def _damage():
    """Values that are none, and files that are refused."""
    values = drawing(12)
    like = made(values, **window())
    for name, kind, fault in (
        ("NumberOfFrames", "IS", "cannot be read and is ignored"),
        ("PixelPaddingValue", "LO", "cannot be read and is ignored"),
        ("VOILUTSequence", "LO", "is damaged and ignored"),
        ("ModalityLUTSequence", "LO", "is damaged and ignored"),
    ):
        data = _with_text(values, name, kind, **window())
        yield Variant(f"{name} is a text", data, like=like, warning=f"{name} {fault}")
    for name, kind in itertools.product(
        ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"), ("DS", "LO")
    ):
        other = {"RescaleSlope": 2, "RescaleIntercept": 5, **window()}
        del other[name]
        data = _with_text(values, name, kind, **other)
        refused = f"damaged: a DICOM file: {name} is not a number"
        yield Variant(f"{name} is a text as {kind}", data, refused=refused)
    high = dicom_file(stored(values), BitsStored=12, HighBit=9)
    refused = "damaged: a DICOM file: HighBit does not fit 12 of 16 bits"
    yield Variant("HighBit below the bits", high, refused=refused)
    wide = made(drawing(24), allocated=32, bits=24, syntax=BIG)
    refused = "unsupported: DICOM of 32 bits per sample in big-endian order"
    yield Variant("big-endian, 32 bits", wide, refused=refused)
    packed = dicom_file(values.astype(np.uint16), BitsAllocated=12, BitsStored=12)
    yield Variant("12 bits allocated", packed, refused="unsupported: DICOM of 12 bits per sample")


def _with_text(values, name, kind, **attributes):
    """Return a file with a text in place of a value of that representation."""
    odd = pydicom.Dataset()
    odd[name] = pydicom.DataElement(name, "LO", "1A")
    data = made(values, written=odd, **attributes)
    tag = np.array(divmod(pydicom.tag.Tag(name), 1 << 16), "<u2").tobytes()
    assert data.count(tag + b"LO") == 1
    return data.replace(tag + b"LO", tag + kind.encode())


def variants():
    """Return all variants."""
    makers = (
        *(_storage, _syntaxes, _scan_parameters, _voi_tables, _signs_of_tables, _faults_of_tables),
        *(_modality_tables, _windows, _lines, _inversions, _padding, _colors, _damage),
    )
    return [variant for maker in makers for variant in maker()]


def read(variant):
    """Return the picture of a variant."""
    return dicom.read(variant.data, max_pixels=10**6, any_modality=True)


def difference(variant, gray):
    """Return the mean difference from what dcmtk shows, in gray levels; padding does not count."""
    wanted = dcmtk.rendered(variant.like or variant.data, *variant.options, tool=variant.tool)
    assert wanted is not None, f"dcmtk refuses: {variant.name}"
    assert wanted.shape == gray.shape, variant.name
    apart = np.abs(gray.astype(int) - wanted)
    return float(apart.mean() if variant.padding is None else apart[~variant.padding].mean())


def summary():
    """Return counts: variants, accepted, refused, and the largest mean difference."""
    counts = {"variants": 0, "accepted": 0, "refused": 0, "largest mean difference": 0.0}
    for variant in variants():
        counts["variants"] += 1
        try:
            gray = read(variant).gray
        except ImageError:
            counts["refused"] += 1
            continue
        counts["accepted"] += 1
        apart = difference(variant, gray)
        counts["largest mean difference"] = max(counts["largest mean difference"], apart)
    return counts
