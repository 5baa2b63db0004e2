"""The evaluation and audit stored in a bundle, and the check of `predict` for them."""

import json
from pathlib import Path

import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.data import synthetic
from cnnjobs.errors import InputError
from cnnjobs.inference.plan import plan
from cnnjobs.models import external_tests, model_card
from cnnjobs.models.bundle import Bundle
from tests.support.bundles import resealed, write_bundle


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle"), "covid-gap")


@pytest.fixture
def bundle(shared: Bundle) -> Bundle:
    for name in (model_card.EVALUATION, model_card.AUDIT):
        Path(shared.uri, name).unlink(missing_ok=True)
    return resealed(Path(shared.uri))


def test_a_stored_result_records_which_images_it_is_on(bundle: Bundle) -> None:
    assert _evaluated(bundle, split="test", manifest="none")

    stored = json.loads(Path(bundle.uri, "evaluation.json").read_text())
    assert stored == model_card.read(bundle, model_card.EVALUATION)
    assert stored["own_test_split"]
    assert (stored["split"], stored["manifest"]) == ("test", "none")
    assert stored["metrics"] == {"auroc": 0.75}


def test_a_new_result_replaces_an_older_one(bundle: Bundle) -> None:
    _evaluated(bundle, manifest="one")
    _evaluated(bundle, manifest="other", split="all")

    stored = model_card.read(bundle, model_card.EVALUATION)

    assert stored is not None
    assert (stored["manifest"], stored["own_test_split"]) == ("other", False)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_results_on_images_used_in_training_are_not_stored(bundle: Bundle, split: str) -> None:
    assert not _evaluated(bundle, split=split)
    assert model_card.read(bundle, model_card.EVALUATION) is None


def test_the_result_of_another_model_in_the_same_folder_does_not_count(bundle: Bundle) -> None:
    _evaluated(bundle)
    file = Path(bundle.uri, "evaluation.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_digest": "other"}))

    assert model_card.read(bundle, model_card.EVALUATION) is None


def test_a_bundle_without_an_evaluation_gives_a_warning_before_ray_starts_or_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    doubt = f"{bundle.name} has not been evaluated: its accuracy is unknown; run cnnjobs evaluate"
    assert plan(_config(bundle, tmp_path)).doubts == [doubt]

    with pytest.raises(InputError) as refused:
        plan(_config(bundle, tmp_path, require_evaluated=True))

    assert str(refused.value) == f"{doubt}; require_evaluated rejects it."


def test_a_shortcut_gives_a_warning_or_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    _evaluated(bundle)
    _audited(bundle, verdict="shortcut", share=0.876)

    assert plan(_config(bundle, tmp_path)).doubts == [
        f"{bundle.name} takes a shortcut: 88% of its score survives without the lungs; "
        "run cnnjobs audit for details"
    ]
    with pytest.raises(InputError, match=r"takes a shortcut: .*; require_evaluated rejects it\.$"):
        plan(_config(bundle, tmp_path, require_evaluated=True))


def test_an_evaluated_model_without_a_shortcut_passes(bundle: Bundle, tmp_path: Path) -> None:
    _evaluated(bundle)
    _audited(bundle, verdict="none found", share=0.1)

    assert plan(_config(bundle, tmp_path, require_evaluated=True)).doubts == []


def test_predict_says_what_an_external_test_found_and_may_require_one(
    bundle: Bundle, tmp_path: Path
) -> None:
    _evaluated(bundle)
    with pytest.raises(InputError) as refused:
        plan(_config(bundle, tmp_path, require_external=True))
    assert str(refused.value) == (
        f"{bundle.name} has no external test; run cnnjobs evaluate --beside DATA; "
        "require_external rejects it."
    )

    _tested(bundle, "s3://bucket/north/manifest.parquet", 0.33, (0.21, 0.5))
    (line,) = plan(_config(bundle, tmp_path)).external
    assert line.startswith("external test on 44 images of north (20")
    assert line.endswith(
        ": AUROC 0.33 (0.21 to 0.50): no better than chance at north: do not use there"
    )
    with pytest.raises(InputError, match="has no external test above chance; external test on 44"):
        plan(_config(bundle, tmp_path, require_external=True))

    # the test on other images is added, a new one on the same images replaces the first
    _tested(bundle, "south.parquet", 0.8, (0.7, 0.9))
    _tested(bundle, "s3://bucket/north/manifest.parquet", 0.4, (0.3, 0.5))
    north, south = plan(_config(bundle, tmp_path, require_external=True)).external
    assert "AUROC 0.40 (0.30 to 0.50): no better" in north
    assert south.endswith("AUROC 0.80 (0.70 to 0.90)")


def test_a_test_on_the_training_s_own_manifest_is_not_external(bundle: Bundle) -> None:
    facts = {"data": "x", "num_images": 9, "counts": {}, "metrics": {}, "intervals": {}}
    assert external_tests.merged(bundle, {bundle.manifest_fingerprint: facts}) == []


def _tested(bundle: Bundle, data: str, auroc: float, interval: tuple[float, float]) -> None:
    summary = {
        "data": data,
        "num_images": 44,
        "counts": {"normal": 22, "opacity": 22},
        "metrics": {"auroc": auroc},
        "intervals": {"auroc": interval},
    }
    facts = {external_tests.KEY: external_tests.merged(bundle, {data: summary})}
    model_card.write(bundle, model_card.EVALUATION, manifest="none", split="test", facts=facts)


def _evaluated(bundle: Bundle, *, split: str = "test", manifest: str = "none") -> bool:
    facts = {"metrics": {"auroc": 0.75}}
    return model_card.write(
        bundle, model_card.EVALUATION, manifest=manifest, split=split, facts=facts
    )


def _audited(bundle: Bundle, *, verdict: str, share: float) -> None:
    facts = {"verdict": verdict, "surviving_share": share}
    model_card.write(bundle, model_card.AUDIT, manifest="none", split="test", facts=facts)


def _config(
    bundle: Bundle,
    folder: Path,
    *,
    require_evaluated: bool = False,
    require_external: bool = False,
) -> PredictConfig:
    data = folder / "archive"
    if not data.exists():
        synthetic.write_archive(data, num_images=2, num_broken=0)
    return PredictConfig(
        bundle=bundle.uri,
        data=str(data),
        output=str(folder / "run"),
        require_evaluated=require_evaluated,
        require_external=require_external,
    )
