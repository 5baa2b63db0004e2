"""What a bundle carries of its tests, and the gate of `predict` that asks for it."""

import json
from pathlib import Path

import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.data import synthetic
from cnnjobs.errors import InputError
from cnnjobs.inference.plan import plan
from cnnjobs.models import model_card
from cnnjobs.models.bundle import Bundle
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle"), "covid-gap")


@pytest.fixture
def bundle(shared: Bundle) -> Bundle:
    for name in (model_card.EVALUATION, model_card.AUDIT):
        Path(shared.uri, name).unlink(missing_ok=True)
    return shared


def test_what_is_carried_says_of_which_images_it_is(bundle: Bundle) -> None:
    assert _evaluated(bundle, split="test", manifest="none")

    carried = json.loads(Path(bundle.uri, "evaluation.json").read_text())
    assert carried == model_card.carried(bundle, model_card.EVALUATION)
    assert carried["own_test_split"]
    assert (carried["split"], carried["manifest"]) == ("test", "none")
    assert carried["metrics"] == {"auroc": 0.75}


def test_the_last_one_wins(bundle: Bundle) -> None:
    _evaluated(bundle, manifest="one")
    _evaluated(bundle, manifest="other", split="all")

    carried = model_card.carried(bundle, model_card.EVALUATION)

    assert carried is not None
    assert (carried["manifest"], carried["own_test_split"]) == ("other", False)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_what_training_has_seen_is_no_evidence(bundle: Bundle, split: str) -> None:
    assert not _evaluated(bundle, split=split)
    assert model_card.carried(bundle, model_card.EVALUATION) is None


def test_evidence_of_another_model_in_the_same_place_does_not_count(bundle: Bundle) -> None:
    _evaluated(bundle)
    file = Path(bundle.uri, "evaluation.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fingerprint": "other"}))

    assert model_card.carried(bundle, model_card.EVALUATION) is None


def test_a_bundle_without_an_evaluation_is_told_before_ray_starts_and_refused_if_asked(
    bundle: Bundle, tmp_path: Path
) -> None:
    told = (
        f"{bundle.name} was never evaluated: nobody knows how often it is right; "
        "cnnjobs evaluate tells"
    )
    assert plan(_config(bundle, tmp_path)).doubts == [told]

    with pytest.raises(InputError) as refused:
        plan(_config(bundle, tmp_path, require_evaluated=True))

    assert str(refused.value) == f"{told}; require_evaluated refuses it."


def test_a_shortcut_is_told_and_refused(bundle: Bundle, tmp_path: Path) -> None:
    _evaluated(bundle)
    _audited(bundle, verdict="shortcut", share=0.876)

    assert plan(_config(bundle, tmp_path)).doubts == [
        f"{bundle.name} takes a shortcut: 88% of its score survives without the lungs; "
        "cnnjobs audit tells more"
    ]
    with pytest.raises(InputError, match=r"takes a shortcut: .*; require_evaluated refuses it\.$"):
        plan(_config(bundle, tmp_path, require_evaluated=True))


def test_an_evaluated_model_without_a_shortcut_passes(bundle: Bundle, tmp_path: Path) -> None:
    _evaluated(bundle)
    _audited(bundle, verdict="none found", share=0.1)

    assert plan(_config(bundle, tmp_path, require_evaluated=True)).doubts == []


def _evaluated(bundle: Bundle, *, split: str = "test", manifest: str = "none") -> bool:
    facts = {"metrics": {"auroc": 0.75}}
    return model_card.carry(
        bundle, model_card.EVALUATION, manifest=manifest, split=split, facts=facts
    )


def _audited(bundle: Bundle, *, verdict: str, share: float) -> None:
    facts = {"verdict": verdict, "surviving_share": share}
    model_card.carry(bundle, model_card.AUDIT, manifest="none", split="test", facts=facts)


def _config(bundle: Bundle, folder: Path, *, require_evaluated: bool = False) -> PredictConfig:
    data = folder / "archive"
    if not data.exists():
        synthetic.write_archive(data, num_images=2, num_broken=0)
    return PredictConfig(
        bundle=bundle.uri,
        data=str(data),
        output=str(folder / "run"),
        require_evaluated=require_evaluated,
    )
