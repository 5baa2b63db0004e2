"""What a training may monitor: whatever is accepted at the start exists after each epoch."""

import functools
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cnnjobs import models, schema
from cnnjobs.config import TrainConfig
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError, TrainingError
from cnnjobs.storage import json_files
from cnnjobs.training.train_plan import plan_on

MONITORS = ("val_loss", "val_accuracy", "val_auroc")
USES: tuple[dict[str, Any], ...] = (
    {},
    {"keep": "best"},
    {"early_stopping": 2},
    {"schedule": "plateau"},
)
#: How many of the classes have validation images.
VALIDATED = ("all", "one", "none")
NUMBERS = (2, 3, 10)


def _images(num_classes: int, validated: str) -> Manifest:
    """A manifest in memory: four training images of each class, and three for validation."""
    labels = ["normal", *(f"finding-{number}" for number in range(1, num_classes))]
    with_validation = {"all": labels, "one": labels[:1], "none": []}[validated]
    rows = [(label, "train") for label in labels for _ in range(4)]
    rows += [(label, "validation") for label in with_validation for _ in range(3)]
    table = pa.Table.from_pylist(
        [
            {
                "path": f"{number}.png",
                "label": label,
                "split": split,
                "source": "a",
                "size_bytes": 1,
                "group": str(number),
            }
            for number, (label, split) in enumerate(rows)
        ],
        schema=schema.MANIFEST,
    )
    return Manifest(table, {})


def _refusal(num_classes: int, validated: str, **settings: Any) -> str | None:
    config = TrainConfig(data="data", output="run", model="digits", **settings)
    try:
        plan_on(_images(num_classes, validated), config, models.find("digits"), "run")
    except InputError as error:
        return str(error)
    return None


@functools.cache
def _logged(num_classes: int, validated: str) -> dict[str, float]:
    """What a real epoch on such images logs."""
    from cnnjobs.training.distributed.batches import InMemory
    from cnnjobs.training.distributed.loop import fit
    from tests.training.distributed.small_models import conv_model, rows

    train = rows(8 * num_classes, num_classes)
    validation = InMemory(train.all_images[:11], train.all_labels[:11].copy())
    if validated == "one":
        validation.all_labels[:] = 0
    model = conv_model("adam", num_outputs=1 if num_classes == 2 else num_classes)
    (record,) = fit(
        model,
        train,
        None if validated == "none" else validation,
        epochs=1,
        global_batch_size=8,
        seed=0,
    )
    return record


@pytest.mark.parametrize(
    ("monitor", "num_classes", "validated", "use"),
    list(itertools.product(MONITORS, NUMBERS, VALIDATED, USES)),
)
def test_what_is_accepted_at_the_start_exists_after_the_epoch(
    monitor: str, num_classes: int, validated: str, use: dict[str, Any]
) -> None:
    refusal = _refusal(num_classes, validated, monitor=monitor, **use)
    exists = math.isfinite(_logged(num_classes, validated).get(monitor, math.nan))
    if use:
        assert (refusal is None) == exists
    if refusal is not None:
        assert "\n" not in refusal
        assert monitor in refusal


def test_each_refusal_says_what_to_do() -> None:
    best = {"keep": "best", "monitor": "val_auroc"}
    assert _refusal(3, "all", **best) == (
        "val_auroc is for two classes, data has 3; monitor val_accuracy or val_loss."
    )
    assert _refusal(2, "one", **best) == (
        "val_auroc needs validation images of both classes, finding-1 has none; index with "
        "--validation above 0, or monitor val_loss."
    )
    assert _refusal(2, "none", **best) == (
        "val_auroc needs validation images, data has none; index with --validation above 0."
    )


def test_an_auroc_that_nothing_depends_on_is_undefined_with_the_reason() -> None:
    config = TrainConfig(data="data", output="run", model="digits")
    planned = plan_on(_images(2, "one"), config, models.find("digits"), "run")
    assert planned.warnings == ["no val_auroc: all validation images are normal."]
    assert plan_on(_images(2, "all"), config, models.find("digits"), "run").warnings == []


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("undefined", [math.nan, math.inf, -math.inf, None])
def test_a_value_that_is_no_number_is_never_best(
    tmp_path: Path, monitor: str, undefined: float | None
) -> None:
    from cnnjobs.training.distributed.checkpoint_files import Progress
    from cnnjobs.training.distributed.checkpoints import Checkpointer
    from cnnjobs.training.distributed.fit_model import Monitor
    from cnnjobs.training.distributed.loop import fit
    from cnnjobs.training.distributed.workers import Workers
    from tests.training.distributed.small_models import conv_model, rows

    model = conv_model("adam")
    fit(model, rows(), rows(11), epochs=1, global_batch_size=8, seed=0)
    keeper = Checkpointer(
        str(tmp_path), monitor=monitor, stateful=[], start=Progress(), workers=Workers()
    )
    keeper.set_model(model)
    keeper.on_train_begin()
    logs = {"loss": 0.1} if undefined is None else {"loss": 0.1, monitor: undefined}
    keeper.on_epoch_end(0, logs)
    assert not (tmp_path / "best.npz").exists()
    keeper.on_epoch_end(1, {"loss": 0.1, monitor: 0.5})
    assert (tmp_path / "best.npz").exists()
    assert all(
        value is None or math.isfinite(value)
        for epoch in keeper.history
        for value in epoch.values()
    )
    with pytest.raises(TrainingError, match=rf"^{monitor} of epoch 1 is .*; monitor another"):
        Monitor(monitor).on_epoch_end(0, logs)
    Monitor(monitor).on_epoch_end(1, {monitor: 0.5})


def test_the_history_of_a_run_is_strict_json() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    record = _logged(2, "one")
    assert math.isnan(record["val_auroc"])
    parsed = json.loads(json_files.text({"history": [record]}), parse_constant=refuse)
    assert parsed["history"][0]["val_auroc"] is None
