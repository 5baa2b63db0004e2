r"""Train a model on a cluster.

    ray job submit --working-dir . -- \
        python -m jobs.train s3://bucket/manifest.parquet --model covid -o s3://bucket/runs/first

Takes the options of `cnnjobs train`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
