import os
from pathlib import Path

import pyarrow as pa
import pytest

from cnnjobs.errors import InputError, RunExistsError
from cnnjobs.storage import apart


@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path / "lab" / "normal").mkdir(parents=True)
    (tmp_path / "lab" / "normal" / "a.png").write_bytes(b"pixels")
    (tmp_path / "link").symlink_to(tmp_path / "lab")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lab"


@pytest.mark.parametrize(
    ("output", "relation"),
    [
        ("lab", "is"),
        ("lab/", "is"),
        ("./lab/normal/..", "is"),
        ("link", "is"),
        ("lab/scored", "is inside"),
        ("link/scored/deep", "is inside"),
        ("link/../lab/scored", "is inside"),
        (".", "contains"),
        ("..", "contains"),
    ],
)
def test_an_output_that_touches_an_input_is_refused(lab, output, relation):
    with pytest.raises(InputError) as caught:
        apart.check(output, [None, "lab"])
    assert str(caught.value) == (
        f"the output {os.path.realpath(output)} {relation} the input lab; choose another output."
    )


def test_an_output_reached_through_a_link_of_the_input_is_refused(lab):
    with pytest.raises(InputError, match="is inside the input link"):
        apart.check("lab/scored", ["link"])


@pytest.mark.parametrize("output", ["lab2", "lab-scored", "scored", "../lab", "lab.parquet"])
def test_an_output_beside_the_inputs_is_accepted(lab, output):
    apart.check(output, ["lab", "lab/normal/a.png"])


@pytest.mark.parametrize(
    ("output", "given", "relation"),
    [
        ("s3://b/lab", "s3://b/lab/", "is"),
        ("s3://b/lab/scored", "s3://b/lab", "is inside"),
        ("s3://b/lab//scored", "s3://b/lab", "is inside"),
        ("s3://b", "s3://b/lab", "contains"),
        ("s3://b/runs", "s3://b/runs/first/bundle", "contains"),
        ("s3://b/scored", "s3://b", "is inside"),
    ],
)
def test_prefixes_are_compared_by_their_parts(output, given, relation):
    with pytest.raises(InputError, match=f"{relation} the input"):
        apart.check(output, [given])


def test_prefixes_that_only_begin_alike_are_apart():
    apart.check("s3://b/lab-scored", ["s3://b/lab", "s3://c", "/b/lab-scored"])


@pytest.mark.parametrize("output", ["lab", "lab/normal", "link"])
def test_an_output_that_contains_images_of_a_manifest_is_refused(lab, output):
    paths = [pa.chunked_array([[f"{lab}/normal/a.png", "/elsewhere/b.png"]])]
    with pytest.raises(InputError, match="contains images to be read"):
        apart.check_images(output, paths)
    apart.check_images("lab/normal/a.png.scored", paths)


def test_images_of_a_manifest_on_s3_are_compared_too():
    paths = [pa.chunked_array([["s3://b/lab/a.png"]])]
    with pytest.raises(InputError, match="contains images to be read"):
        apart.check_images("s3://b/lab", paths)
    apart.check_images("s3://b/la", paths)


def test_only_a_file_of_the_same_kind_is_replaced(lab):
    Path("page.html").write_text("<title>mine</title>")
    with pytest.raises(RunExistsError) as caught:
        apart.check_file(f"{lab.parent}/page.html", ["lab"], mark=b"cnnjobs", kind="a page")
    assert str(caught.value) == (
        f"{lab.parent}/page.html exists and is not a page; choose another name."
    )
    Path("page.html").write_text("<meta content=cnnjobs>")
    apart.check_file(f"{lab.parent}/page.html", ["lab"], mark=b"cnnjobs", kind="a page")
