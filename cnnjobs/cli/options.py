"""Arguments and options that several commands have alike."""

from pathlib import Path
from typing import Annotated

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
