"""Tables that name DICOM files by an identifier, which is never written out."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from cnnjobs.cli.index import index_text
from cnnjobs.config import IndexConfig
from cnnjobs.data.index import index
from cnnjobs.errors import InputError
from tests.support import image_files

KEYS = ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """8 files of 4 patients, one study each."""
    folder = tmp_path_factory.mktemp("pacs") / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (8, 80, 90), np.uint8)
    for number, pixels in enumerate(noise):
        attributes = identifiers(number)
        (folder / f"IM{number}").write_bytes(image_files.dicom(pixels, **attributes))
    return folder


def identifiers(number):
    patient = number // 2
    return {
        "SOPInstanceUID": f"1.2.840.777.{number}",
        "StudyInstanceUID": f"1.2.840.888.{patient}",
        "AccessionNumber": f"ACC9{patient}",
        "PatientID": f"JONES-{patient}",
    }


def write(folder, columns):
    rows = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    return f"{folder}/t.csv"


def run(archive, tmp_path, table, **settings):
    given = {"split": False, "overwrite": True, **settings}
    return index(
        IndexConfig(
            sources=(str(archive),), output=f"{tmp_path}/m.parquet", table=(table,), **given
        )
    )


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("has_key", [False, True])
def test_each_identifier_finds_its_files_and_is_written_nowhere(archive, tmp_path, key, has_key):
    values = list(dict.fromkeys(identifiers(number)[key] for number in range(8)))
    columns = {
        key: values,
        "label": [("normal", "covid")[n % 2] for n in range(len(values))],
        "Patient": [f"JONES-{n if len(values) == 4 else n // 2}" for n in range(len(values))],
        "age": [str(40 + n) for n in range(len(values))],
    }
    secret = tmp_path / "key"
    secret.write_bytes(b"k" * 32)
    table = write(tmp_path, columns)
    summary = run(archive, tmp_path, table, group_key=str(secret) if has_key else None)
    found = pq.read_table(summary.manifest)
    rows = found.to_pylist()
    expected = [("normal", "covid")[(n if len(values) == 8 else n // 2) % 2] for n in range(8)]
    assert [row["label"] for row in rows] == expected
    assert [rows[n]["group"] == rows[n ^ 1]["group"] for n in range(8)] == [True] * 8
    assert summary.num_groups == 4
    assert summary.table["files"][table]["matched_by"] == f"DICOM {key}"
    written = f"{rows}{found.schema.metadata}{index_text(summary)}{json.dumps(summary.table)}"
    for word in ("JONES", "ACC9", "1.2.840"):
        assert word not in written


def test_a_row_without_a_file_is_named_by_its_number(archive, tmp_path):
    columns = {"PatientID": ["JONES-0", "JONES-9"], "label": ["a", "b"]}
    with pytest.raises(InputError) as caught:
        run(archive, tmp_path, write(tmp_path, columns))
    assert str(caught.value).startswith(f"1 of 2 rows of {tmp_path}/t.csv name no image in ")
    assert ", such as row 2; add --max-unmatched 1" in str(caught.value)


def test_a_column_of_another_name_is_told_what_it_holds(archive, tmp_path):
    columns = {"acc": [f"ACC9{n}" for n in range(4)], "label": ["a", "b"] * 2}
    table = write(tmp_path, columns)
    with pytest.raises(InputError, match=r"no column of .* names the images"):
        run(archive, tmp_path, table)
    summary = run(archive, tmp_path, table, path_column="acc", dicom_key="AccessionNumber")
    assert summary.counts == {"a": {"no split": 4}, "b": {"no split": 4}}


def test_two_studies_with_different_labels_in_one_row_each_are_refused(archive, tmp_path):
    columns = {"PatientID": ["JONES-0", "JONES-0"], "label": ["a", "b"]}
    with pytest.raises(InputError) as caught:
        run(archive, tmp_path, write(tmp_path, columns), max_unmatched="100%")
    assert "rows give different labels to 2 images" in str(caught.value)
    assert "JONES" not in str(caught.value)
