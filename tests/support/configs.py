"""Any config of a command, for tests of properties."""

import dataclasses
import inspect
import re

from hypothesis import reject
from hypothesis import strategies as st

from cnnjobs.cli.command import CONFIGS
from cnnjobs.config.constants import DICOM_KEYS
from cnnjobs.config.data import OF_TABLES
from cnnjobs.config.files import presets
from cnnjobs.config.layouts import LAYOUTS
from cnnjobs.config.recipes import RECIPES
from cnnjobs.errors import ConfigError

#: What a shell or a parser may take for something else.
AWKWARD = (
    *("", "-", "--", "-x.parquet", "--seed", "--data=x", "-o", "a b", " ", "it's", 'say "hi"'),
    *("line\nbreak", "tab\t", "$HOME", "*", "~", "a=b", "=", "#no", "\\", "ü/雪.png", "None"),
)
#: Settings that are given together.
CONDITIONS = ("positive_when", "negative_when")
TEXT = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_characters="\0"), max_size=12)
REGEX = TEXT.map(lambda text: f"{re.escape(text)}(x)")
SHARE = st.floats(0, 0.49)

BY_TYPE = {
    "bool": st.booleans(),
    "str": TEXT,
    "int": st.integers(1, 10**20),
    "float": st.floats(1e-300, allow_infinity=False),
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
}
#: Settings that take only some values of their type.
BY_NAME = {
    "recipe": st.sampled_from(list(RECIPES)),
    "augment": st.sampled_from(["off", "light", "strong"]),
    "schedule": st.sampled_from(["constant", "cosine", "plateau"]),
    "class_weight": st.just("balanced"),
    "balance": st.just("source"),
    "leave_out": st.just("source"),
    "monitor": st.sampled_from(["val_loss", "val_accuracy", "val_auroc"]),
    "keep": st.sampled_from(["last", "best"]),
    "threshold_rule": st.sampled_from(["youden", "sensitivity=0.9", "0.5", ".25"]),
    "gpus_per_worker": st.integers(0, 1),
    "gpus_per_actor": st.floats(0.01, 1),
    "split": st.sampled_from(["train", "validation", "test", "all"]),
    "engine": st.sampled_from(["auto", "openvino", "keras"]),
    "precision": st.sampled_from(["fp32", "bf16", "int8"]),
    "at": st.lists(st.sampled_from(["sensitivity=0.9", "specificity=.95"]), max_size=2).map(tuple),
    "optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
    "damaged": st.sampled_from(["error", "score"]),
    "partition_by": st.sampled_from(["label", "prefix"]),
    "max_errors": st.sampled_from(["0", "25", "0.5%", "100%"]),
    "layout": st.sampled_from(list(LAYOUTS)),
    "uncertain": st.sampled_from(["leave-out", "negative", "positive"]),
    "groups_missing": st.sampled_from(["error", "own"]),
    "dicom_key": st.sampled_from(DICOM_KEYS),
    "max_unmatched": st.sampled_from(["0", "25", "0.5%", "100%"]),
    "map": st.lists(TEXT.map("{}=x".format), max_size=3).map(tuple),
    "dataset": st.sampled_from(["mnist", "covid"]),
    "group_regex": REGEX,
    "source_regex": REGEX,
    "expect": st.sampled_from([(), (f"sha256:{'0' * 64}",)]),
    "s3_uri": TEXT.map("s3://{}".format),
    **dict.fromkeys(("port", "dashboard_port"), st.integers(1, 65535)),
    **dict.fromkeys(("crop", "mask_corners", "validation", "test"), SHARE),
    **dict.fromkeys(("border", "prevalence"), st.floats(0.01, 0.49)),
    **dict.fromkeys(("max_auroc_drop", "weight_decay", "label_smoothing"), SHARE),
    **dict.fromkeys(("resamples", "limit"), st.integers(100, 10**6)),
    **dict.fromkeys(("num_images", "folds"), st.integers(20, 10**6)),
    # `cache`, `workers` and `mlflow` of a crossval are fixed
    "cache": st.sampled_from(["auto", "memory", "stream"]),
}
#: Settings that some commands check more closely than others.
OF_COMMAND = {
    ("cluster start", "address"): st.from_regex(r"-?\S{1,9}:[0-9]{1,5}", fullmatch=True),
    ("compare", "runs"): st.lists(TEXT, min_size=2, max_size=3).map(tuple),
    ("crossval", "cache"): st.just("auto"),
    ("crossval", "workers"): st.just(1),
    ("crossval", "mlflow"): st.none(),
    ("index", "keep"): st.lists(TEXT, max_size=3).map(tuple),
    ("index", "split"): st.booleans(),
    ("tune", "grace"): st.just(1),
}


def configs(name):
    """Any config of a command: what it requires, and some of its other settings."""
    required, optional = {}, {}
    for field in dataclasses.fields(CONFIGS[name]):
        kind = inspect.formatannotation(field.type)
        values = BY_NAME.get(field.name, BY_TYPE[kind.removesuffix(" | None")])
        values = OF_COMMAND.get((name, field.name), values)
        if kind.endswith(" | None"):
            values = st.none() | values
        if field.default is dataclasses.MISSING:
            if kind.startswith("tuple"):
                values = values.filter(bool)
            required[field.name] = values
        else:
            optional[field.name] = values
    return st.fixed_dictionaries(required, optional=optional).map(lambda made: _made(name, made))


def _made(name, values):
    if name == "index":
        unfit = set() if values.get("table") else set(OF_TABLES)
        if None in map(values.get, CONDITIONS):
            unfit |= set(CONDITIONS)
        values = {setting: value for setting, value in values.items() if setting not in unfit}
        # as the command line makes it
        given = {setting: value for setting, value in values.items() if value not in (None, ())}
        values = {**presets(given), **given}
    try:
        return CONFIGS[name](**values)
    except ConfigError:
        # two settings that exclude each other
        reject()
