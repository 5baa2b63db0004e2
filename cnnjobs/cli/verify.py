"""`cnnjobs verify`."""

from typing import TYPE_CHECKING

from typer import Argument

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.runner import Job
from cnnjobs.config import VerifyConfig

if TYPE_CHECKING:
    from cnnjobs.inference.verify import VerifySummary


@job(
    app,
    "verify",
    VerifyConfig,
    options={
        "run": Argument(metavar="RUN", help="The output of predict, evaluate or crossval."),
    },
)
def verify() -> Job:
    """Check that a run's predictions are complete and unchanged.

    Compares every file of predictions with the rows and the hash in run.json, and the rows with
    the images: each must have exactly one. Changes nothing; exits with 1 if something is wrong.

    cnnjobs verify scored
    """
    from cnnjobs.inference import verify as module

    return Job(module.verify, module.plan, verify_text, module.judge)


def verify_text(summary: "VerifySummary") -> str:
    """One line, or one per problem."""
    if summary.problems:
        return "\n".join(f"wrong: {problem}" for problem in summary.problems)
    return (
        f"{summary.run} is whole: {summary.num_rows:,} rows, parts checked: {summary.num_parts:,}"
    )
