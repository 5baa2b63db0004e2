"""Help pages in plain text; the options of a long one are grouped under headings."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from typer import Option
from typer.core import TyperCommand, TyperGroup

from cnnjobs.config.printable import printable

_GENERAL = "General"


def _under(heading: str) -> Any:
    """Typer's `Option`, for an option listed under this heading."""
    return functools.partial(Option, rich_help_panel=heading)


OutputOption = _under("Output")
TableOption = _under("Tables")
LabelOption = _under("Labels, groups and sources")
SplitOption = _under("Split")
SearchOption = _under("Search")
FoldOption = _under("Folds")
ModelOption = _under("Model")
ImageOption = _under("Images")
TrainingOption = _under("Training")
SelectionOption = _under("Model selection and threshold")
ScoringOption = _under("Scoring")
MetricOption = _under("Metrics")
ClusterOption = _under("Workers and hardware")
S3Option = _under("S3")

#: In the order of a page; options of Typer's own `Option` are under the last.
HEADINGS = (
    *(
        "Output",
        "Tables",
        "Labels, groups and sources",
        "Split",
        "Search",
        "Folds",
        "Model",
        "Images",
    ),
    *("Training", "Model selection and threshold", "Scoring", "Metrics", "Workers and hardware"),
    *("S3", _GENERAL),
)

#: A page of at most so many options is one list.
_SHORT = 12

#: The help of an option with a longer name starts on the next line.
_NAME_WIDTH = 30


class Command(TyperCommand):
    """A command that lists its options under headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options."""
        _write_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """A group that lists its options as commands do, then its commands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options and the commands."""
        _write_parameters(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Parse the group's own options."""
        with _escaped():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        """Parse the options of the command, and run it."""
        with _escaped():
            return super().invoke(ctx)


@contextlib.contextmanager
def _escaped() -> Iterator[None]:
    """Escape words of the command line, which a shell may have taken from names of files."""
    try:
        yield
    except Exception as error:
        # of click, or of Typer's own copy of it; without a command, it is the page of help
        if hasattr(error, "format_message") and type(error).__name__ != "NoArgsIsHelpError":
            message = printable(error.format_message())
            error.format_message = lambda: message
        raise


def _write_parameters(command: Any, context: Any, formatter: Any) -> None:
    parameters = command.get_params(context)
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    options = [each for each in parameters if each.param_type_name == "option"]
    if arguments:
        with formatter.section("Arguments"):
            formatter.write_dl([each.get_help_record(context) for each in arguments])
    sections: dict[str, list[tuple[str, str]]] = {}
    for option in options:
        heading = getattr(option, "rich_help_panel", None) or _GENERAL
        sections.setdefault(heading if len(options) > _SHORT else "Options", []).append(
            option.get_help_record(context)
        )
    # one column for the help under every heading
    width = min(max(len(name) for rows in sections.values() for name, _ in rows), _NAME_WIDTH)
    for heading in sorted(sections, key=("Options", *HEADINGS).index):
        with formatter.section(heading):
            formatter.write_dl([(name.ljust(width), text) for name, text in sections[heading]])
