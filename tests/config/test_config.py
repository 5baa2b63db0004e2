import dataclasses
import json
import math
import typing

import pytest
import yaml

from cnnjobs.config import (
    AuditConfig,
    BundleConfig,
    ClusterStartConfig,
    CompareConfig,
    Config,
    CrossvalConfig,
    DemoConfig,
    DoctorConfig,
    EvaluateConfig,
    ExplainConfig,
    ExportConfig,
    FetchConfig,
    ImportXrvConfig,
    IndexConfig,
    InspectConfig,
    PredictConfig,
    PredictOneConfig,
    QuantizeConfig,
    ReportConfig,
    SubmitConfig,
    TrainConfig,
    TuneConfig,
    VerifyConfig,
    as_dict,
    names,
)
from cnnjobs.config.files import resolve
from cnnjobs.config.recipes import RECIPES
from cnnjobs.errors import ConfigError

NEEDED = {
    IndexConfig: {"sources": ("xrays",), "output": "m.parquet"},
    InspectConfig: {"data": "xrays"},
    FetchConfig: {"dataset": "mnist", "output": "digits"},
    TrainConfig: {"data": "xrays", "output": "run"},
    CrossvalConfig: {"data": "xrays", "output": "run"},
    TuneConfig: {"data": "xrays", "output": "run", "space": "space.yaml"},
    ImportXrvConfig: {"model": "xrv.pt", "output": "xrv.weights.h5"},
    EvaluateConfig: {"bundle": "run", "data": "xrays"},
    CompareConfig: {"runs": ("first", "second")},
    AuditConfig: {"bundle": "run", "data": "xrays"},
    VerifyConfig: {"run": "scored"},
    BundleConfig: {"bundle": "run"},
    ExplainConfig: {"bundle": "run", "images": ("a.png",), "output": "looked"},
    PredictConfig: {"bundle": "run", "data": "xrays", "output": "scored"},
    PredictOneConfig: {"bundle": "run", "images": ("a.png",)},
    QuantizeConfig: {"bundle": "run", "data": "m.parquet"},
    ExportConfig: {"bundle": "b", "output": "model.onnx"},
    ReportConfig: {"runs": ("run",)},
    SubmitConfig: {"command": "predict"},
    ClusterStartConfig: {"head": True},
    DoctorConfig: {},
    DemoConfig: {},
}
SPLITS = "train, validation, test, all"
MAX_ERRORS = "max_errors must be a number of images (25) or a share of them (0.5%), got"


def test_every_job_has_its_config_tested_here():
    assert set(typing.get_args(Config)) == set(NEEDED)


def test_the_defaults_of_training_are_the_lab_sheets():
    config = TrainConfig(data="xrays", output="run")
    assert (config.batch_size, config.epochs, config.learning_rate) == (32, 10, 0.001)
    assert (config.model, config.seed, config.positive) == ("covid", 0, None)


def test_one_run_alone_cannot_be_compared():
    with pytest.raises(ConfigError) as refused:
        CompareConfig(runs=("first",))
    assert str(refused.value) == "compare needs at least two runs, got 1."


def test_scoring_takes_all_images_and_evaluation_the_test_split():
    assert PredictConfig.split == "all"
    assert EvaluateConfig.split == "test"
    assert PredictConfig.max_errors is None


@pytest.mark.parametrize("kind", NEEDED)
def test_a_config_cannot_be_changed_or_made_by_position(kind):
    config = kind(**NEEDED[kind])
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.output = "elsewhere"
    with pytest.raises(TypeError, match="positional argument"):
        kind("xrays")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            IndexConfig,
            {"sources": ()},
            "index needs at least one folder or s3:// prefix, got none.",
        ),
        (
            IndexConfig,
            {"groups": ("patients.csv",), "group_regex": "(.)"},
            "groups and group_regex cannot be given together; choose one.",
        ),
        (
            IndexConfig,
            {"group_regex": "(p"},
            "group_regex is not a regular expression: missing ), unterminated subpattern at "
            "position 0, got '(p'.",
        ),
        (
            IndexConfig,
            {"group_regex": "p[0-9]+"},
            "group_regex must have one (group) that captures the patient, got 0 in 'p[0-9]+'.",
        ),
        (
            IndexConfig,
            {"group_regex": "(p)([0-9]+)"},
            "group_regex must have one (group) that captures the patient, got 2 in '(p)([0-9]+)'.",
        ),
        (
            IndexConfig,
            {"validation": -0.1},
            "validation must be at least 0 and below 1, got -0.1.",
        ),
        (IndexConfig, {"validation": 1.0}, "validation must be at least 0 and below 1, got 1.0."),
        (
            IndexConfig,
            {"validation": math.nan},
            "validation must be at least 0 and below 1, got nan.",
        ),
        (IndexConfig, {"test": -0.5}, "test must be at least 0 and below 1, got -0.5."),
        (IndexConfig, {"test": 15.0}, "test must be at least 0 and below 1, got 15.0."),
        (
            IndexConfig,
            {"validation": 0.5, "test": 0.5},
            "validation and test must leave images to train on (together below 1), "
            "got 0.5 and 0.5.",
        ),
        (IndexConfig, {"seed": -1}, "seed must be at least 0, got -1."),
        (InspectConfig, {"seed": -1}, "seed must be at least 0, got -1."),
        (TrainConfig, {"recipe": "best"}, "recipe must be one of plain, robust, got best."),
        (TrainConfig, {"epochs": 0}, "epochs must be at least 1, got 0."),
        (TrainConfig, {"batch_size": 0}, "batch_size must be at least 1, got 0."),
        *(
            (
                TrainConfig,
                {"threshold_rule": rule},
                "threshold_rule must be youden, sensitivity=S or a probability, both above 0 and "
                f"below 1, got {rule}.",
            )
            for rule in ("best", "1", "0", "sensitivity=95", "sensitivity=", "-0.5", "youden=1")
        ),
        (TrainConfig, {"seed": -1}, "seed must be at least 0, got -1."),
        (CrossvalConfig, {"epochs": 0}, "epochs must be at least 1, got 0."),
        (
            CrossvalConfig,
            {"folds": 1},
            "folds must be at least 2 (or 0 with leave_out, for that alone), got 1.",
        ),
        (
            CrossvalConfig,
            {"folds": 0},
            "folds must be at least 2 (or 0 with leave_out, for that alone), got 0.",
        ),
        (CrossvalConfig, {"repeats": 0}, "repeats must be at least 1, got 0."),
        (CrossvalConfig, {"parallel": 0}, "parallel must be at least 1, got 0."),
        (
            CrossvalConfig,
            {"validation": 1.0},
            "validation must be at least 0 and below 1, got 1.0.",
        ),
        (
            CrossvalConfig,
            {"leave_out": "group"},
            "leave_out must be one of source, got group.",
        ),
        (
            CrossvalConfig,
            {"workers": 2},
            "workers is only for train, got 2: crossval decodes the images once and trains each "
            "fold in one process; leave it out.",
        ),
        (
            TrainConfig,
            {"augment": "much"},
            "augment must be one of off, light, strong, got much.",
        ),
        (TrainConfig, {"balance": "label"}, "balance must be one of source, got label."),
        (TrainConfig, {"crop": 0.5}, "crop must be at least 0 and below 0.5, got 0.5."),
        (
            TrainConfig,
            {"mask_corners": -0.1},
            "mask_corners must be at least 0 and below 0.5, got -0.1.",
        ),
        (TrainConfig, {"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0."),
        (TrainConfig, {"learning_rate": -0.1}, "learning_rate must be above 0, got -0.1."),
        (TrainConfig, {"learning_rate": math.nan}, "learning_rate must be above 0, got nan."),
        (TrainConfig, {"learning_rate": math.inf}, "learning_rate must be above 0, got inf."),
        (
            TrainConfig,
            {"optimizer": "adagrad"},
            "optimizer must be one of adam, adamw, sgd, got adagrad.",
        ),
        (
            TrainConfig,
            {"weight_decay": 0.01},
            "weight_decay is for optimizer adamw or sgd, got 0.01 with adam; adamw is Adam with "
            "weight decay.",
        ),
        (
            TrainConfig,
            {"optimizer": "sgd", "weight_decay": math.nan},
            "weight_decay must be at least 0 and below 1, got nan.",
        ),
        (
            TrainConfig,
            {"label_smoothing": 1.0},
            "label_smoothing must be at least 0 and below 1, got 1.0.",
        ),
        (TrainConfig, {"warmup": -1}, "warmup must be at least 0, got -1."),
        (
            TuneConfig,
            {"warmup": 10},
            "warmup must be below epochs (10), got 10; the rate is reached only after it.",
        ),
        (
            CrossvalConfig,
            {"warmup": 1, "schedule": "plateau"},
            "warmup and schedule plateau cannot be given together: both set the rate; choose "
            "constant or cosine.",
        ),
        (
            TrainConfig,
            {"init": "run", "weights": "imagenet"},
            "init and weights cannot be given together; choose one.",
        ),
        (TrainConfig, {"freeze": "head"}, "freeze must be one of backbone, got head."),
        (
            TrainConfig,
            {"unfreeze_at": 2},
            "unfreeze_at needs freeze backbone; give both, or neither.",
        ),
        (
            TrainConfig,
            {"freeze": "backbone", "unfreeze_at": 11},
            "unfreeze_at must be from 2 to epochs (10), got 11; it is the first epoch that trains "
            "all layers.",
        ),
        (
            TrainConfig,
            {"freeze": "backbone", "unfreeze_learning_rate": 0.1},
            "unfreeze_learning_rate needs unfreeze_at; give both.",
        ),
        (
            TrainConfig,
            {"freeze": "backbone", "unfreeze_at": 4, "warmup": 3},
            "warmup must be below 3, the epochs before or after unfreeze_at, got 3; the rate warms "
            "up again when all layers train.",
        ),
        (EvaluateConfig, {"split": "tset"}, f"split must be one of {SPLITS}, got tset."),
        (
            EvaluateConfig,
            {"prevalence": 1.0},
            "prevalence must be above 0 and below 1, got 1.0.",
        ),
        (
            EvaluateConfig,
            {"resamples": 99},
            "resamples must be 0 (no intervals) or at least 100: fewer have no 2.5% quantile, "
            "got 99.",
        ),
        (EvaluateConfig, {"seed": -1}, "seed must be at least 0, got -1."),
        (EvaluateConfig, {"batch_size": -1}, "batch_size must be at least 1, got -1."),
        (PredictConfig, {"split": "valid"}, f"split must be one of {SPLITS}, got valid."),
        (PredictConfig, {"batch_size": 0}, "batch_size must be at least 1, got 0."),
        (PredictConfig, {"rows_per_file": 0}, "rows_per_file must be at least 1, got 0."),
        (
            PredictConfig,
            {"resume": True, "overwrite": True},
            "resume and overwrite cannot be given together; choose one.",
        ),
        (
            PredictConfig,
            {"resume": True, "update": True},
            "resume and update cannot be given together; choose one.",
        ),
        (
            PredictConfig,
            {"engine": "tensorrt"},
            "engine must be one of auto, openvino, keras, got tensorrt.",
        ),
        (PredictConfig, {"damaged": "drop"}, "damaged must be one of error, score, got drop."),
        (PredictConfig, {"max_pixels": 0}, "max_pixels must be at least 1, got 0."),
        (
            PredictConfig,
            {"partition_by": "day"},
            "partition_by must be one of label, prefix, got day.",
        ),
        (PredictConfig, {"actors": 0}, "actors must be at least 1, got 0."),
        (PredictConfig, {"cpus_per_actor": 0}, "cpus_per_actor must be at least 1, got 0."),
        (
            PredictConfig,
            {"gpus_per_actor": 2.0},
            "gpus_per_actor must be above 0 and at most 1, got 2.0; for more GPUs, request "
            "more actors.",
        ),
        (PredictConfig, {"price_per_hour": 0.0}, "price_per_hour must be above 0, got 0.0."),
        (AuditConfig, {"border": 0.5}, "border must be above 0 and below 0.5, got 0.5."),
        (
            AuditConfig,
            {"resamples": 99},
            "resamples must be at least 100: fewer have no 2.5% quantile, got 99.",
        ),
        (ExplainConfig, {"images": ()}, "explain needs at least one image, got none."),
        (PredictOneConfig, {"images": ()}, "predict-one needs at least one image, got none."),
        (
            QuantizeConfig,
            {"max_auroc_drop": 1.5},
            "max_auroc_drop must be from 0 to 1, got 1.5.",
        ),
        (ReportConfig, {"runs": ()}, "report needs at least one run, got none."),
        (ReportConfig, {"max_images": -1}, "max_images must be at least 0, got -1."),
        (
            TrainConfig,
            {"s3_anonymous": True, "s3_profile": "lab"},
            "s3_anonymous and s3_profile cannot be given together; choose one.",
        ),
        (PredictConfig, {"max_errors": "101%"}, f"{MAX_ERRORS} 101%."),
        (PredictConfig, {"max_errors": "-1"}, f"{MAX_ERRORS} -1."),
        (PredictConfig, {"max_errors": "2.5"}, f"{MAX_ERRORS} 2.5."),
        (PredictConfig, {"max_errors": "%"}, f"{MAX_ERRORS} %."),
        (PredictConfig, {"max_errors": "x"}, f"{MAX_ERRORS} x."),
        (PredictConfig, {"max_errors": ""}, f"{MAX_ERRORS} ."),
        (DemoConfig, {"num_images": 19}, "num_images must be at least 20, got 19."),
        (DemoConfig, {"epochs": 0}, "epochs must be at least 1, got 0."),
        (DemoConfig, {"seed": -1}, "seed must be at least 0, got -1."),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed_and_what_was_given(kind, settings, message):
    with pytest.raises(ConfigError) as caught:
        kind(**{**NEEDED[kind], **settings})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (IndexConfig, {"validation": 0.0, "test": 0.0, "seed": 0, "group_regex": "(p[0-9]+)_"}),
        (IndexConfig, {"validation": 0.5, "test": 0.49}),
        (TrainConfig, {"epochs": 1, "batch_size": 1, "learning_rate": 1e-9}),
        (TrainConfig, {"threshold_rule": "youden", "calibrate": True}),
        (TrainConfig, {"threshold_rule": "sensitivity=.95"}),
        (TrainConfig, {"threshold_rule": "0.25"}),
        (CrossvalConfig, {"folds": 0, "leave_out": "source"}),
        (EvaluateConfig, {"split": "all", "resamples": 0}),
        (EvaluateConfig, {"resamples": 100, "prevalence": 1e-6}),
        (PredictConfig, {"split": "validation", "rows_per_file": 1, "resume": True}),
        (DemoConfig, {"num_images": 20, "epochs": 1}),
    ],
)
def test_values_at_the_edge_of_the_range_are_taken(kind, settings):
    config = kind(**{**NEEDED[kind], **settings})
    assert {name: getattr(config, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("max_errors", "num_images", "allowed"),
    [
        (None, 1000, None),
        ("0", 1000, 0),
        ("3", 1000, 3),
        (" 3 ", 1000, 3),
        ("0.5%", 1000, 5),
        # 0.995 of an image is none
        ("0.5%", 199, 0),
        ("0.5%", 200, 1),
        ("0%", 1000, 0),
        ("100%", 1000, 1000),
        # in binary fractions 11000 * 0.7 / 100 is 76.99...
        ("0.7%", 11_000, 77),
        ("1.4%", 5_500, 77),
    ],
)
def test_max_errors_is_a_number_or_a_share_rounded_down(max_errors, num_images, allowed):
    config = PredictConfig(bundle="run", data="xrays", output="scored", max_errors=max_errors)
    assert config.max_bad_images(num_images) == allowed


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    file = _file(tmp_path, "epochs: 3\nbatch_size: 8\nmodel: digits\n")
    config = resolve(TrainConfig, {"data": "xrays", "output": "run", "epochs": 5}, file)
    assert config == TrainConfig(
        data="xrays", output="run", epochs=5, batch_size=8, model="digits", learning_rate=0.001
    )


def test_a_flag_wins_even_where_it_gives_the_default(tmp_path):
    file = _file(tmp_path, "epochs: 3\n")
    given = {**NEEDED[TrainConfig], "epochs": TrainConfig.epochs}
    assert resolve(TrainConfig, given, file).epochs == TrainConfig.epochs


def test_without_a_file_the_flags_and_defaults_stand():
    assert resolve(TrainConfig, {"data": "a", "output": "b"}) == TrainConfig(data="a", output="b")


def test_a_file_may_hold_every_kind_of_value(tmp_path):
    file = _file(
        tmp_path,
        "sources: [a, s3://b/c]\noutput: m.parquet\nlabels: false\ngroups: null\n"
        "group_regex: '(p[0-9]+)_'\nvalidation: 0.2\ntest: 0\nseed: 7\n",
    )
    config = resolve(IndexConfig, {}, file)
    assert config == IndexConfig(
        sources=("a", "s3://b/c"),
        output="m.parquet",
        labels=False,
        group_regex="(p[0-9]+)_",
        validation=0.2,
        test=0.0,
        seed=7,
    )
    assert type(config.test) is float


@pytest.mark.parametrize(
    ("value", "max_errors"),
    [("3", "3"), ("'3'", "3"), ("0.5%", "0.5%"), ("100%", "100%"), ("null", None), ("", None)],
)
def test_max_errors_in_a_file_is_a_number_a_share_or_nothing(tmp_path, value, max_errors):
    file = _file(tmp_path, f"max_errors: {value}\n")
    assert resolve(PredictConfig, NEEDED[PredictConfig], file).max_errors == max_errors


@pytest.mark.parametrize(
    ("value", "shown"), [("101%", "101%"), ("-1", "-1"), ("x", "x"), ("0.5", "0.5")]
)
def test_max_errors_in_a_file_is_refused_in_the_same_words_as_the_flag(tmp_path, value, shown):
    file = _file(tmp_path, f"max_errors: {value}\n")
    with pytest.raises(ConfigError) as caught:
        resolve(PredictConfig, NEEDED[PredictConfig], file)
    assert str(caught.value).endswith(f"{MAX_ERRORS} {shown}.")


@pytest.mark.parametrize("value", ["1.0e-5", "1e-5", "0.00001"])
def test_a_small_number_may_be_written_with_or_without_a_point(tmp_path, value):
    # YAML 1.1 takes 1e-5, the way Python and JSON print the number, for text
    file = _file(tmp_path, f"learning_rate: {value}\n")
    assert resolve(TrainConfig, NEEDED[TrainConfig], file).learning_rate == 1e-5


def test_a_recipe_fills_what_is_not_given(tmp_path):
    wanted = TrainConfig(**NEEDED[TrainConfig], recipe="robust", **RECIPES["robust"])
    by_flag = resolve(TrainConfig, {**NEEDED[TrainConfig], "recipe": "robust"})
    by_file = resolve(
        TrainConfig, NEEDED[TrainConfig], _file(tmp_path, "recipe: robust\nepochs: 3\n")
    )
    assert by_flag == wanted
    assert by_file == dataclasses.replace(wanted, epochs=3)


def test_what_is_given_wins_over_the_recipe_even_where_it_is_the_default(tmp_path):
    for name in RECIPES["robust"]:
        given = {**NEEDED[TrainConfig], "recipe": "robust", name: getattr(TrainConfig, name)}
        assert getattr(resolve(TrainConfig, given), name) == getattr(TrainConfig, name)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", [TrainConfig, TuneConfig])
def test_every_recipe_makes_a_training_and_a_search(kind, recipe):
    config = resolve(kind, {**NEEDED[kind], "recipe": recipe})
    for name, value in RECIPES[recipe].items():
        assert getattr(config, name) == value
    trial = config.of_a_trial() if kind is TuneConfig else config
    assert trial.recipe == recipe


def test_the_plain_recipe_is_the_defaults():
    needed = NEEDED[TrainConfig]
    assert resolve(TrainConfig, {**needed, "recipe": "plain"}) == TrainConfig(**needed)


def test_augment_off_in_a_file_is_not_the_truth_value_that_yaml_makes_of_it(tmp_path):
    file = _file(tmp_path, "augment: off\n")
    assert resolve(TrainConfig, NEEDED[TrainConfig], file).augment == "off"


def test_an_unknown_key_names_the_file_and_the_nearest_key(tmp_path):
    file = _file(tmp_path, "epochs: 3\nbatchsize: 8\n")
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], file)
    assert str(caught.value) == f"{file}: unknown key 'batchsize'; did you mean batch_size?"


def test_an_unknown_key_far_from_all_names_the_known_ones(tmp_path):
    file = _file(tmp_path, "lr: 0.1\n")
    with pytest.raises(ConfigError) as caught:
        resolve(EvaluateConfig, NEEDED[EvaluateConfig], file)
    assert str(caught.value) == (
        f"{file}: unknown key 'lr'; known: bundle, data, output, split, beside, by, at, "
        "prevalence, resamples, seed, engine, batch_size, address, audit, figures, overwrite, "
        "expect, exclude, allowed_root, s3_endpoint, s3_region, s3_profile, s3_anonymous, "
        "s3_requester_pays."
    )


def test_a_key_that_is_not_a_word_is_an_unknown_key(tmp_path):
    file = _file(tmp_path, "1: 2\n")
    with pytest.raises(ConfigError) as caught:
        resolve(DemoConfig, {}, file)
    assert str(caught.value) == (
        f"{file}: unknown key '1'; known: output, num_images, epochs, seed, overwrite."
    )


@pytest.mark.parametrize(
    ("kind", "line", "complaint"),
    [
        (TrainConfig, "epochs: ten", "epochs must be a whole number, got 'ten'."),
        (TrainConfig, "epochs: 2.5", "epochs must be a whole number, got 2.5."),
        (TrainConfig, "epochs: true", "epochs must be a whole number, got True."),
        (
            TrainConfig,
            "epochs: null",
            "epochs must be a whole number, got nothing; give one, or leave the line out.",
        ),
        (TrainConfig, "epochs: [1]", "epochs must be a whole number, got [1]."),
        (TrainConfig, "learning_rate: fast", "learning_rate must be a number, got 'fast'."),
        (TrainConfig, "learning_rate: true", "learning_rate must be a number, got True."),
        (TrainConfig, "model: 3", "model must be text, got 3; write it in quotes."),
        (
            TrainConfig,
            "output: 2026-01-02",
            "output must be text, got 2026-01-02; write it in quotes.",
        ),
        (TrainConfig, "resume: 1", "resume must be true or false, got 1."),
        (
            TrainConfig,
            "threshold_rule: true",
            "threshold_rule must be text, got True; write it in quotes.",
        ),
        (
            IndexConfig,
            "sources: [a, on]",
            "sources must be a list of texts, got True; write it in quotes.",
        ),
        (
            IndexConfig,
            "sources: [a, 0.5]",
            "sources must be a list of texts, got 0.5; write it in quotes.",
        ),
        (
            IndexConfig,
            "sources: [a, null]",
            "sources must be a list of texts, got None; write it in quotes.",
        ),
        (TrainConfig, "positive: false", "positive must be text, got False; write it in quotes."),
        (TrainConfig, "overwrite: 1", "overwrite must be true or false, got 1."),
        (TrainConfig, "overwrite: maybe", "overwrite must be true or false, got 'maybe'."),
        (
            IndexConfig,
            "sources: xrays",
            "sources must be a list, got 'xrays'; write it as ['xrays'].",
        ),
        (IndexConfig, "validation: 15%", "validation must be a number, got '15%'."),
    ],
)
def test_a_value_of_the_wrong_type_names_the_file_the_key_and_the_type(
    tmp_path, kind, line, complaint
):
    file = _file(tmp_path, f"{line}\n")
    with pytest.raises(ConfigError) as caught:
        resolve(kind, NEEDED[kind], file)
    assert str(caught.value) == f"{file}: {complaint}"


def test_a_value_out_of_range_in_a_file_is_refused_as_from_a_flag(tmp_path):
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], _file(tmp_path, "epochs: 0\n"))
    assert str(caught.value) == "epochs must be at least 1, got 0."


@pytest.mark.parametrize("text", ["", "null\n", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_leaves_the_defaults(tmp_path, text):
    assert resolve(DemoConfig, {}, _file(tmp_path, text)) == DemoConfig()


@pytest.mark.parametrize(
    ("text", "given"),
    [("- epochs\n- 3\n", "list"), ("epochs 3\n", "str"), ("3\n", "int"), ("true\n", "bool")],
)
def test_a_file_without_keys_says_what_it_must_hold(tmp_path, text, given):
    file = _file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], file)
    assert str(caught.value) == f"{file} must contain `setting: value` lines, got {given}."


def test_a_file_that_is_not_yaml_says_where_it_breaks(tmp_path):
    file = _file(tmp_path, "epochs: 3\nmodel: [covid\nseed: 1\n")
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], file)
    message = str(caught.value)
    assert message.startswith(f"{file} is not a YAML file: ")
    assert "line 3" in message
    assert "\n" not in message


def test_a_file_that_is_not_text_is_not_a_yaml_file(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], file)
    assert str(caught.value) == (
        f"{file} is not a YAML file: 'utf-8' codec can't decode byte 0xff in position 0: "
        "invalid start byte."
    )


def test_a_yaml_tag_that_would_run_code_is_refused(tmp_path):
    marker = tmp_path / "ran"
    file = _file(tmp_path, f"model: !!python/object/apply:os.mkdir ['{marker}']\n")
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], file)
    assert str(caught.value).startswith(f"{file} is not a YAML file: ")
    assert not marker.exists()


def test_a_missing_file_is_named(tmp_path):
    file = tmp_path / "nowhere.yaml"
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], file)
    assert str(caught.value) == f"{file} cannot be read: No such file or directory."


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, NEEDED[TrainConfig], tmp_path)
    assert str(caught.value) == f"{tmp_path} cannot be read: it is a folder, not a file."


@pytest.mark.parametrize(
    "config",
    [
        IndexConfig(sources=("a", "b"), output="m.parquet", validation=0.1, split=False),
        TrainConfig(data="xrays", output="run", learning_rate=1e-5, positive="covid"),
        TrainConfig(data="xrays", output="run", recipe="robust", crop=0.2),
        EvaluateConfig(bundle="run", data="xrays"),
        PredictConfig(bundle="run", data="xrays", output="scored", max_errors="25", resume=True),
        PredictConfig(bundle="run", data="xrays", output="scored", max_errors="0.5%"),
        DemoConfig(),
    ],
    ids=lambda config: type(config).__name__,
)
@pytest.mark.parametrize("dump", [yaml.safe_dump, json.dumps])
def test_saved_settings_make_the_same_config_again(tmp_path, config, dump):
    # run.json saves them as JSON, which is YAML too
    file = _file(tmp_path, dump(as_dict(config)))
    assert resolve(type(config), {}, file) == config


@pytest.mark.parametrize("kind", NEEDED)
def test_saved_settings_hold_every_setting(kind):
    saved = as_dict(kind(**NEEDED[kind]))
    assert list(saved) == names(kind)
    assert set(saved) == {field.name for field in dataclasses.fields(kind)}


def _file(folder, text):
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("threshold_rule: 0.3", "0.3"),
        ("threshold_rule: .5", "0.5"),
        ("threshold_rule: 0.00001", "1e-05"),
        ("threshold_rule: '0.3'", "0.3"),
        ("threshold_rule: youden", "youden"),
        ("threshold_rule: sensitivity=0.9", "sensitivity=0.9"),
    ],
)
def test_a_threshold_may_be_a_number_in_a_file(line, rule, tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text(f"data: d\noutput: o\n{line}\n")
    assert resolve(TrainConfig, {}, file).threshold_rule == rule
