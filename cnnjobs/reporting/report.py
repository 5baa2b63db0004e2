"""`cnnjobs report`: one HTML page of what runs have left, to keep and to hand on."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjobs.config import ReportConfig
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import BundleError, ImageError, InputError, RunExistsError
from cnnjobs.evaluation import grad_cam
from cnnjobs.imaging import preprocessing, reading
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.reporting import (
    cross_validation,
    gallery,
    inputs,
    render,
    results,
    sections,
    thumbnails,
)
from cnnjobs.reporting.gallery import Judged
from cnnjobs.reporting.inputs import Given
from cnnjobs.reporting.render import Page
from cnnjobs.storage import filesystem, run_dir, s3

if TYPE_CHECKING:
    import keras

#: The command line of a run, from its command and its settings.
Spell = Callable[[str, Mapping[str, Any]], str]

#: Images decoded between two reports of progress.
_REPORTED = 64


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What the page holds; `unread` images are shown without their picture.

    `warnings` name what the page could not tell: runs that are not finished, a bundle that is
    gone.
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
    """The runs and what belongs to them, read before an image is."""

    config: ReportConfig
    output: str
    runs: Sequence[Given]
    bundle: Bundle | None
    manifests: Mapping[str, Manifest]

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells."""
        return {
            "runs": {run.uri: run.command for run in self.runs},
            "model": inputs.model(self.runs),
            "bundle": self.bundle.uri if self.bundle is not None else None,
            "output": self.output,
            "warnings": self.warnings,
        }

    @property
    def warnings(self) -> list[str]:
        """What the page will not be able to tell."""
        model = inputs.model(self.runs)
        warnings = sections.unfinished(self.runs)
        if model is not None and self.bundle is None:
            warnings.append(
                f"The bundle of {model} is gone: its architecture is not told, and no image is "
                "called uncertain."
            )
        return warnings


def plan(config: ReportConfig) -> ReportPlan:
    """Read the runs and find their bundle and manifests; writes nothing.

    Raises:
        InputError: see `given.read`.
        RunExistsError: the output is there already and `overwrite` is off.
    """
    s3.use(**config.s3)
    output = filesystem.normalize(config.output)
    told = inputs.read(config.runs)
    if filesystem.exists(output) and not config.overwrite:
        raise RunExistsError(f"{output} exists already; choose another name or add --overwrite.")
    filesystem.check_writable(output.rpartition("/")[0])
    return ReportPlan(
        config=config,
        output=output,
        runs=told,
        bundle=inputs.find_bundle(told),
        manifests=inputs.manifests(told),
    )


def report(
    config: ReportConfig,
    progress: Progress = silent,
    *,
    spell: Spell | None = None,
) -> ReportSummary:
    """Write the page.

    The most wrong and the most certain images get a heat map, where the model has convolutions.

    Args:
        config: the settings.
        progress: told of every image.
        spell: gives the command lines of "How to repeat it"; None leaves them out.

    Raises:
        InputError: see `plan`.
    """
    began = time.monotonic()
    planned = plan(config)
    progress("read", 0, None)
    network = _network(planned.bundle)
    shown, judged = _shown(planned, progress)
    if network is not None and judged is not None:
        _draw_heat(planned, shown, judged, network)
    page = _page(planned, network, shown, judged, spell)
    data = render.render(page).encode()
    filesystem.write_bytes(planned.output, data)
    return ReportSummary(
        output=planned.output,
        title=page.title,
        model=inputs.model(planned.runs),
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


def _page(
    planned: ReportPlan,
    network: "keras.Model | None",
    shown: Sequence[Mapping[str, Any]],
    judged: Judged | None,
    spell: Spell | None,
) -> Page:
    told, bundle = planned.runs, planned.bundle
    found = results.audited(told, inputs.kept_audit(bundle))
    before = [
        sections.data(planned.manifests),
        sections.model(bundle, network),
        sections.training(told),
        results.evaluation(told),
        cross_validation.crossvalidation(told),
        results.audit(found, told),
        sections.scoring(told),
    ]
    commands = [spell(run.command, run.config) for run in told] if spell is not None else []
    model = inputs.model(told)
    now = datetime.now(UTC)
    gallery_text = ""
    if judged is not None:
        gallery_text = gallery.told(judged, len(shown), planned.config.seed)
    return Page(
        title=planned.config.title or (f"Report on {model}" if model else "Report"),
        subtitle=f"{', '.join(run.command for run in told)} · {now:%Y-%m-%d %H:%M} UTC · not a "
        "medical device",
        verdict=found.verdict,
        line=found.line,
        warnings=planned.warnings,
        tiles=results.tiles(told),
        before=[section for section in before if section is not None],
        after=[
            results.limits(told, bundle, planned.manifests, found),
            sections.repeating(told, commands),
        ],
        gallery=_gallery(shown, bundle) if judged is not None else None,
        gallery_text=gallery_text,
        made=f"Made by cnnjobs {run_dir.code_version()} on {now:%Y-%m-%d at %H:%M} UTC.",
    )


def _gallery(shown: Sequence[Mapping[str, Any]], bundle: Bundle | None) -> dict[str, Any]:
    return {
        "images": shown,
        "labels": list(bundle.labels) if bundle is not None else [],
        "positive": bundle.positive if bundle is not None else None,
    }


def _shown(planned: ReportPlan, progress: Progress) -> tuple[list[dict[str, Any]], Judged | None]:
    """The images of the gallery with their pictures, and what is known of all."""
    rows = inputs.scored(planned.runs)
    if rows is None:
        return [], None
    judged = gallery.judge(rows, planned.bundle)
    places = gallery.select(judged, planned.config.max_images, seed=planned.config.seed)
    shown = gallery.entries(judged, places, inputs.splits(planned.manifests))
    read = thumbnails.read(
        shown, inputs.policy(planned.runs), num_pixels=inputs.num_pixels(planned.runs)
    )
    for number, (entry, picture) in enumerate(zip(shown, read, strict=True)):
        del entry["is_large"]
        entry |= {"thumbnail": picture.thumbnail, "large": picture.large}
        entry["unread"] = picture.error if entry["error"] is None else None
        if number % _REPORTED == 0:
            progress("images", number, len(shown))
    progress("images", len(shown), len(shown))
    return shown, judged


def _draw_heat(
    planned: ReportPlan,
    shown: Sequence[dict[str, Any]],
    judged: Judged,
    network: "keras.Model",
) -> None:
    """Add the heat map of the most wrong and the most certain to what is shown of them."""
    bundle = planned.bundle
    assert bundle is not None
    try:
        watched = grad_cam.watched(network)
    except InputError:
        # a model without convolutions looks nowhere
        return
    by_path = {image["path"]: image for image in shown}
    places = np.flatnonzero([path in by_path for path in judged.rows["path"].to_pylist()])
    for path in gallery.to_explain(judged, places):
        image = by_path[path]
        if image["unread"] is not None:
            continue
        try:
            data = reading.read_image(path)
        except ImageError:
            # it was there a moment ago
            continue
        decoded = reading.decoded(data, bundle.preprocessing, inputs.policy(planned.runs))
        if isinstance(decoded, ImageError):
            continue
        towards = list(bundle.labels).index(image["prediction"])
        if bundle.positive is not None:
            towards = int(image["prediction"] == bundle.positive)
        heat = grad_cam.heat_of(watched, decoded.pixels, towards=towards)
        drawn = grad_cam.overlay(decoded.pixels[:, :, 0], heat)
        height, width = thumbnails.fitted(image["height"], image["width"], thumbnails.LARGE_SIDE)
        resized = preprocessing.resize(drawn, height=height, width=width)
        image["heat"] = thumbnails.encoded(np.asarray(resized, np.uint8))


def _network(bundle: Bundle | None) -> "keras.Model | None":
    """The model itself; None where the bundle lacks it."""
    if bundle is None:
        return None
    try:
        return bundles.load_model(bundle)
    except BundleError:
        return None
