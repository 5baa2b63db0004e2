"""Arguments and options of settings that several commands share.

Type and default of each are those of the setting in the command's config.
"""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from cnnjobs.cli.help_page import (
    ClusterOption,
    ImageOption,
    MetricOption,
    ModelOption,
    OutputOption,
    S3Option,
    ScoringOption,
    SelectionOption,
    TrainingOption,
)

HEAD = Option(
    metavar="URL",
    help="Head of the cluster, http://HEAD:8265. Default: RAY_ADDRESS, or the head that runs on "
    "this machine.",
)

INSECURE = Option(
    "--insecure",
    help="Send the token over plain HTTP to another machine, where it can be read on its way.",
)

#: By the name of the setting.
SHARED: dict[str, Any] = {
    "bundle": Argument(
        metavar="BUNDLE", help="A model bundle, or the run directory of a training."
    ),
    "data": Argument(
        metavar="DATA", help="A manifest.parquet, a folder, an archive, or s3://bucket/prefix."
    ),
    "images": Argument(metavar="IMAGE", help="Image files, local or on S3."),
    "output": OutputOption("--output", "-o", metavar="DIR", help="Run directory to write."),
    "figures": OutputOption(
        metavar="svg,pdf", help="Formats of the figures beside PNG, with commas between them."
    ),
    "resume": OutputOption("--resume", help="Continue the run in the output directory."),
    "overwrite": OutputOption("--overwrite", help="Replace existing output."),
    "exclude": ImageOption(
        metavar="GLOB",
        help="Leave out files and folders whose path below the source matches: a name such as "
        "`*_lateral.png` or `thumbnails` at any depth, or a path such as `2019/**/raw`. "
        "Repeatable.",
    ),
    "allowed_root": ImageOption(
        metavar="DIR|s3://",
        help="Refuse data that name an image anywhere else, as a manifest or table from elsewhere "
        "may; links are followed. Repeatable: one of several.",
    ),
    "any_modality": ImageOption(
        "--any-modality", help="Accept DICOM files that are not projection X-rays."
    ),
    "max_bytes": ImageOption(help="Refuse image files with more bytes."),
    "damaged": ImageOption(
        metavar="error|score",
        help="What to do with a damaged image that can still be decoded: error (no score), or "
        "score (with a warning in its row).",
    ),
    "split": ScoringOption(metavar="train|validation|test|all", help="Images to score."),
    "expect": ScoringOption(
        metavar="sha256:DIGEST",
        help="Refuse a bundle unless this is its digest or its model's (cnnjobs bundle show). "
        "Repeatable: one of several.",
    ),
    "engine": ScoringOption(
        metavar="auto|openvino|keras",
        help="Inference engine: openvino (CPU), keras (GPU), or auto, which depends on the "
        "machine and the bundle.",
    ),
    "batch_size": ScoringOption(help="Images scored per batch."),
    "resamples": MetricOption(
        help="Bootstrap resamples for the 95% intervals, 100 or more; 0: no intervals."
    ),
    "address": ClusterOption(
        metavar="ADDRESS",
        help="Ray cluster to run on; `auto` is the one on this machine, `local` one for this job. "
        "Default: RAY_ADDRESS, or a running `ray start --head`, or `local`; a small job "
        "then needs no Ray.",
    ),
    "seed": Option(help="Random seed."),
    "s3_endpoint": S3Option(
        metavar="URL", help="S3 server other than AWS, as http(s)://host[:port]."
    ),
    "s3_region": S3Option(metavar="NAME", help="Region of the buckets."),
    "s3_profile": S3Option(
        metavar="NAME", help="Profile in the AWS configuration files to take the keys from."
    ),
    "s3_anonymous": S3Option(
        "--s3-anonymous", help="Send requests without keys, for public buckets."
    ),
    "s3_requester_pays": S3Option(
        "--s3-requester-pays", help="Agree to pay for requests, as some buckets demand."
    ),
}

#: Those of the commands that train.
OF_TRAINING: dict[str, Any] = {
    "recipe": ModelOption(
        metavar="plain|robust",
        help="Preset for settings that are not given: plain (the lab sheet's), or robust, which "
        "removes much of what reveals an image's source (docs/training.md).",
    ),
    "model": ModelOption(
        metavar="NAME",
        help="Architecture: a name that `cnnjobs models` lists, or your own as file.py:function.",
    ),
    "weights": ModelOption(
        metavar="FILE|imagenet",
        help="Initial weights of a backbone: a .weights.h5 file, or imagenet. Default: random.",
    ),
    "init": ModelOption(
        metavar="BUNDLE",
        help="Start from the weights of this bundle, of the same model and preprocessing; the last "
        "layer is initialized again where the classes differ.",
    ),
    "freeze": ModelOption(
        metavar="backbone", help="Train only the last layer. Default: train all layers."
    ),
    "unfreeze_at": ModelOption(
        metavar="EPOCH",
        help="First epoch that trains all layers after --freeze, with a new optimizer, schedule "
        "and warmup.",
    ),
    "unfreeze_learning_rate": ModelOption(
        metavar="RATE", help="Learning rate from then on. Default: a tenth of --learning-rate."
    ),
    "positive": ModelOption(
        metavar="CLASS",
        help="Positive class. Default: the one not called `normal`, `negative` or similar.",
    ),
    "crop": ImageOption(
        metavar="SHARE",
        help="Share of the height to cut off at the top and at the bottom, and of the width at "
        "each side.",
    ),
    "mask_corners": ImageOption(
        metavar="SHARE",
        help="Share of height and width to paint black at each corner, to hide text.",
    ),
    "equalize": ImageOption(
        show_default=False,
        help="Apply adaptive histogram equalization (CLAHE) to every image. Default: off; on in "
        "the recipe robust.",
    ),
    "augment": ImageOption(
        metavar="off|light|strong",
        help="Random rotation, shift and contrast; strong: larger ones, and brightness, zoom and "
        "erased patches. Never flips.",
    ),
    "epochs": TrainingOption(help="Passes over the training images."),
    "batch_size": TrainingOption(help="Images per training step, over all workers."),
    "optimizer": TrainingOption(
        metavar="adam|adamw|sgd",
        help="Keras' optimizer with Keras' defaults: sgd has no momentum.",
    ),
    "learning_rate": TrainingOption(help="Learning rate of the optimizer."),
    "schedule": TrainingOption(
        metavar="constant|cosine|plateau",
        help="Learning rate over the epochs; cosine falls to 0 at the end of --epochs, plateau "
        "halves it after 3 epochs without a better --monitor.",
    ),
    "warmup": TrainingOption(
        metavar="EPOCHS",
        help="First epochs, over which the learning rate rises from 0 in a straight line.",
    ),
    "weight_decay": TrainingOption(
        metavar="SHARE",
        help="Share of each weight that a step subtracts, times the learning rate, with adamw or "
        "sgd. Default: 0.004 with adamw, none with sgd.",
    ),
    "label_smoothing": TrainingOption(
        metavar="SHARE",
        help="Share of each label that is spread evenly over all classes in the loss, also in "
        "val_loss.",
    ),
    "clip_norm": TrainingOption(help="Largest norm of all gradients together. Default: no limit."),
    "class_weight": TrainingOption(
        metavar="balanced",
        help="Give every class the same total weight. Default: every image counts once.",
    ),
    "balance": TrainingOption(
        metavar="source",
        help="Give every class of every source the same total weight, to stop the model from "
        "inferring the class from the source.",
    ),
    "monitor": SelectionOption(
        metavar="val_loss|val_accuracy|val_auroc",
        help="Metric for --keep best, --early-stopping and --schedule plateau.",
    ),
    "keep": SelectionOption(
        metavar="last|best", help="Epoch saved in the bundle: last, or best by --monitor."
    ),
    "early_stopping": SelectionOption(
        metavar="EPOCHS",
        help="Stop after this many epochs without a better --monitor. Default: never.",
    ),
    "threshold_rule": SelectionOption(
        metavar="P|youden|sensitivity=S",
        help="Probability at or above which an image is predicted positive: P, or chosen on the "
        "validation split: the threshold with the largest sensitivity + specificity (youden), or "
        "the highest threshold with sensitivity at least S.",
    ),
    "calibrate": SelectionOption(
        "--calibrate",
        help="Fit a temperature on the validation split; scoring divides the logits by it.",
    ),
    "gpus_per_worker": ClusterOption(
        metavar="0|1", help="GPUs per worker. Default: 1 if there are enough GPUs, else 0."
    ),
    "mixed_precision": ClusterOption(
        "--mixed-precision", help="Train in 16-bit arithmetic: float16 on a GPU, bfloat16 on a CPU."
    ),
    "jit": ClusterOption("--jit", help="Compile the training step with XLA (slower on a CPU)."),
    "deterministic": ClusterOption(
        "--deterministic",
        help="Use only operations that give the same bits each time: slower on a GPU, not needed "
        "on a CPU (docs/training.md, Repeatable).",
    ),
    "max_failures": ClusterOption(help="Restarts allowed after workers are lost."),
}

Json = Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")]
Debug = Annotated[bool, Option("--debug", help="Print the traceback of an error.")]

#: Options of every job that are not settings.
FLAGS: dict[str, Any] = {
    "config": Annotated[
        Path | None,
        Option("--config", metavar="FILE", help="YAML file of settings; options override it."),
    ],
    "dry_run": Annotated[
        bool, Option("--dry-run", help="Print the settings and the plan; write nothing.")
    ],
    "as_json": Json,
    "quiet": Annotated[bool, Option("--quiet", "-q", help="Show no progress.")],
    "verbose": Annotated[
        bool,
        Option("--verbose", "-v", help="Print what happens on standard error, in place of bars."),
    ],
    "log_file": Annotated[
        str | None, Option("--log-file", metavar="FILE", help="Append what happens to this file.")
    ],
    # only of jobs that write an output
    "deadline": Annotated[
        str | None,
        Option(metavar="TIME", help="Stop after this time, such as 6h or 90m, with exit code 124."),
    ],
    "debug": Debug,
}
