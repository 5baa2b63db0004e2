r"""Measure how much of the AUROC survives without the lungs.

    ray job submit --working-dir . -- \
        python -m jobs.audit s3://bucket/runs/first s3://bucket/manifest.parquet

Takes the options of `cnnjobs audit`; scores in its own process, without Ray.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["audit", *sys.argv[1:]])
