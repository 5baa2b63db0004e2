"""`cnnjobs bundle show` and `bundle verify`."""

from typing import TYPE_CHECKING

from cnnjobs.cli.app import bundle
from cnnjobs.cli.command import job
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import table
from cnnjobs.config import BundleConfig

if TYPE_CHECKING:
    from cnnjobs.inference.bundle_digests import BundleSummary


@job(bundle, "show", BundleConfig)
def show() -> Job:
    """Print a bundle's name, digests and files.

    The digests are computed from the files. Sign the first one, or note it and give it to
    --expect (docs/security.md).

    cnnjobs bundle show runs/first
    """
    from cnnjobs.inference import bundle_digests as module

    return Job(module.show, module.plan, show_text)


@job(bundle, "verify", BundleConfig)
def verify() -> Job:
    """Check that a bundle is sealed, unchanged, and scores the same in both engines.

    Loads the model in Keras and compares its networks for OpenVINO with it. Exits with 1 if the
    bundle has no seal, and with 2 if a file has changed.

    cnnjobs bundle verify runs/first
    """
    from cnnjobs.inference import bundle_digests as module

    return Job(module.verify, module.plan, verify_text, module.judge)


def show_text(summary: "BundleSummary") -> str:
    """The name, the digests, what is known of the model, and the files."""
    lines = [
        f"{summary.model}, trained {summary.created}",
        f"bundle: {summary.digest}",
        f"model:  {summary.model_digest}",
        f"evaluated: {summary.evaluated or 'never'}; audited: {summary.audited or 'never'}",
        *(f"warning: {doubt}" for doubt in summary.doubts),
    ]
    files = [[name, digest] for name, digest in summary.files.items()]
    return "\n".join([*lines, "", table(["file", "SHA-256"], files)])


def verify_text(summary: "BundleSummary") -> str:
    """One line, and the digests."""
    found = " and ".join(
        f"{difference:.1e} in {precision}" for precision, difference in summary.differences.items()
    )
    export = f"OpenVINO differs from Keras by {found}" if found else "it has no OpenVINO export"
    is_whole = "sealed and unchanged" if summary.is_sealed else "unsealed"
    return "\n".join(
        [
            f"{summary.model} is {is_whole}; {export}",
            f"bundle: {summary.digest}",
            f"model:  {summary.model_digest}",
        ]
    )
