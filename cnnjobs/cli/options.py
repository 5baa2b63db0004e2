"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from cnnjobs.cli.help_page import (
    CLUSTER,
    IMAGES,
    METRICS,
    MODEL,
    OUTPUT,
    S3,
    SCORING,
    SELECTION,
    TRAINING,
)

# none is required by Typer: --config may set it
Data = Annotated[
    str | None,
    Argument(metavar="DATA", help="A manifest.parquet, a folder, or s3://bucket/prefix."),
]
BundlePath = Annotated[
    str | None,
    Argument(metavar="BUNDLE", help="A model bundle, or the run directory of a training."),
]
Images = Annotated[list[str] | None, Argument(metavar="IMAGE", help="Image files, local or on S3.")]
Output = Annotated[
    str | None,
    Option("--output", "-o", metavar="DIR", rich_help_panel=OUTPUT, help="Run directory to write."),
]
Overwrite = Annotated[
    bool, Option("--overwrite", rich_help_panel=OUTPUT, help="Replace existing output.")
]
Resume = Annotated[
    bool,
    Option("--resume", rich_help_panel=OUTPUT, help="Continue the run in the output directory."),
]
Address = Annotated[
    str | None,
    Option(
        metavar="ADDRESS",
        rich_help_panel=CLUSTER,
        help="Ray cluster to run on; `auto` is the one on this machine. Default: RAY_ADDRESS, or "
        "a running `ray start --head`, or a local Ray for this job.",
    ),
]
Head = Annotated[
    str | None,
    Option(
        metavar="URL",
        help="Head of the cluster, http://HEAD:8265. Default: RAY_ADDRESS, or the head that runs "
        "on this machine.",
    ),
]
Split = Annotated[
    str,
    Option(metavar="train|validation|test|all", rich_help_panel=SCORING, help="Images to score."),
]
BatchSize = Annotated[int, Option(rich_help_panel=SCORING, help="Images scored per batch.")]
Engine = Annotated[
    str,
    Option(
        metavar="auto|openvino|keras",
        rich_help_panel=SCORING,
        help="Inference engine: openvino (CPU), keras (GPU), or auto, which depends on the "
        "machine and the bundle.",
    ),
]
Damaged = Annotated[
    str,
    Option(
        metavar="error|score",
        rich_help_panel=IMAGES,
        help="What to do with a damaged image that can still be decoded: error (no score), or "
        "score (with a warning in its row).",
    ),
]
AnyModality = Annotated[
    bool,
    Option(
        "--any-modality",
        rich_help_panel=IMAGES,
        help="Accept DICOM files that are not projection X-rays.",
    ),
]
Monitor = Annotated[
    str,
    Option(
        metavar="val_loss|val_accuracy|val_auroc",
        rich_help_panel=SELECTION,
        help="Metric for --keep best, --early-stopping and --schedule plateau.",
    ),
]
Keep = Annotated[
    str,
    Option(
        metavar="last|best",
        rich_help_panel=SELECTION,
        help="Epoch saved in the bundle: last, or best by --monitor.",
    ),
]
ThresholdRule = Annotated[
    str,
    Option(
        metavar="P|youden|sensitivity=S",
        rich_help_panel=SELECTION,
        help="Probability at or above which an image is predicted positive: P, or chosen on the "
        "validation split: the threshold with the largest sensitivity + specificity (youden), or "
        "the highest threshold with sensitivity at least S.",
    ),
]
Calibrate = Annotated[
    bool,
    Option(
        "--calibrate",
        rich_help_panel=SELECTION,
        help="Fit a temperature on the validation split; scoring divides the logits by it.",
    ),
]
Resamples = Annotated[
    int,
    Option(
        rich_help_panel=METRICS,
        help="Bootstrap resamples for the 95 % intervals, 100 or more; 0: no intervals.",
    ),
]
MaxFailures = Annotated[
    int, Option(rich_help_panel=CLUSTER, help="Restarts allowed after workers are lost.")
]
Seed = Annotated[int, Option(help="Random seed.")]

Json = Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")]
Debug = Annotated[bool, Option("--debug", help="Print the traceback of an error.")]

#: The options of every job: name in the command's function, type, default.
OF_EVERY_JOB = {
    "config": (
        Annotated[
            Path | None,
            Option(
                "--config",
                metavar="FILE",
                help="YAML file of settings; the command line overrides it.",
            ),
        ],
        None,
    ),
    "dry_run": (
        Annotated[
            bool, Option("--dry-run", help="Print the settings and the plan; write nothing.")
        ],
        False,
    ),
    "as_json": (Json, False),
    "quiet": (Annotated[bool, Option("--quiet", "-q", help="Show no progress bars.")], False),
    "debug": (Debug, False),
}

#: The options of every job that trains; their defaults are those of the job's config.
OF_TRAINING: dict[str, Any] = {
    "recipe": Annotated[
        str,
        Option(
            metavar="plain|robust",
            rich_help_panel=MODEL,
            help="Preset for settings that are not given: plain (the lab sheet's), or robust, "
            "which removes much of what reveals an image's source (docs/training.md).",
        ),
    ],
    "model": Annotated[
        str,
        Option(
            metavar="NAME",
            rich_help_panel=MODEL,
            help="Architecture: a name that `cnnjobs models` lists, or your own as "
            "file.py:function.",
        ),
    ],
    "weights": Annotated[
        str | None,
        Option(
            metavar="FILE|imagenet",
            rich_help_panel=MODEL,
            help="Initial weights of a backbone: a .weights.h5 file, or imagenet. Default: random.",
        ),
    ],
    "crop": Annotated[
        float,
        Option(
            metavar="SHARE",
            rich_help_panel=IMAGES,
            help="Share of the height to cut off at the top and at the bottom, and of the width "
            "at each side.",
        ),
    ],
    "mask_corners": Annotated[
        float,
        Option(
            metavar="SHARE",
            rich_help_panel=IMAGES,
            help="Share of height and width to paint black at each corner, to hide text.",
        ),
    ],
    "equalize": Annotated[
        bool,
        Option(
            rich_help_panel=IMAGES,
            show_default=False,
            help="Apply adaptive histogram equalization (CLAHE) to every image. Default: off; on "
            "in the recipe robust.",
        ),
    ],
    "augment": Annotated[
        str,
        Option(
            metavar="off|light|strong",
            rich_help_panel=IMAGES,
            help="Random rotation, shift and contrast; strong: larger ones, and brightness, zoom "
            "and erased patches. Never flips.",
        ),
    ],
    "positive": Annotated[
        str | None,
        Option(
            metavar="CLASS",
            rich_help_panel=MODEL,
            help="Positive class. Default: the one not called `normal`, `negative` or similar.",
        ),
    ],
    "epochs": Annotated[
        int, Option(rich_help_panel=TRAINING, help="Passes over the training images.")
    ],
    "batch_size": Annotated[
        int,
        Option(rich_help_panel=TRAINING, help="Images per training step, over all workers."),
    ],
    "learning_rate": Annotated[
        float, Option(rich_help_panel=TRAINING, help="Learning rate of Adam.")
    ],
    "schedule": Annotated[
        str,
        Option(
            metavar="constant|cosine|plateau",
            rich_help_panel=TRAINING,
            help="Learning rate over the epochs; plateau halves it after 3 epochs without a "
            "better --monitor.",
        ),
    ],
    "clip_norm": Annotated[
        float | None,
        Option(
            rich_help_panel=TRAINING,
            help="Largest norm of all gradients together. Default: no limit.",
        ),
    ],
    "class_weight": Annotated[
        str | None,
        Option(
            metavar="balanced",
            rich_help_panel=TRAINING,
            help="Give every class the same total weight. Default: every image counts once.",
        ),
    ],
    "balance": Annotated[
        str | None,
        Option(
            metavar="source",
            rich_help_panel=TRAINING,
            help="Give every class of every source the same total weight, to stop the model "
            "from inferring the class from the source.",
        ),
    ],
    "early_stopping": Annotated[
        int | None,
        Option(
            metavar="EPOCHS",
            rich_help_panel=SELECTION,
            help="Stop after this many epochs without a better --monitor. Default: never.",
        ),
    ],
    "gpus_per_worker": Annotated[
        int | None,
        Option(
            metavar="0|1",
            rich_help_panel=CLUSTER,
            help="GPUs per worker. Default: 1 if there are enough GPUs, else 0.",
        ),
    ],
    "mixed_precision": Annotated[
        bool,
        Option(
            "--mixed-precision",
            rich_help_panel=CLUSTER,
            help="Train in 16-bit arithmetic: float16 on a GPU, bfloat16 on a CPU.",
        ),
    ],
    "jit": Annotated[
        bool,
        Option(
            "--jit",
            rich_help_panel=CLUSTER,
            help="Compile the training step with XLA (slower on a CPU).",
        ),
    ],
}

#: The options of every job that reads or writes user data.
OF_STORAGE = {
    "s3_endpoint": (
        Annotated[
            str | None,
            Option(
                metavar="URL",
                rich_help_panel=S3,
                help="S3 server other than AWS, as http(s)://host[:port].",
            ),
        ],
        None,
    ),
    "s3_region": (
        Annotated[
            str | None, Option(metavar="NAME", rich_help_panel=S3, help="Region of the buckets.")
        ],
        None,
    ),
    "s3_profile": (
        Annotated[
            str | None,
            Option(
                metavar="NAME",
                rich_help_panel=S3,
                help="Profile in the AWS configuration files to take the keys from.",
            ),
        ],
        None,
    ),
    "s3_anonymous": (
        Annotated[
            bool,
            Option(
                "--s3-anonymous",
                rich_help_panel=S3,
                help="Send requests without keys, for public buckets.",
            ),
        ],
        False,
    ),
}
