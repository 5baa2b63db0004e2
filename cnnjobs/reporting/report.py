"""`cnnjobs report`: one HTML page from the runs of a model, to keep and to share."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cnnjobs.config import ReportConfig
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import BundleError, RunExistsError
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.reporting import card as cards
from cnnjobs.reporting import (
    gallery,
    heat_maps,
    inputs,
    limits,
    render,
    results,
    sections,
    thumbnails,
)
from cnnjobs.reporting.card import Card
from cnnjobs.reporting.cross_validation import cross_validation
from cnnjobs.reporting.data_section import data_section
from cnnjobs.reporting.external import external_section
from cnnjobs.reporting.gallery import JudgedRows
from cnnjobs.reporting.inputs import InputRun
from cnnjobs.reporting.model_section import model_section
from cnnjobs.reporting.render import Page
from cnnjobs.storage import apart, filesystem, s3, versions

if TYPE_CHECKING:
    import keras

#: The command line of a run, from its command and its settings.
Spell = Callable[[str, Mapping[str, Any]], str]

#: In the head of every page; see `page.html`.
_MARK = b'content="cnnjobs report"'

#: Images between two progress updates.
_PROGRESS_STEP = 64


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What the page holds; `unread` images are shown by name only.

    `warnings` say what is missing: the results of unfinished runs, or a bundle that is gone.
    """

    output: str
    title: str
    model: str | None
    verdict: str | None
    sections: Sequence[str]
    num_images: int
    num_shown: int
    num_explained: int
    unread: int
    size_bytes: int
    seconds: float
    warnings: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ReportPlan:
    """The runs with their bundle and manifests, read before any image."""

    config: ReportConfig
    output: str
    runs: Sequence[InputRun]
    bundle: Bundle | None
    manifests: Mapping[str, Manifest]
    card: Card | None

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` prints."""
        return {
            "runs": {run.uri: run.command for run in self.runs},
            "model": inputs.model_name(self.runs),
            "bundle": self.bundle.uri if self.bundle is not None else None,
            "output": self.output,
            "warnings": self.warnings,
        }

    @property
    def warnings(self) -> list[str]:
        """What will be missing from the page."""
        model = inputs.model_name(self.runs)
        warnings = sections.unfinished(self.runs)
        if model is not None and self.bundle is None:
            warnings.append(
                f"The bundle of {model} is gone: the page lacks its architecture, and no image is "
                "marked uncertain."
            )
        return warnings


def plan(config: ReportConfig) -> ReportPlan:
    """Read the runs and find their bundle and manifests; writes nothing.

    Raises:
        InputError: see `inputs.read`.
        RunExistsError: the output exists and `overwrite` is off.
        ConfigError: see `card.read`.
    """
    s3.use(**config.s3)
    output = filesystem.normalize(config.output)
    runs = inputs.read(config.runs)
    if filesystem.exists(output) and not config.overwrite:
        raise RunExistsError(f"{output} already exists; choose another name or add --overwrite.")
    apart.check_file(output, config.runs, mark=_MARK, kind="a page of cnnjobs report")
    return ReportPlan(
        config=config,
        output=output,
        runs=runs,
        bundle=inputs.find_bundle(runs),
        manifests=inputs.manifests(runs),
        card=cards.read(config.card) if config.card is not None else None,
    )


def report(
    config: ReportConfig,
    progress: Progress = silent,
    *,
    spell: Spell | None = None,
) -> ReportSummary:
    """Write the page.

    The most wrong and the most certain images get a heat map if the model has convolutions.

    Args:
        config: the settings.
        progress: called after every few images.
        spell: makes the command lines of "How to repeat it"; None leaves them out.

    Raises:
        InputError: see `plan`.
    """
    began = time.monotonic()
    planned = plan(config)
    progress("read", 0, None)
    network = _load_network(planned.bundle)
    shown, judged = _select_images(planned, progress)
    if planned.bundle is not None and network is not None and judged is not None:
        policy = inputs.policy(planned.runs)
        heat_maps.add(shown, judged, planned.bundle, network, policy)
    page = _page(planned, network, shown, judged, spell)
    data = render.render(page).encode()
    filesystem.write_bytes(planned.output, data)
    return ReportSummary(
        output=planned.output,
        title=page.title,
        model=inputs.model_name(planned.runs),
        verdict=page.verdict,
        sections=[section.name for section in (*page.before, *page.after)],
        num_images=0 if judged is None else judged.rows.num_rows,
        num_shown=len(shown),
        num_explained=sum("heat" in image for image in shown),
        unread=sum(image["unread"] is not None for image in shown),
        size_bytes=len(data),
        seconds=round(time.monotonic() - began, 3),
        warnings=planned.warnings,
    )


def _load_network(bundle: Bundle | None) -> "keras.Model | None":
    """The Keras model; None if the bundle lacks it."""
    if bundle is None:
        return None
    try:
        return bundles.load_model(bundle)
    except BundleError:
        return None


def _select_images(
    planned: ReportPlan, progress: Progress
) -> tuple[list[dict[str, Any]], JudgedRows | None]:
    """The gallery's images with their thumbnails, and the judged rows of all images."""
    rows = inputs.prediction_rows(planned.runs)
    if rows is None:
        return [], None
    judged = gallery.judge(rows, planned.bundle or inputs.fold_bundle(planned.runs))
    indices = gallery.select(judged, planned.config.max_images, seed=planned.config.seed)
    shown = gallery.entries(judged, indices, inputs.splits(planned.manifests))
    read = thumbnails.read(
        shown, inputs.policy(planned.runs), max_pixels=inputs.max_pixels(planned.runs)
    )
    for number, (entry, thumbnail) in enumerate(zip(shown, read, strict=True)):
        del entry["is_large"]
        entry |= {"thumbnail": thumbnail.small, "large": thumbnail.large}
        entry["unread"] = thumbnail.error if entry["error"] is None else None
        if number % _PROGRESS_STEP == 0:
            progress("images", number, len(shown))
    progress("images", len(shown), len(shown))
    return shown, judged


def _page(
    planned: ReportPlan,
    network: "keras.Model | None",
    shown: Sequence[Mapping[str, Any]],
    judged: JudgedRows | None,
    spell: Spell | None,
) -> Page:
    runs, bundle = planned.runs, planned.bundle
    described = bundle or inputs.fold_bundle(runs)
    audit = limits.find_audit(runs, described)
    found = [
        external_section(runs, bundle),
        data_section(planned.manifests),
        model_section(bundle, network),
        sections.training_section(runs),
        results.evaluation_section(runs),
        cross_validation(runs),
        limits.audit_section(audit, runs),
        sections.scoring_section(runs),
    ]
    commands = [spell(run.command, run.config) for run in runs] if spell is not None else []
    model = inputs.model_name(runs)
    now = datetime.now(UTC)
    gallery_text = ""
    if judged is not None:
        gallery_text = gallery.describe_selection(judged, len(shown), planned.config.seed)
    before = [section for section in found if section is not None]
    after = [
        limits.limits_section(runs, bundle, planned.manifests, audit),
        sections.repeat_section(runs, commands),
    ]
    if planned.card is not None:
        titles = {section.name: section.title for section in (*before, *after)}
        if judged is not None:
            titles["gallery"] = "Images"
        card, checklists = cards.sections(planned.card, titles)
        before, after = [card, *before], [after[0], checklists, after[1]]
    return Page(
        title=planned.config.title or inputs.title(runs, described),
        subtitle=" · ".join(
            [
                *([model] if model is not None else []),
                ", ".join(run.command for run in runs),
                f"{now:%Y-%m-%d %H:%M} UTC",
                "not a medical device",
            ]
        ),
        verdict=audit.verdict,
        verdict_name=audit.name,
        line=audit.line,
        warnings=planned.warnings,
        tiles=results.tiles(runs),
        before=before,
        after=after,
        gallery=_gallery_data(shown, described) if judged is not None else None,
        gallery_text=gallery_text,
        footer=f"Made by cnnjobs {versions.code_version()} on {now:%Y-%m-%d at %H:%M} UTC.",
    )


def _gallery_data(shown: Sequence[Mapping[str, Any]], bundle: Bundle | None) -> dict[str, Any]:
    return {
        "images": shown,
        "labels": list(bundle.labels) if bundle is not None else [],
        "positive": bundle.positive if bundle is not None else None,
    }
