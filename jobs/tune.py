r"""Search for good settings on a cluster.

    ray job submit --working-dir . -- \
        python -m jobs.tune s3://bucket/manifest.parquet --space space.yaml --trials 20 \
        -o s3://bucket/runs/search

Takes the options of `cnnjobs tune`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])
