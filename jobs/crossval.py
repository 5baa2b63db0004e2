r"""Train and test on every fold, and without each source, on a cluster.

    ray job submit --working-dir . -- \
        python -m jobs.crossval s3://bucket/manifest.parquet --folds 5 --leave-out source \
        -o s3://bucket/runs/crossval

Takes the options of `cnnjobs crossval`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["crossval", *sys.argv[1:]])
