r"""Compare models on the same images, from runs on a cluster's storage.

    ray job submit --working-dir . -- \
        python -m jobs.compare s3://bucket/evaluated/first s3://bucket/evaluated/second

Takes the options of `cnnjobs compare`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
