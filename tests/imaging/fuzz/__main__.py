"""Fuzz the decoders: python -m tests.imaging.fuzz --minutes N --seed S [--format png ...]."""

import argparse
import sys
from pathlib import Path

from tests.imaging.fuzz import campaign, mutations

parser = argparse.ArgumentParser(prog="python -m tests.imaging.fuzz", description=__doc__)
parser.add_argument("--minutes", type=float, default=10, help="for all formats together")
parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same images")
parser.add_argument("--format", choices=mutations.FORMATS, action="append", help="default: all")
parser.add_argument(
    "--folder", type=Path, help="where images at fault are written; default: TMPDIR"
)
arguments = parser.parse_args()
formats = arguments.format or mutations.FORMATS
seconds = 60 * arguments.minutes / len(formats)
num_faults = 0
for name in formats:
    report = campaign.run(name, arguments.seed, seconds=seconds, folder=arguments.folder)
    print(report, *report.faults, *sorted(report.printed), sep="\n  ", flush=True)
    num_faults += len(report.faults)
sys.exit(min(num_faults, 1))
