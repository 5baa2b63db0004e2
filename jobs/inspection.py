r"""Describe an archive on a cluster before training on it.

    ray job submit --working-dir . -- \
        python -m jobs.inspection s3://bucket/manifest.parquet --plot s3://bucket/look

Takes the options of `cnnjobs inspect`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["inspect", *sys.argv[1:]])
