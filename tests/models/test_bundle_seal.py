"""A bundle cannot vouch for itself: its digests are computed, and what was changed is refused."""

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.data import synthetic
from cnnjobs.errors import BundleError, ConfigError, InputError
from cnnjobs.inference.bundle import Bundle as OpenedBundle
from cnnjobs.inference.plan import plan
from cnnjobs.inference.predict import predict
from cnnjobs.inference.predictor import open_engine
from cnnjobs.models import bundle as bundles
from cnnjobs.models import bundle_seal, model_card, openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.storage import filesystem, run_dir
from tests.support.bundles import resealed, sigmoid_to_exp, write_bundle
from tests.support.cli import run_here

SUMS = "SHA256SUMS"
RESULTS = (model_card.EVALUATION, model_card.AUDIT)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Evaluated, audited without a shortcut, and with an int8 network (here: of float32)."""
    made = write_bundle(tmp_path_factory.mktemp("made") / "bundle", "covid-gap")
    files = dict(zip(("model.xml", "model.bin"), openvino_export.read(made), strict=True))
    openvino_export.store(dataclasses.replace(made, variant="int8"), files, 0.0)
    _judged(made)
    return bundles.read(made.uri)


@pytest.fixture
def copied(made: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.uri, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("archive") / "images"
    synthetic.write_archive(folder, num_images=3, num_broken=0)
    return str(folder)


def test_the_forged_export_scores_otherwise_and_is_refused_by_its_name(copied: Path) -> None:
    bundle = bundles.read(str(copied))
    black = np.zeros((1, bundle.preprocessing.height, bundle.preprocessing.width, 1), np.uint8)
    before = float(open_engine(bundle, "openvino", batch_size=1, threads=1).scores(black)[0, 0])
    sigmoid_to_exp(copied)

    with pytest.raises(BundleError) as refused:
        bundles.read(str(copied))
    assert str(refused.value) == (
        f"{copied}/openvino/export.json is not the file that was sealed with the bundle "
        "(SHA256SUMS); use an unchanged copy of the bundle, or train again."
    )
    forged = resealed(copied)
    after = float(open_engine(forged, "openvino", batch_size=1, threads=1).scores(black)[0, 0])
    assert after - before > 0.1
    assert forged.name != bundle.name


@pytest.mark.parametrize("part", [*bundle_seal.MODEL_PARTS, *bundle_seal.ADDED])
def test_a_file_that_was_changed_deleted_or_added_is_refused_by_its_name(
    made: Bundle, copied: Path, part: str
) -> None:
    file = copied / part
    data = file.read_bytes()
    file.write_bytes(data.replace(b"\n", b" ", 1) if part.endswith("n") else data + b" ")
    with pytest.raises(BundleError, match=re.escape(f"{file} is not the file that was sealed")):
        bundles.read(str(copied))
    file.unlink()
    with pytest.raises(BundleError, match=f"{re.escape(part)} is missing"):
        bundles.read(str(copied))
    bundle_seal.seal(str(copied))
    file.write_bytes(data)
    with pytest.raises(BundleError, match=re.escape(f"{file} is not the file that was sealed")):
        bundles.read(str(copied))


def test_a_seal_that_is_no_list_of_hashes_is_refused(copied: Path) -> None:
    for text in ("", "x", "0" * 64 + "  ../../etc/passwd\n", "\xff", "0" * 64 + "  bundle.json\n"):
        (copied / SUMS).write_bytes(text.encode("latin-1"))
        with pytest.raises(BundleError) as refused:
            bundles.read(str(copied))
        assert "\n" not in str(refused.value)


def test_the_seal_is_what_sha256sum_checks_and_its_hash_is_the_digest(made: Bundle) -> None:
    checked = subprocess.run(["sha256sum", "-c", SUMS], cwd=made.uri, capture_output=True)
    assert checked.returncode == 0
    assert len(checked.stdout.splitlines()) == 12
    sums = Path(made.uri, SUMS).read_bytes()
    assert made.digest == f"sha256:{hashlib.sha256(sums).hexdigest()}"
    content = json.loads(Path(made.uri, "bundle.json").read_text())
    del content["created"], content["bundle_version"]
    description = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    lines = [line for line in sums.splitlines(True) if not _is_result(line)]
    model = b"".join(
        f"{description}  bundle.json\n".encode() if line.endswith(b"  bundle.json\n") else line
        for line in lines
    )
    assert made.model_digest == f"sha256:{hashlib.sha256(model).hexdigest()}"
    assert made.name == f"covid-gap-{made.model_digest[7:27]}"


def test_an_evaluation_changes_the_bundles_digest_and_not_the_models(copied: Path) -> None:
    before = bundles.read(str(copied))
    _judged(before, auroc=0.99)
    after = bundles.read(str(copied))
    assert (after.name, after.model_digest) == (before.name, before.model_digest)
    assert after.digest != before.digest
    assert model_card.doubts(after) == []


def test_a_sealed_forgery_has_another_name_and_no_evaluation(
    made: Bundle, copied: Path, archive: str
) -> None:
    sigmoid_to_exp(copied)
    resealed(copied)
    with pytest.raises(InputError, match=r"has not been evaluated: .*; require_evaluated rejects"):
        plan(_config(copied, archive, require_evaluated=True))


def test_an_evaluation_of_another_bundle_does_not_count(
    made: Bundle, copied: Path, archive: str
) -> None:
    other = write_bundle(copied.parent / "other", "covid-gap", seed=1)
    for name in RESULTS:
        record = json.loads((copied / name).read_text()) | {"fingerprint": other.fingerprint}
        Path(other.uri, name).write_text(json.dumps(record))
    resealed(Path(other.uri))
    with pytest.raises(InputError, match="has not been evaluated"):
        plan(_config(Path(other.uri), archive, require_evaluated=True))


def test_a_bundle_whose_seal_was_removed_cannot_take_the_name_or_pass_for_evaluated(
    made: Bundle, copied: Path, archive: str
) -> None:
    sigmoid_to_exp(copied)
    (copied / SUMS).unlink()
    file = copied / "bundle.json"
    described = json.loads(file.read_text())
    architecture, _, digits = made.name.rpartition("-")
    for fingerprint, head in ((digits, architecture), (digits[4:], f"{architecture}-{digits[:4]}")):
        file.write_text(json.dumps(described | {"fingerprint": fingerprint, "architecture": head}))
        if len(fingerprint) == 16:
            assert bundles.read(str(copied)).name != made.name
        else:
            with pytest.raises(BundleError, match="fingerprint must be 16 hex digits"):
                bundles.read(str(copied))
    with pytest.raises(InputError, match=r"is unsealed: .*; require_evaluated rejects it\.$"):
        plan(_config(copied, archive, require_evaluated=True))


@pytest.mark.parametrize(("precision", "folder"), [("fp32", "openvino"), ("int8", "openvino-int8")])
def test_a_forgery_with_every_hash_rewritten_is_found_by_its_scores(
    made: Bundle, copied: Path, archive: str, ray_session: None, precision: str, folder: str
) -> None:
    sigmoid_to_exp(copied, folder)
    _bind_results(copied)
    config = _config(copied, archive, require_evaluated=True, precision=precision)
    assert plan(config).doubts == []
    with pytest.raises(BundleError, match=rf"{folder}/model\.xml does not score as model\.keras"):
        predict(config)


def test_another_int8_network_has_another_name_and_needs_the_digest_of_the_bundle(
    made: Bundle, copied: Path, archive: str
) -> None:
    def name(**settings: object) -> str:
        return plan(_config(copied, archive, precision="int8", **settings)).bundles[0].name

    before = name(expect=(made.digest,))
    assert re.fullmatch(f"{made.name}-int8-[0-9a-f]{{20}}", before)
    sigmoid_to_exp(copied, "openvino-int8")
    forged = resealed(copied)
    assert (forged.model_digest, forged.name) == (made.model_digest, made.name)
    assert name() != before
    for digest, reason in ((made.digest, "not the expected"), (made.model_digest, "not cover its")):
        with pytest.raises(BundleError, match=reason):
            name(expect=(digest,))


def test_the_expected_digest_is_the_models_or_the_bundles(
    made: Bundle, copied: Path, archive: str
) -> None:
    for digest in (made.digest, made.model_digest):
        assert plan(_config(copied, archive, expect=(digest,))).bundles[0].name == made.name
        assert OpenedBundle.open(copied, expect=digest).name == made.name
    sigmoid_to_exp(copied)
    _bind_results(copied)
    with pytest.raises(BundleError) as refused:
        plan(_config(copied, archive, expect=(made.digest, made.model_digest)))
    assert f"not the expected {made.digest} or {made.model_digest}" in str(refused.value)
    for wrong in ("sha256:abc", made.digest[7:], made.digest.upper()):
        with pytest.raises(ConfigError, match="expect must be sha256: and 64 hex digits"):
            _config(copied, archive, expect=(wrong,))


def test_a_bundle_of_before_opens_unsealed_under_its_old_name_and_an_evaluation_seals_it(
    made: Bundle, copied: Path, archive: str
) -> None:
    for name in (SUMS, "evaluation.json", "audit.json"):
        (copied / name).unlink()
    before = bundles.read(str(copied))
    assert before.name == f"covid-gap-{made.fingerprint}"
    assert [doubt.split(":")[0] for doubt in plan(_config(copied, archive)).doubts] == [
        f"{before.name} is unsealed",
        f"{before.name} has not been evaluated",
    ]
    _judged(before)
    after = bundles.read(str(copied))
    assert after.is_sealed
    assert after.name == made.name
    assert plan(_config(copied, archive, require_evaluated=True)).doubts == []


def test_a_forged_bundle_of_before_is_not_sealed(copied: Path) -> None:
    (copied / SUMS).unlink()
    sigmoid_to_exp(copied)
    with pytest.raises(BundleError, match=r"does not score as model\.keras does"):
        _judged(bundles.read(str(copied)))
    assert not (copied / SUMS).exists()


@pytest.mark.parametrize("was_sealed", [True, False])
def test_a_run_is_resumed_after_an_evaluation_was_added(
    copied: Path, archive: str, ray_session: None, was_sealed: bool
) -> None:
    if not was_sealed:
        (copied / SUMS).unlink()
    bundle = bundles.read(str(copied))
    first = predict(_config(copied, archive))
    record = run_dir.read_record(first.output)
    assert record is not None
    assert record["model"] == bundle.name
    assert record["bundle_digests"] == [bundle.digest]
    _judged(bundle)
    again = predict(_config(copied, archive, resume=True))
    assert again.already_finished


def test_a_result_whose_writing_is_interrupted_leaves_a_bundle_that_opens(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = filesystem.write_bytes
    for name in bundle_seal.ADDED:
        for stop_at in range(3):
            left = stop_at

            def write_until(uri: str, data: bytes) -> None:
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
                write(uri, data)

            monkeypatch.setattr(filesystem, "write_bytes", write_until)
            with pytest.raises(KeyboardInterrupt):
                bundle_seal.add(str(copied), {name: f"{stop_at} {name}".encode()})
            monkeypatch.setattr(filesystem, "write_bytes", write)
            assert bundles.read(str(copied)).is_sealed
            (copied / name).unlink(missing_ok=True)
            bundle_seal.seal(str(copied))


def test_results_added_at_the_same_time_leave_a_bundle_that_opens(copied: Path) -> None:
    def add(name: str, text: str) -> None:
        for number in range(20):
            bundle_seal.add(str(copied), {name: f"{text} {number}".encode()})

    writers = [threading.Thread(target=add, args=(name, text)) for name in RESULTS for text in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert bundles.read(str(copied)).is_sealed


def test_show_and_verify_say_what_a_bundle_is(
    made: Bundle, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_here(capsys, "bundle", "show", str(copied))
    assert code == 0
    assert f"bundle: {made.digest}\nmodel:  {made.model_digest}\n" in out
    assert len(out.splitlines()) > len(made.parts)
    code, out, _ = run_here(capsys, "bundle", "verify", str(copied))
    assert code == 0
    pattern = (
        r"covid-gap-\w{20} is sealed and unchanged; OpenVINO differs .* in fp32 and .* in int8"
    )
    assert re.match(pattern, out)
    (copied / SUMS).unlink()
    code, _, message = run_here(capsys, "bundle", "verify", str(copied))
    assert (code, "is unsealed" in message) == (1, True)
    resealed(copied)
    sigmoid_to_exp(copied)
    code, _, message = run_here(capsys, "bundle", "verify", str(copied))
    assert (code, "is not the file that was sealed" in message) == (2, True)


def test_an_export_of_other_weights_is_not_the_models(copied: Path) -> None:
    bundle = bundles.read(str(copied))
    file = copied / "openvino" / "export.json"
    described = json.loads(file.read_text())
    assert described["model_sha256"] == bundle.parts["model.keras"]
    file.write_text(json.dumps(described | {"model_sha256": "0" * 64}))
    assert openvino_export.find(resealed(copied)) is None


def _bind_results(folder: Path) -> None:
    """Name the digest of the forged model in its results, and seal all of it."""
    digest = resealed(folder).model_digest
    for name in RESULTS:
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"model_digest": digest}))
    resealed(folder)


def _judged(bundle: Bundle, *, auroc: float = 0.9) -> None:
    results = {
        model_card.EVALUATION: {"metrics": {"auroc": auroc}},
        model_card.AUDIT: {"verdict": "none found", "surviving_share": 0.1},
    }
    for file, facts in results.items():
        assert model_card.write(
            bundles.read(bundle.uri), file, manifest="other", split="test", facts=facts
        )


def _is_result(line: bytes) -> bool:
    return line.split()[1].decode() in bundle_seal.ADDED


def _config(folder: Path, archive: str, **settings: object) -> PredictConfig:
    output = str(folder.parent / "run")
    return PredictConfig(bundle=str(folder), data=archive, output=output, **settings)
