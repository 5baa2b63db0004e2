r"""Summarize runs on S3 on one HTML page, near the images.

    ray job submit --working-dir . -- \
        python -m jobs.report s3://bucket/runs/first s3://bucket/scored -o s3://bucket/report.html

Takes the options of `cnnjobs report`.
"""

import sys

from cnnjobs.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
