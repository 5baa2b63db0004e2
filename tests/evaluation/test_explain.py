"""Grad-CAM of single images, with a bundle's model."""

from pathlib import Path

import cv2
import pytest

from cnnjobs.cli import main
from cnnjobs.config import ExplainConfig
from cnnjobs.errors import InputError
from cnnjobs.evaluation.explain import explain, plan
from cnnjobs.models.bundle import Bundle
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle"), "covid-gap")


def test_each_image_is_drawn_or_has_an_error(bundle: Bundle, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    good = sorted(archive.glob("normal/*.png"))
    good = [path for path in good if cv2.imread(str(path)) is not None][:1]
    images = (str(good[0]), str(tmp_path / "bad.png"))

    summary = explain(ExplainConfig(bundle=bundle.uri, images=images, output=str(tmp_path / "out")))

    first, bad = summary.images
    assert first.drawn == str(tmp_path / "out" / f"{good[0].stem}-gradcam.png")
    assert cv2.imread(first.drawn) is not None
    assert first.prediction in bundle.labels
    assert (bad.drawn, bad.prediction) == (None, None)
    assert (bad.error or "").startswith("not an image: ")


def test_images_with_the_same_name_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    images = (str(tmp_path / "a" / "one.png"), str(tmp_path / "b" / "one.png"))

    with pytest.raises(InputError, match=r"one-gradcam.png; explain them one by one\.$"):
        plan(ExplainConfig(bundle=bundle.uri, images=images, output=str(tmp_path)))


def test_every_result_is_printed_and_the_exit_code_says_that_one_image_has_none(
    bundle: Bundle, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, gone = next(archive.glob("normal/*.png")), tmp_path / "gone.png"

    with pytest.raises(SystemExit) as ended:
        main(["explain", bundle.uri, str(gone), str(good), "-o", str(tmp_path / "out"), "--quiet"])

    assert ended.value.code == 3
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[2:]] == [str(gone), str(good)]
    assert printed.err == (
        f"error: no heat map for 1 of 2 images, the first of them {gone} "
        "(missing: the file is gone).\n"
    )
