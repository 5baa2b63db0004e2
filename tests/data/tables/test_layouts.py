"""`--layout`: the tables of public sets, written by `tests/support/label_tables.py`."""

from collections import Counter
from pathlib import Path

import pytest

from cnnjobs.cli.index import index_text
from cnnjobs.config import IndexConfig
from cnnjobs.config.files import resolve
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from tests.support.label_tables import LAYOUTS


@pytest.fixture
def indexed(tmp_path):
    """Return a function that indexes a new set of a layout: its rows and its summary."""

    def run(name, **settings):
        tables = LAYOUTS[name](tmp_path)
        given = {
            "sources": (f"{tmp_path}/images",),
            "output": f"{tmp_path}/m.parquet",
            "table": tuple(f"{tmp_path}/{table}" for table in tables),
            "layout": name,
            "content": False,
            **settings,
        }
        summary = index(resolve(IndexConfig, given))
        return manifest.read(summary.manifest).table.to_pylist(), summary

    return run


def test_nih14_has_patients_the_official_test_set_and_a_validation_of_its_own(indexed):
    rows, summary = indexed("nih14")
    assert {row["label"] for row in rows} == {"finding", "normal"}
    patients = {int(Path(row["path"]).name[:8]): row["group"] for row in rows}
    assert all(str(patient) == group for patient, group in patients.items())
    test = {int(row["group"]) for row in rows if row["split"] == "test"}
    assert test == {patient for patient in range(1, 21) if patient % 5 == 0}
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    splits = {(row["group"], row["split"]) for row in rows}
    assert len(splits) == 20
    assert {row["sex"] for row in rows} == {"F", "M"}
    assert all(isinstance(row["age"], int) for row in rows)
    assert "split: from the names of the tables" in index_text(summary)


def test_one_finding_of_nih14_against_none(indexed):
    rows, summary = indexed(
        "nih14", positive_when="Pneumonia == 1", negative_when="No Finding == 1"
    )
    # patients by turns: no finding, pneumonia, edema and pneumonia, mass
    expected = Counter()
    for patient in range(1, 21):
        expected[("negative", "positive", "positive", None)[patient % 4]] += 1 + patient % 3
    assert Counter(row["label"] for row in rows) == Counter(
        {label: number for label, number in expected.items() if label}
    )
    assert summary.table["left_out"]["neither positive nor negative"] == expected[None]
    assert "label from Finding Labels, group from Patient ID" in index_text(summary)


@pytest.mark.parametrize("uncertain", ["leave-out", "positive", "negative"])
def test_what_is_uncertain_in_chexpert_counts_as_its_policy_says(indexed, uncertain):
    rows, summary = indexed(
        "chexpert",
        positive_when="Pneumonia == 1",
        negative_when="Pneumonia == 0 or No Finding == 1",
        uncertain=uncertain,
    )
    # patients by turns: no finding, pneumonia, none, uncertain
    labels = ["negative", "positive", "negative", {"leave-out": None}.get(uncertain, uncertain)]
    counts = Counter(labels[patient % 4] for patient in range(1, 26))
    del counts[None]
    assert Counter(row["label"] for row in rows) == counts
    number = 6 if uncertain == "leave-out" else 0
    assert summary.table["left_out"].get("uncertain", 0) == number
    assert "label from Pneumonia, No Finding (matched" in index_text(summary)


def test_chexpert_takes_frontal_views_and_patients_from_the_path(indexed):
    rows, summary = indexed("chexpert")
    assert all("frontal" in row["path"] for row in rows)
    assert summary.table["left_out"]["not selected by --where"] == 25
    assert all(row["group"] in row["path"] and "patient" in row["group"] for row in rows)
    assert {row["view"] for row in rows} == {"AP"}
    assert "  path from Path, label from No Finding (matched by path)" in index_text(summary)
    by_folder = {(row["path"].split("/")[-4], row["split"]) for row in rows}
    assert by_folder == {("train", "train"), ("train", "test"), ("valid", "validation")}


def test_covidx_lists_have_no_header_and_a_name_with_a_space(indexed):
    rows, summary = indexed("covidx")
    assert len(rows) == 40
    assert {row["label"] for row in rows} == {"COVID-19", "normal", "pneumonia"}
    assert {row["source"] for row in rows} == {"cohen", "rsna"}
    spaced = [row for row in rows if " " in Path(row["path"]).name]
    assert sorted(row["group"] for row in spaced) == ["testp3", "trainp3"]
    assert {(row["path"].split("/")[-2], row["split"]) for row in rows} == {
        ("test", "test"), ("train", "train"), ("train", "validation"),
    }  # fmt: skip
    assert "label from 3" in index_text(summary)


def test_ieee8023_takes_frontal_radiographs_and_keeps_no_free_text(indexed):
    rows, summary = indexed("ieee8023")
    assert all(row["path"].endswith("-0.jpg") for row in rows)
    assert Counter(row["label"] for row in rows) == {"covid": 6, "normal": 6, "other": 6}
    assert summary.table["kept"] == ["age", "sex", "view", "location"]
    assert "clinical_notes" in summary.table["not_kept"]


@pytest.mark.parametrize("layout", ["nih14", "covidx", "ieee8023"])
def test_columns_are_guessed_without_a_layout(indexed, layout):
    rows, summary = indexed(layout, layout=None, max_unmatched="100%")
    assert rows
    guessed = next(iter(summary.table["files"].values()))["columns"]
    named = {
        "nih14": ("Image Index", "Finding Labels", "Patient ID"),
        "covidx": ("2", "3", None),
        "ieee8023": ("filename", "finding", "patientid"),
    }[layout]
    assert tuple(guessed.get(role) for role in ("path", "label", "group")) == named
