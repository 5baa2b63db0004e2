"""Score an archive of chest X-rays and list the images that a radiologist should see first.

python examples/score_archive.py runs/first archive/ scored

Run it again to continue a stopped run, or to score only what is new since.
"""

import argparse
from pathlib import Path

import cnnjobs


def main() -> None:
    """Score the archive, then print the ten images with the highest probability."""
    parser = argparse.ArgumentParser(description="Score an archive; list the most suspicious.")
    parser.add_argument("bundle", help="a bundle, or the run of a training")
    parser.add_argument("archive", help="a folder, s3://bucket/prefix or manifest.parquet")
    parser.add_argument("output", help="the run directory to write")
    parser.add_argument("--max-errors", default="5%", help="bad images allowed")
    arguments = parser.parse_args()
    try:
        summary = cnnjobs.predict(
            bundle=arguments.bundle,
            data=arguments.archive,
            output=arguments.output,
            update=Path(arguments.output).exists(),
            max_errors=arguments.max_errors,
        )
    except cnnjobs.TooManyBadImages as error:
        summary = error.summary
        print(f"warning: {error}")
    failed = sum(summary.failed.values())
    print(f"{summary.scored} scored, {failed} failed, {summary.skipped} known")
    if not summary.left:
        print_first(arguments.output)


def print_first(run: str, number: int = 10) -> None:
    """Print the paths with the highest probability of the positive class."""
    table = cnnjobs.read_predictions(run)
    rows = table.filter(table["probability"].is_valid()).sort_by([("probability", "descending")])
    for row in rows.slice(0, number).to_pylist():
        print(f"{row['probability']:.3f} {row['path']}")


if __name__ == "__main__":
    main()
