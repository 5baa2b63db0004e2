r"""Draw where a model looks in single images.

    ray job submit --working-dir . -- \
        python -m jobs.explain s3://bucket/runs/first s3://bucket/one.png -o s3://bucket/looked

Takes the options of `cnnjobs explain`; runs in its own process, without Ray.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["explain", *sys.argv[1:]])
