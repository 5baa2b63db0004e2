r"""List, label, group and split images into a manifest on a cluster.

    ray job submit --working-dir . -- \
        python -m jobs.index s3://bucket/xrays -o s3://bucket/manifest.parquet

Takes the options of `cnnjobs index`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["index", *sys.argv[1:]])
