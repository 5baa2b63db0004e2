r"""Compare predictions with known labels on a cluster.

    ray job submit --working-dir . -- \
        python -m jobs.evaluate s3://bucket/runs/first s3://bucket/manifest.parquet

Takes the options of `cnnjobs evaluate`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
