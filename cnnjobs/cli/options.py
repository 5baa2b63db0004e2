"""Arguments and options that several commands have alike."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

# Typer must not insist on what has no default: --config may give it
Data = Annotated[
    str | None,
    Argument(metavar="DATA", help="A manifest.parquet, a folder, or s3://bucket/prefix."),
]
BundlePath = Annotated[
    str | None, Argument(metavar="BUNDLE", help="A model bundle, or the run of a training.")
]
Output = Annotated[str | None, Option("--output", "-o", help="Run directory to write.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace what the output holds.")]
Resume = Annotated[bool, Option("--resume", help="Go on with the run that the output holds.")]
Address = Annotated[
    str | None,
    Option(
        help="Ray cluster to run on (`auto`: the one on this machine). "
        "Default: RAY_ADDRESS or a running `ray start --head`, else a local Ray for this job."
    ),
]
BatchSize = Annotated[int, Option(help="Images scored at once.")]
Engine = Annotated[
    str, Option(help="openvino (CPU), keras (GPU), or auto: by the machine and the bundle.")
]
Damaged = Annotated[
    str,
    Option(
        help="Images that are damaged and can be decoded all the same: error (no score), or "
        "score (with a warning in the row)."
    ),
]
AnyModality = Annotated[
    bool, Option("--any-modality", help="Take DICOM files that are no projection X-rays, too.")
]
Monitor = Annotated[str, Option(help="val_loss, val_accuracy or val_auroc.")]
Keep = Annotated[str, Option(help="The epoch that becomes the bundle: last, or best by --monitor.")]
ThresholdRule = Annotated[
    str,
    Option(
        metavar="youden|sensitivity=S|P",
        help="Probability from which on an image is predicted positive: P, or chosen on the "
        "validation split: where sensitivity + specificity is largest (youden), or the highest "
        "that still finds the share S.",
    ),
]
Calibrate = Annotated[
    bool,
    Option(
        "--calibrate",
        help="Fit a temperature on the validation split, by which the model's logits are "
        "divided when it scores.",
    ),
]
MaxFailures = Annotated[int, Option(help="Times that lost workers are started again.")]
Seed = Annotated[int, Option(help="Seed of all that is random.")]

Json = Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")]
Debug = Annotated[bool, Option("--debug", help="Print the traceback of an error.")]

#: What every job has: its name in the command's function, its type, its default.
OF_EVERY_JOB = {
    "config": (
        Annotated[
            Path | None, Option("--config", help="YAML file of settings; flags win over it.")
        ],
        None,
    ),
    "dry_run": (
        Annotated[
            bool, Option("--dry-run", help="Print the settings and the plan, and write nothing.")
        ],
        False,
    ),
    "as_json": (Json, False),
    "quiet": (Annotated[bool, Option("--quiet", "-q", help="No progress bars.")], False),
    "debug": (Debug, False),
}

#: What every job has that trains; the defaults are those of its config.
OF_TRAINING: dict[str, Any] = {
    "recipe": Annotated[
        str,
        Option(
            metavar="plain|robust",
            help="Settings for those not given: the lab sheet's, or those that leave less of the "
            "source to learn (docs/training.md has what they did).",
        ),
    ],
    "model": Annotated[
        str,
        Option(help="Architecture (`cnnjobs models` lists them), or file.py:function of your own."),
    ],
    "weights": Annotated[
        str | None, Option(help="Of a backbone: a .weights.h5 file, or imagenet.")
    ],
    "crop": Annotated[
        float,
        Option(
            metavar="SHARE",
            help="Of the height to cut off at top and bottom, and of the width at both sides.",
        ),
    ],
    "mask_corners": Annotated[
        float,
        Option(
            metavar="SHARE", help="Of height and width to paint black at each corner, for text."
        ),
    ],
    "equalize": Annotated[
        bool, Option("--equalize", help="Adaptive histogram equalization (CLAHE) of every image.")
    ],
    "augment": Annotated[
        str,
        Option(
            metavar="off|light|strong",
            help="Random rotations, shifts and contrasts; strong: larger ones, brightness, zoom "
            "and erased patches, too. Never a flip.",
        ),
    ],
    "positive": Annotated[
        str | None,
        Option(help="The class that is looked for. Default: the opposite of a class `normal`."),
    ],
    "epochs": Annotated[int, Option(help="Times that every image is trained on.")],
    "batch_size": Annotated[int, Option(help="Images in one training step.")],
    "learning_rate": Annotated[float, Option(help="Of the Adam optimizer.")],
    "schedule": Annotated[
        str,
        Option(help="Of the learning rate: constant, cosine, or plateau (halved when stuck)."),
    ],
    "clip_norm": Annotated[float | None, Option(help="Largest norm of all gradients together.")],
    "class_weight": Annotated[str | None, Option(help="`balanced`: every class weighs the same.")],
    "balance": Annotated[
        str | None,
        Option(
            help="`source`: every class of every source weighs the same, so that none tells it."
        ),
    ],
    "early_stopping": Annotated[
        int | None, Option(metavar="EPOCHS", help="Stop after so many without a better --monitor.")
    ],
    "gpus_per_worker": Annotated[
        int | None,
        Option(help="0 or 1 for each process. Default: 1 where there are enough GPUs."),
    ],
    "mixed_precision": Annotated[
        bool, Option("--mixed-precision", help="16-bit arithmetic: float16 on GPU, else bfloat16.")
    ],
    "jit": Annotated[bool, Option("--jit", help="Compile the step with XLA (slower on CPU).")],
}

#: What every job has that reads or writes where the user says.
OF_STORAGE = {
    "s3_endpoint": (
        Annotated[
            str | None, Option(metavar="URL", help="S3 that is not AWS's: http(s)://host[:port].")
        ],
        None,
    ),
    "s3_region": (Annotated[str | None, Option(help="Region of the buckets.")], None),
    "s3_profile": (
        Annotated[str | None, Option(help="Profile in AWS's own files to take keys from.")],
        None,
    ),
    "s3_anonymous": (
        Annotated[bool, Option("--s3-anonymous", help="Ask without keys: for public buckets.")],
        False,
    ),
}
