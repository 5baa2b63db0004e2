"""`index --table`: forms of tables, paths, labels, and what people get wrong."""

from collections import Counter

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cnnjobs.cli.index import index_text
from cnnjobs.config import IndexConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index, plan
from cnnjobs.data.tables.files import open_table
from cnnjobs.errors import ConfigError, InputError
from tests.support.label_tables import touch

NAMES = [f"{folder}/{number:02d}.png" for folder in ("a", "b") for number in range(6)]
LABELS = ["covid", "normal", "normal"] * 4


@pytest.fixture
def images(tmp_path):
    """12 empty files in two folders."""
    for number, name in enumerate(NAMES):
        # file names that are unique without their folder
        touch(tmp_path / "images" / name.replace("/", f"/{'ab'[number > 5]}"))
    return tmp_path / "images"


PATHS = [name.replace("/", f"/{name[0]}") for name in NAMES]


def write(folder, rows, name="t.csv", encoding="utf-8", separator=",", end="\n"):
    """Write rows as a table and return its path."""
    text = "".join(separator.join(map(str, row)) + end for row in rows)
    (folder / name).write_bytes(text.encode(encoding))
    return f"{folder}/{name}"


def table_of(folder, columns, **form):
    """Write columns, given by name, as a table and return its path."""
    return write(folder, [columns, *zip(*columns.values(), strict=True)], **form)


def run(images, *tables, **settings):
    """Index; return the rows and the summary."""
    config = IndexConfig(
        **{
            "sources": (str(images),),
            "output": f"{images.parent}/m.parquet",
            "table": tables,
            "content": False,
            "split": False,
            "overwrite": True,
            **settings,
        }
    )
    summary = index(config)
    return manifest.read(summary.manifest).table.to_pylist(), summary


def error(images, *tables, **settings):
    """The one line that indexing ends with."""
    with pytest.raises(InputError) as caught:
        run(images, *tables, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{images.parent}/", "")


def labels_of(rows):
    return [row["label"] for row in rows]


# forms


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_separators_and_line_ends_are_recognized(images, encoding, separator, end):
    labels = ["müde" if label == "covid" else label for label in LABELS]
    table = table_of(
        images.parent,
        {"Pfad": PATHS, "label": labels, "Größe": ["1"] * 12},
        encoding=encoding, separator=separator, end=end,
    )  # fmt: skip
    rows, summary = run(images, table, path_column="Pfad")
    assert labels_of(rows) == labels
    form = summary.table["files"][table]["form"]
    name = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "latin-1": "Latin-1"}.get(encoding, "UTF-16")
    assert form.startswith(name)
    assert {",": "commas", ";": "semicolons", "\t": "tabs"}[separator] in form


def test_a_letter_that_is_not_utf_8_far_into_a_table_is_read_as_latin_1(images):
    more = [(f"gone/{number}.png", "normal") for number in range(60_000)]
    rows = [("path", "label"), *zip(PATHS, LABELS, strict=True), *more, ("x.png", "müde")]
    table = write(images.parent, rows, encoding="latin-1")
    found, summary = run(images, table, max_unmatched="100%")
    assert labels_of(found) == LABELS
    assert summary.table["files"][table]["form"].startswith("Latin-1")


def test_bytes_that_windows_does_not_use_are_latin_1(images):
    table = table_of(images.parent, {"path": PATHS, "label": LABELS})
    (images.parent / "t.csv").write_bytes(
        (images.parent / "t.csv").read_bytes() + b"x,caf\xe9\x81\n"
    )
    assert len(run(images, table)[0]) == 12


def test_excels_line_of_the_separator_is_no_row(images):
    rows = [("path", "label"), *zip(PATHS, LABELS, strict=True)]
    table = write(images.parent, rows, separator=";")
    (images.parent / "t.csv").write_text("sep=;\n" + (images.parent / "t.csv").read_text())
    assert labels_of(run(images, table)[0]) == LABELS


@pytest.mark.parametrize("header", ["", "Image Index\n"])
def test_a_list_of_names_is_a_table(images, header):
    (images.parent / "list.txt").write_text(header + "\n".join(PATHS))
    rows, _ = run(images, f"{images.parent}/list.txt", labels=False, max_unmatched="0")
    assert len(rows) == 12


def test_quotes_may_hold_separators_and_line_ends(images):
    rows = [
        ("note", "path", "label"),
        *(('"a, b\nc ""d"""', *row) for row in zip(PATHS, LABELS, strict=True)),
    ]
    assert labels_of(run(images, write(images.parent, rows))[0]) == LABELS


def test_decimal_commas_are_numbers(images):
    table = table_of(
        images.parent,
        {"path": PATHS, "label": LABELS, "dose": [f"{n},5" for n in range(12)]},
        separator=";",
    )
    rows, _ = run(images, table, where="dose > 3.5")
    assert [row["dose"] for row in rows] == [n + 0.5 for n in range(4, 12)]


def test_parquet_is_a_table(images):
    file = images.parent / "t.parquet"
    pq.write_table(
        pa.table(
            {"path": PATHS, "label": pa.array(LABELS).dictionary_encode(), "age": [40.0] * 12}
        ),
        file,
    )
    rows, _ = run(images, str(file))
    assert labels_of(rows) == LABELS
    assert {row["age"] for row in rows} == {40}


def test_a_compressed_table_is_read(images):
    import gzip

    text = "path,label\n" + "".join(f"{p},{n}\n" for p, n in zip(PATHS, LABELS, strict=True))
    (images.parent / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert labels_of(run(images, f"{images.parent}/t.csv.gz")[0]) == LABELS


def test_a_table_on_s3_is_read(images, s3):
    from cnnjobs.storage import filesystem

    text = "path,label\n" + "".join(f"{p},{n}\n" for p, n in zip(PATHS, LABELS, strict=True))
    filesystem.write_bytes(f"{s3}/t.csv", text.encode())
    assert labels_of(run(images, f"{s3}/t.csv")[0]) == LABELS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.csv is empty; give a table with one row per image."),
        (b"  \n\n", "t.csv is empty; give a table with one row per image."),
        (b"\xef\xbb\xbf", "t.csv is empty; give a table with one row per image."),
        (b"\xff\xfe", "t.csv is empty; give a table with one row per image."),
        (b"path,label\n", "t.csv has a header and no rows; give one row per image."),
        (b"path,label", "t.csv has a header and no rows; give one row per image."),
        (b'[{"path": "a/a00.png", "label": "a"}]\n', "t.csv is JSON; save it as CSV."),
        (b"<html><table><tr><td>a", "t.csv is HTML or XML; save it as CSV."),
        (
            "path,label\na/a00.png,covid\n".encode("utf-16") + b"\n",
            "t.csv is damaged UTF-16; save it as CSV in UTF-8.",
        ),
        (
            b"# of our hospital\npath,label\na/a00.png,covid\n",
            "no column of t.csv names the images (UTF-8, one column, no header: '# of our "
            "hospital'); remove lines above the header, or give --path-column, or the folder that "
            "its paths begin in.",
        ),
        (b"PK\x03\x04rest", "t.csv is a workbook or an archive; save it as CSV."),
        (b"\x00\x01\x02", "t.csv is not a table of text; give CSV, TSV, Parquet or a list."),
        (b"path,path,label\na,b,c\n", "t.csv has 2 columns named 'path'; rename all but one."),
        (
            b"path,label\na/a00.png,covid, new\n",
            "row 1 of t.csv has 3 cells, the table has 2 columns; put cells that contain the "
            "separator in quotes.",
        ),
    ],
)
def test_a_file_that_is_no_table_is_one_line(images, data, message):
    (images.parent / "t.csv").write_bytes(data)
    assert error(images, f"{images.parent}/t.csv") == message


def test_a_missing_table_is_one_line(images):
    assert error(images, f"{images.parent}/no.csv") == "no.csv does not exist."


# paths


@pytest.mark.parametrize(
    "written",
    [
        lambda images, path: path,
        lambda images, path: f"{images}/{path}",
        lambda images, path: f"images/{path}",
        lambda images, path: f"/elsewhere/data/images/{path}",
        lambda images, path: f"./{path}",
        lambda images, path: path.replace("/", "\\"),
        lambda images, path: f"C:\\data\\{path}".replace("/", "\\"),
        lambda images, path: path.split("/")[1],
        lambda images, path: path.removesuffix(".png"),
        lambda images, path: path.split("/")[1].removesuffix(".png"),
        lambda images, path: path.replace(".png", ".dcm"),
        lambda images, path: path.replace(".png", ".PNG"),
        lambda images, path: f" {path} ",
    ],
)
def test_paths_may_be_written_in_many_ways(images, written):
    paths = [written(images, path) for path in PATHS]
    rows, _ = run(images, table_of(images.parent, {"path": paths, "label": LABELS}))
    assert labels_of(rows) == LABELS


def test_a_name_in_two_folders_is_refused(images):
    touch(images / "b/a00.png")
    table = table_of(images.parent, {"path": [p.split("/")[1] for p in PATHS], "label": LABELS})
    message = error(images, table)
    assert message == (
        "1 rows of t.csv name several images, such as a00.png (images/a/a00.png and "
        "images/b/a00.png); give a column with the folders, or the folder of these images alone."
    )


def test_rows_of_another_folder_do_not_claim_its_images(tmp_path):
    for number in range(4):
        touch(tmp_path / f"set/train/{number}.png")
    rows = [("path", "label")]
    rows += [(f"set/train/{number}.png", "normal") for number in range(4)]
    rows += [(f"set/valid/{number}.png", "covid") for number in range(4)]
    table = write(tmp_path, rows)
    found, summary = run(tmp_path / "set/train", table, max_unmatched="50%")
    assert labels_of(found) == ["normal"] * 4
    assert summary.table["rows_without_image"][table]["number"] == 4


def test_what_does_not_match_is_counted_named_and_limited(images):
    rows = [("path", "label"), *zip(PATHS[:-2], LABELS, strict=False), ("gone.png", "covid")]
    table = write(images.parent, rows)
    assert error(images, table, max_unmatched="0") == (
        "1 of 11 rows of t.csv name no image in images, such as gone.png; add --max-unmatched 1 "
        "if that is right (it is 0), or check the folder and --path-column."
    )
    assert error(images, table) == (
        "2 of 12 images in images are in no row, such as images/b/b04.png, images/b/b05.png; add "
        "--max-unmatched 2 if that is right (it is 10%), or check the folder and --path-column."
    )
    found, summary = run(images, table, max_unmatched="2")
    assert len(found) == 10
    assert "images without a row: 2, such as" in index_text(summary)
    assert "rows without an image: 1, such as gone.png" in index_text(summary)


def test_a_table_of_other_images_is_refused(images):
    table = table_of(images.parent, {"path": ["x.png", "y.png"], "label": ["a", "b"]})
    assert error(images, table).startswith("no column of t.csv names the images (it has path, lab")
    assert error(images, table, path_column="path").startswith(
        "none of the 2 rows of t.csv names an image in images by column path, such as x.png; "
    )


# columns


def test_several_tables_are_joined_by_image(images):
    first = table_of(images.parent, {"path": PATHS, "label": LABELS}, name="one.csv")
    second = table_of(
        images.parent,
        {
            "file": [p.split("/")[1] for p in PATHS],
            "patient": [*"aabbccddeeff"],
            "sex": [*"FM"] * 6,
        },
        name="two.tsv",
        separator="\t",
    )
    rows, _ = run(images, first, second)
    assert labels_of(rows) == LABELS
    assert [row["group"] for row in rows] == [*"aabbccddeeff"]
    assert [row["sex"] for row in rows] == [*"FM"] * 6


def test_columns_are_guessed_by_name_and_content_and_reported(images):
    table = table_of(
        images.parent,
        {
            "id": range(12), "x": PATHS, "Diagnosis": LABELS, "Patient ID": range(12),
            "set": ["train", "val", "test"] * 4, "Hospital": ["n", "s"] * 6, "age": range(12),
        },
    )  # fmt: skip
    rows, summary = run(images, table)
    assert summary.table["files"][table]["columns"] == {
        "path": "x", "label": "Diagnosis", "group": "Patient ID", "split": "set",
        "source": "Hospital",
    }  # fmt: skip
    assert "path from x, label from Diagnosis, group from Patient ID" in index_text(summary)
    assert [row["split"] for row in rows] == ["train", "validation", "test"] * 4
    assert [row["source"] for row in rows] == ["n", "s"] * 6
    assert [row["age"] for row in rows] == [*range(12)]


def test_a_label_column_of_another_name_is_guessed_if_it_is_the_only_one(images):
    columns = {"path": PATHS, "Befund": LABELS, "Geschlecht/sex": ["f", "m"] * 6}
    rows, _ = run(images, table_of(images.parent, columns))
    assert labels_of(rows) == LABELS
    table = table_of(images.parent, {**columns, "Ort": ["x", "y"] * 6})
    assert "give --label-column" in error(images, table)


def test_a_dry_run_reports_the_table(images):
    table = table_of(images.parent, {"path": PATHS, "label": LABELS})
    config = IndexConfig(
        sources=(str(images),), output=f"{images.parent}/m.parquet", table=(table,), content=False
    )
    found = plan(config)
    assert found["labels"] == {"covid": 4, "normal": 8}
    assert found["table"]["files"][table]["columns"] == {"path": "path", "label": "label"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"label_column": "lable"},
            "--label-column 'lable' of t.csv: the table has no column 'lable'; did you mean label?",
        ),
        (
            {"group_column": "zzz"},
            "--group-column 'zzz' of t.csv: the table has no column 'zzz'; it has path, label, "
            "patient.",
        ),
        (
            {"where": "patent == 1"},
            "--where 'patent == 1': the table has no column 'patent'; did you mean patient or "
            "path?",
        ),
        ({"keep": ("agee",)}, "--keep 'agee' of t.csv: the table has no column 'agee'; it has "
         "path, label, patient."),
        (
            {"map": ("Covid=x",)},
            "--map 'Covid': column label of t.csv has no such label; it has 'covid', 'normal'.",
        ),
        (
            {"where": "patient > 99"},
            "the tables leave no image (12 not selected by --where); check --map, --where, "
            "--positive-when and --negative-when.",
        ),
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_is_one_line_with_near_ones(images, settings, message):
    table = table_of(images.parent, {"path": PATHS, "label": LABELS, "patient": range(12)})
    assert error(images, table, **settings) == message


def test_a_table_without_labels_is_refused_unless_none_are_wanted(images):
    table = table_of(images.parent, {"path": PATHS, "age": range(12)})
    assert error(images, table) == (
        "no column of t.csv is called label, class or the like (it has path, age); give "
        "--label-column, or --positive-when and --negative-when, or --no-labels."
    )
    for settings in ({"labels": False}, {"label_column": "none"}):
        rows, _ = run(images, table, **settings)
        assert labels_of(rows) == [None] * 12


def test_identifiers_dates_and_free_text_are_not_kept_unless_asked_for(images):
    columns = {
        "path": PATHS, "label": LABELS, "mrn": range(100, 112), "StudyDate": ["2020-01-02"] * 12,
        "seen": ["3/4/2021"] * 12, "remark": [f"long text {n}" for n in range(12)],
        "Scanner": ["A", "B"] * 6, "weight": [70.5] * 12,
    }  # fmt: skip
    table = table_of(images.parent, columns)
    _, summary = run(images, table)
    assert {"Scanner", "weight"} <= set(summary.table["kept"])
    assert not {"mrn", "StudyDate", "seen"} & set(summary.table["kept"])
    rows, _ = run(images, table, keep=("StudyDate=day", "Scanner"))
    assert rows[0]["day"] == "2020-01-02"
    assert "weight" not in rows[0]


def test_a_column_with_the_name_of_a_manifests_is_renamed(images):
    table = table_of(images.parent, {"path": PATHS, "label": LABELS, "width": range(12)})
    rows, _ = run(images, table)
    assert [row["table_width"] for row in rows] == [*range(12)]
    assert rows[0]["width"] is None


# labels


def test_labels_are_renamed_and_left_out(images):
    labels = ["COVID-19", "No Finding", "Pneumonia", "Mass"] * 3
    table = table_of(images.parent, {"path": PATHS, "label": labels})
    rows, summary = run(images, table, map=("COVID-19=covid", "No Finding=normal", "Mass="))
    assert Counter(labels_of(rows)) == {"covid": 3, "normal": 3, "Pneumonia": 3}
    assert summary.table["left_out"]["left out by --map"] == 3
    rows, _ = run(images, table, map=("COVID-19=covid", "*=other"))
    assert Counter(labels_of(rows)) == {"covid": 3, "other": 9}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["covid", "Covid"] * 6,
            "column label of t.csv has the labels 'Covid' and 'covid', which may be one class; add "
            "--map 'Covid=covid', or rename one of them.",
        ),
        (
            ["covid", "covid "] * 6,
            "column label of t.csv has the labels 'covid ' and 'covid', which may be one class; "
            "add --map 'covid =covid', or rename one of them.",
        ),
        (
            ["no finding", "no_finding"] * 6,
            "column label of t.csv has the labels 'no finding' and 'no_finding', which may be one "
            "class; add --map 'no finding=no_finding', or rename one of them.",
        ),
        (
            ["1", "1.0", "0"] * 4,
            "column label of t.csv has the labels '1' and '1.0', which may be one class; add "
            "--map '1=1.0', or rename one of them.",
        ),
        (
            [f"2020-01-{day:02d}" for day in range(1, 13)],
            "column label of t.csv holds dates, not classes: 12 different ones in 12 rows, such as "
            "'2020-01-01'; give another --label-column, or --positive-when and --negative-when.",
        ),
        *(
            (
                days,
                "column label of t.csv holds dates, not classes: 12 different ones in 12 rows, "
                f"such as {days[0]!r}; give another --label-column, or --positive-when and "
                "--negative-when.",
            )
            for days in (
                [f"2020-01-{day:02d}T10:00:00" for day in range(10, 22)],
                [f"{day} Jan 2020" for day in range(10, 22)],
                [f"2020-01-{day:02d}" for day in range(10, 21)] + ["unknown"],
            )
        ),
        *(
            (
                numbers,
                "column label of t.csv holds numbers, not classes: 12 different ones in 12 rows, "
                f"such as {numbers[0]!r}; give another --label-column, or --positive-when and "
                "--negative-when.",
            )
            for numbers in (
                [f"0.{number}" for number in range(10, 21)] + ["unknown"],
                [f"{number}.5%" for number in range(10, 22)],
            )
        ),
        (
            ["\u00e9tat", "e\u0301tat"] * 6,
            "column label of t.csv has the labels 'e\\u0301tat' and '\\xe9tat', which look alike; "
            "write them alike in the table.",
        ),
        (
            ["covid", "covid\u200b"] * 6,
            "column label of t.csv has the labels 'covid' and 'covid\\u200b', which look alike; "
            "write them alike in the table.",
        ),
        (
            ["no\u00a0finding", "no finding"] * 6,
            "column label of t.csv has the labels 'no finding' and 'no\\xa0finding', which look "
            "alike; write them alike in the table.",
        ),
        (
            ["", "NA"] * 6,
            "column label of t.csv has no label in 12 rows, only blanks and NA; give another "
            "--label-column, or --no-labels.",
        ),
        (
            [f"0.{number}" for number in range(10, 22)],
            "column label of t.csv holds numbers, not classes: 12 different ones in 12 rows, such "
            "as '0.10'; give another --label-column, or --positive-when and --negative-when.",
        ),
    ],
)
def test_labels_that_are_no_classes_are_one_line(images, labels, message):
    table = table_of(images.parent, {"path": PATHS, "label": labels})
    assert error(images, table) == message


def test_the_advice_for_two_forms_of_a_label_works(images):
    table = table_of(images.parent, {"path": PATHS, "label": ["covid", "covid "] * 6})
    rows, _ = run(images, table, map=("covid =covid",))
    assert labels_of(rows) == ["covid"] * 12


def test_numbers_may_be_classes_and_keep_their_form(images):
    table = table_of(images.parent, {"path": PATHS, "label": ["00", "01"] * 6})
    assert labels_of(run(images, table)[0]) == ["00", "01"] * 6


@pytest.mark.parametrize("column", ["label", "patient", "split", "source"])
def test_rows_of_an_image_that_differ_are_refused(images, column):
    columns = {"path": PATHS, "label": ["normal"] * 12}
    columns |= {column: [{"split": "train"}.get(column, "normal")] * 12}
    rows = [columns, *zip(*columns.values(), strict=True)]
    other = {"split": "test"}.get(column, "other")
    rows += [[PATHS[3] if name == "path" else values[0] for name, values in columns.items()]]
    rows[-1][list(columns).index(column)] = other
    message = error(images, write(images.parent, rows))
    shown = {"label": ", normal and other", "split": ", train and test",
             "source": ", normal and other"}.get(column, "")  # fmt: skip
    what = {"patient": "group"}.get(column, column)
    assert message == (
        f"rows give different {what}s to 1 image, such as images/a/a03.png{shown}; keep one row "
        "per image, or correct them."
    )


def test_a_blank_patient_is_an_error_or_a_group_of_its_own(images):
    table = table_of(images.parent, {"path": PATHS, "label": LABELS, "patient": [1, ""] * 6})
    assert error(images, table) == (
        "the tables have no group for 6 of 12 images, such as a/a01.png; every image needs one, or "
        "add --groups-missing own."
    )
    rows, summary = run(images, table, groups_missing="own")
    assert [row["group"] for row in rows[:2]] == ["1", "images/a/a01.png"]
    assert summary.warnings == ["6 of 12 images have no group and are each their own"]


def test_rows_of_an_image_that_agree_are_one(images):
    rows = [("path", "label"), *zip(PATHS, LABELS, strict=True)] + [(PATHS[0], LABELS[0])] * 3
    assert labels_of(run(images, write(images.parent, rows))[0]) == LABELS


def test_a_patient_on_both_sides_of_a_split_is_refused_and_counted(images):
    columns = {
        "path": PATHS, "label": ["a", "b"] * 6, "patient": [*"ppqqrrssttuu"],
        "split": ["train"] * 3 + ["test"] * 9,
    }  # fmt: skip
    table = table_of(images.parent, columns)
    assert error(images, table) == (
        "1 of 6 patients (groups) have images in more than one split of the table, 2 images in "
        "all; correct the table, or add --split-column none to split by patient."
    )
    rows, _ = run(images, table, split_column="none", split=True)
    assert len({(row["group"], row["split"]) for row in rows}) == 6


def test_a_split_of_other_words_is_refused(images):
    columns = {"path": PATHS, "label": LABELS, "fold": [1, 2, 3] * 4}
    table = table_of(images.parent, columns)
    assert "split" not in run(images, table)[1].table["files"][table]["columns"]
    assert error(images, table, split_column="fold").startswith(
        "column fold of t.csv must hold train, validation and test (or words like val and dev), "
        "it holds '1'; "
    )


def test_what_a_split_lacks_is_drawn_from_its_training_images(images):
    columns = {"path": PATHS, "label": ["a", "b"] * 6, "split": ["train"] * 8 + ["test"] * 4}
    rows, _ = run(images, table_of(images.parent, columns), split=True, validation=0.25)
    assert [row["split"] for row in rows[8:]] == ["test"] * 4
    assert Counter(row["split"] for row in rows[:8]) == {"train": 6, "validation": 2}


# one column per finding


FINDINGS = {
    "path": PATHS,
    "Pneumonia": ["1", "0", "-1", ""] * 3,
    "No Finding": ["0", "1", "0", ""] * 3,
}
PAIR = {"positive_when": "Pneumonia == 1", "negative_when": "No Finding == 1"}


def test_two_classes_come_from_two_conditions(images):
    rows, summary = run(images, table_of(images.parent, FINDINGS), **PAIR)
    assert labels_of(rows) == ["positive", "negative"] * 3
    assert summary.table["left_out"] == {
        "not selected by --where": 0, "neither positive nor negative": 3,
        "both positive and negative": 0, "uncertain": 3,
    }  # fmt: skip
    text = index_text(summary)
    assert "images left out: neither positive nor negative 3, uncertain 3" in text


def test_uncertain_findings_follow_the_policy(images):
    table = table_of(images.parent, FINDINGS)
    rows, _ = run(images, table, **PAIR, uncertain="positive")
    assert labels_of(rows) == ["positive", "negative", "positive"] * 3
    rows, _ = run(images, table, positive_when="Pneumonia == 1", negative_when="Pneumonia != 1")
    assert labels_of(rows) == ["positive", "negative"] * 3
    assert error(images, table, positive_when="Pneumonia in (1, -1)", negative_when="Pneumonia==0"
    ) == (
        "--positive-when 'Pneumonia in (1, -1)' compares Pneumonia with -1, which is an uncertain "
        "finding; say what these count as with --uncertain."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("positive", "negative", "reason"),
    [
        ("Pneumonia == 1", "Pneumonia == 1",
         "neither positive nor negative: 6, both positive and negative: 3, uncertain: 3"),
        ("Pneumonia == 7", "Pneumonia == 8",
         "neither positive nor negative: 9, uncertain: 3"),
    ],
)  # fmt: skip
def test_conditions_that_label_nothing_are_refused(images, positive, negative, reason):
    table = table_of(images.parent, FINDINGS)
    assert error(images, table, positive_when=positive, negative_when=negative) == (
        f"--positive-when {positive!r} and --negative-when {negative!r} label no row ({reason}); "
        "change the conditions."
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"positive_when": "a == 1"},
            "positive_when and negative_when must be given together; what fulfils neither is left "
            "out.",
        ),
        ({"table": (), "where": "a == 1"}, "where describes a table; add --table FILE."),
        ({"table": (), "layout": "nih14"}, "layout describes a table; add --table FILE."),
        ({"map": ("covid",)}, "map must be OLD=NEW, got covid."),
        (
            {"map": ("a=x", "b=x", "a=y")},
            "map must give 'a' one new name, got 'x' and 'y'.",
        ),
        (
            {"map": ("*=x", "*=")},
            "map must give '*' one new name, got 'x' and ''.",
        ),
        (
            {"keep": ("age=years", "sex", "age")},
            "keep must give 'age' one new name, got 'years' and ''.",
        ),
        ({"layout": "nih"}, "layout must be one of nih14, chexpert, covidx, ieee8023, got nih."),
        (
            {"max_unmatched": "many"},
            "max_unmatched must be a number of rows or images (25) or a share of them (0.5%), got "
            "many.",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        IndexConfig(**{"sources": ("x",), "output": "m", "table": ("t.csv",), **settings})
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.json", "new/M.CSV", "m.xlsx"])
def test_an_output_of_another_kind_makes_no_folder(images, name):
    output = f"{images.parent}/{name}"
    assert error(images, output=output, table=()) == (
        f"output {name} names a file of another kind; a manifest is Parquet, give FILE.parquet or "
        "a folder."
    )
    assert not (images.parent / name).exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_threads_of_arrow_hold_nothing_of_python_which_may_exit_before_them(
    tmp_path, monkeypatch, encoding
):
    """A process that ended while a thread freed a row handler was aborted, once in twenty times."""
    given = []
    open_csv = pyarrow.csv.open_csv
    monkeypatch.setattr(
        pyarrow.csv, "open_csv", lambda *words: given.append(words) or open_csv(*words)
    )
    (tmp_path / "t.csv").write_text("file,dx\na.png,é\nb.png,b\n", encoding=encoding)

    open_table(str(tmp_path / "t.csv"))

    ((source, read, parse, _),) = given
    assert type(source) in (pa.OSFile, pa.BufferReader)
    assert parse.invalid_row_handler is None
    assert read.encoding == "utf8"
