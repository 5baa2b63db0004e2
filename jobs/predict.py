r"""Score every image of a manifest on a cluster.

    ray job submit --working-dir . -- \
        python -m jobs.predict s3://bucket/runs/first s3://bucket/archive -o s3://bucket/scored

Takes the options of `cnnjobs predict`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
