"""What identifies a patient leaves DICOM, tables and names of files in no byte of any output.

`pytest -s -m slow tests/cli/test_patient_data.py` prints how many bytes were searched.
"""

import csv
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import ray

from cnnjobs.data.phantoms import phantom
from tests.support.cli import run_here
from tests.support.image_files import dicom

#: Name, ID, birth date and accession number; each image has its patient's number appended.
PLANTED = ("Quxbert", "Zephyrine", "PID77319", "19390217", "ACC55204")
_SEARCHED = re.compile("|".join(PLANTED).encode(), re.IGNORECASE)

_PATIENTS = 12


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two images per patient, who is in tags, private tags, overlays, names and a table."""
    root, rows = tmp_path / "source" / "archive", []
    rng = np.random.default_rng(0)
    for number in range(_PATIENTS):
        patient = f"PID77319-{number}"
        for view in range(2):
            label = ("normal", "opacity")[number % 2]
            pixels = phantom(rng, height=96, width=96, opacity=label == "opacity")
            written = pydicom.Dataset()
            block = written.private_block(0x0019, "Quxbert private", create=True)
            block.add_new(1, "LO", f"Zephyrine {patient}")
            written.add_new(0x60000022, "LO", "Quxbert^Zephyrine")
            written.add_new(0x60001500, "LO", f"ACC55204-{number}")
            written.add_new(0x60004000, "LT", "Quxbert born 19390217")
            file = root / label / f"Quxbert_Zephyrine_{patient}" / f"19390217_{view}.dcm"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = dicom(
                pixels,
                SOPInstanceUID=f"1.2.3.{number}.{view}",
                PatientName=f"Quxbert^Zephyrine^{number}",
                PatientID=patient,
                PatientBirthDate="19390217",
                AccessionNumber=f"ACC55204-{number}",
                ImageComments="Quxbert Zephyrine",
                InstitutionName="Quxbert hospital",
                written=written,
            )
            # one of them is damaged, for what errors say
            file.write_bytes(image[:-2000] if (number, view) == (0, 0) else image)
            rows.append(
                {
                    "path": str(file.relative_to(root)),
                    "label": label,
                    "group": patient,
                    "PatientName": f"Quxbert^Zephyrine^{number}",
                    "PatientBirthDate": "19390217",
                    "AccessionNumber": f"ACC55204-{number}",
                    "age": 60 + number,
                }
            )
    with (tmp_path / "source" / "table.csv").open("w") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "source" / "key").write_bytes(bytes(range(32)))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("by", ["patient", "table"])
def test_no_command_leaves_a_byte_that_identifies_a_patient(
    archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ray_session: None,
    by: str,
) -> None:
    out, source = tmp_path / "out", archive.parent
    out.mkdir()
    manifest = f"{out}/manifest.parquet"
    keyed = ["--group-key", f"{source}/key", "--hash-paths", f"{source}/links"]
    table = ["--table", f"{source}/table.csv"] if by == "table" else []
    said = b""

    def run(*words: object, code: int = 0) -> None:
        nonlocal said
        log = f"{out}/{len(list(out.iterdir()))}.log"
        ended, *printed = run_here(capsys, *map(str, words), "--log-file", log)
        said += "".join(printed).encode()
        assert ended == code, printed

    run("index", archive, "-o", manifest, *keyed, *table)
    # the names are hashes, so only its size tells which one is damaged
    image = max(sorted((source / "links").iterdir()), key=lambda link: link.stat().st_size)
    run("inspect", manifest)
    training = ["--model", "covid-gap", "--epochs", 1, "--mlflow", f"{out}/mlflow"]
    run("train", manifest, "-o", f"{out}/run", *training)
    run("evaluate", f"{out}/run", manifest, "-o", f"{out}/evaluated")
    run("audit", f"{out}/run", manifest, "-o", f"{out}/audited")
    run("predict", f"{out}/run", manifest, "-o", f"{out}/scored")
    run("verify", f"{out}/scored")
    run("predict-one", f"{out}/run", image)
    run("explain", f"{out}/run", image, "-o", f"{out}/explained")
    run("report", f"{out}/run", f"{out}/evaluated", f"{out}/scored", "-o", f"{out}/report.html")
    run("bundle", "show", f"{out}/run")

    session = Path(ray.nodes()[0]["ObjectStoreSocketName"]).parents[1]
    found, searched = [], len(said)
    if _SEARCHED.search(said):
        found.append(f"printed: {_context(said)}")
    for file in (*out.rglob("*"), *session.rglob("*")):
        # what a name or its content says
        data = str(file.relative_to(file.anchor)).encode() + b"\n"
        if file.is_file() and not file.is_symlink():
            data += file.read_bytes()
        if file.suffix == ".parquet":
            data += str(pq.read_table(file).to_pydict()).encode()
        searched += len(data)
        if _SEARCHED.search(data):
            found.append(f"{file}: {_context(data)}")
    print(f"{by}: {searched} bytes searched, findings {len(found)}")  # noqa: T201 - the result
    assert found == []
    assert searched > 1_000_000
    # the search finds what there is
    assert all(_SEARCHED.search(file.read_bytes()) for file in archive.rglob("*.dcm"))


def _context(data: bytes) -> bytes:
    match = _SEARCHED.search(data)
    assert match is not None
    return data[max(0, match.start() - 60) : match.end() + 60]
