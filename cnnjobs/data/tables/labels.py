"""The labels of a table: renamed, of two conditions, and checked for what is no class."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs.data.tables.columns import typed
from cnnjobs.data.tables.expressions import Expression
from cnnjobs.errors import InputError

POSITIVE, NEGATIVE = "positive", "negative"

#: More classes than this are taken for something else: a number, a name, a text.
_MOST_CLASSES = 200

#: `2020-01-31`, `31.1.2020` and `31 Jan 2020`, with or without a time.
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|\d{1,2}[-. ]+[a-z]{3,9}[-. ,]+\d{4})([ T].*)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?(e[-+]?\d+)?", re.IGNORECASE)


def parsed_map(pairs: Sequence[str]) -> dict[str, str | None]:
    """New labels by old ones; None leaves the rows out, and `*` stands for all other labels."""
    found: dict[str, str | None] = {}
    for pair in pairs:
        old, _, new = pair.rpartition("=")
        found[old] = new.strip() or None
    return found


def renamed(
    values: pa.DictionaryArray, names: Mapping[str, str | None], where: str
) -> tuple[pa.Array, Counter[str]]:
    """The labels under their new names, and how many rows are left out by label.

    Raises:
        InputError: the labels are no classes, or two of them may be one, or a name has none.
    """
    counts = {
        item["values"]: item["counts"]
        for item in pc.value_counts(values.drop_null().cast(pa.string())).to_pylist()
        if item["values"].strip()
    }
    if not counts:
        raise InputError(
            f"{where} has no label in {len(values)} rows, only blanks and NA; give another "
            "--label-column, or --no-labels."
        )
    unknown = [name for name in names if name not in counts and name != "*"]
    if unknown and len(unknown) == len([name for name in names if name != "*"]):
        found = ", ".join(repr(each) for each in sorted(counts)[:8]) or "none"
        raise InputError(f"--map {unknown[0]!r}: {where} has no such label; it has {found}.")
    rest = names.get("*", "")
    new = {label: names.get(label, label if rest == "" else rest) for label in counts}
    left_out = Counter({label: counts[label] for label in counts if new[label] is None})
    kept = sorted({name for name in new.values() if name is not None})
    _check_classes(kept, where, sum(counts.values()))
    texts = values.dictionary.to_pylist()
    table = pa.array([(new.get(text) or "").strip() or None for text in texts], pa.string())
    return table.take(values.indices), left_out


def _check_classes(labels: Sequence[str], where: str, num_rows: int) -> None:
    forms: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        forms[_form(label)].append(label)
    for same in forms.values():
        if len(same) > 1:
            one, other = sorted(same[:2], key=lambda label: label == label.strip())
            if _look(one) == _look(other):
                raise InputError(
                    f"{where} has the labels {one!a} and {other!a}, which look alike; "
                    "write them alike in the table."
                )
            raise InputError(
                f"{where} has the labels {one!r} and {other!r}, which may be one class; add "
                f"--map '{one}={other.strip()}', or rename one of them."
            )
    kind = None
    # a few others may say that there is none, such as `unknown`
    dates = [label for label in labels if _DATE.fullmatch(label.strip())]
    numbers = [label for label in labels if _NUMBER.fullmatch(label.strip().rstrip("%"))]
    if 2 * len(dates) > len(labels):
        kind = "dates"
    elif 2 * len(numbers) > len(labels):
        values = [float(label.strip().rstrip("%").replace(",", ".")) for label in numbers]
        if len(numbers) > 20 or not all(value.is_integer() for value in values):
            kind = "numbers"
    elif len(labels) > _MOST_CLASSES:
        kind = "texts"
    if kind is not None:
        raise InputError(
            f"{where} holds {kind}, not classes: {len(labels)} different ones in {num_rows} rows, "
            f"such as {labels[0]!r}; give another --label-column, or --positive-when and "
            "--negative-when."
        )


def _form(label: str) -> str:
    """What labels have in common that differ only in case, spaces and signs between words."""
    text = " ".join(re.sub(r"[\s_-]+", " ", _look(label)).casefold().split())
    if _NUMBER.fullmatch(text):
        return str(float(text.replace(",", ".")))
    return text


def _look(label: str) -> str:
    """The label with one way to write each letter and space, and without invisible characters."""
    text = unicodedata.normalize("NFKC", label)
    return "".join(each for each in text if unicodedata.category(each) != "Cf")


def of_conditions(
    positive: Expression,
    negative: Expression,
    column: Callable[[str], pa.Array],
    uncertain: str,
    num_rows: int,
) -> tuple[pa.Array, dict[str, NDArray[np.bool_]]]:
    """The label of each row by two conditions, and by reason the rows without one.

    In a column of findings (only 1, 0, -1 and blank), -1 is uncertain. It counts as 1, as 0, or
    as blank, which fulfils no condition: the policies U-Ones, U-Zeros and U-Ignore of CheXpert
    (Irvin et al. 2019, arXiv 1901.07031).
    """
    columns: dict[str, Any] = {}
    is_uncertain = pa.repeat(pa.scalar(False), num_rows)
    for name in {*positive.columns, *negative.columns}:
        values = typed(column(name))
        if _is_finding(values):
            here = pc.fill_null(pc.equal(values, -1), False)
            is_uncertain = pc.or_(is_uncertain, here)
            stands_for = {POSITIVE: 1, NEGATIVE: 0}.get(uncertain)
            values = pc.if_else(here, pa.scalar(stands_for, values.type), values)
            for expression in (positive, negative):
                if -1.0 in expression.numbers and name in expression.columns:
                    raise InputError(
                        f"{expression.option} {expression.text!r} compares {name} with -1, which "
                        "is an uncertain finding; say what these count as with --uncertain."
                    )
        columns[name] = values
    is_positive, is_negative = (
        pc.fill_null(each.mask(columns), False) for each in (positive, negative)
    )
    both = pc.and_(is_positive, is_negative)
    label = pc.if_else(
        is_positive,
        pa.scalar(POSITIVE),
        pc.if_else(is_negative, pa.scalar(NEGATIVE), pa.scalar(None, pa.string())),
    )
    label = pc.if_else(both, None, label)
    neither = pc.invert(pc.or_(is_positive, is_negative))
    doubtful = pc.and_(neither, is_uncertain)
    reasons = {
        "neither positive nor negative": pc.and_not(neither, doubtful),
        "both positive and negative": both,
        "uncertain": doubtful,
    }
    return label, {reason: mask.to_numpy(zero_copy_only=False) for reason, mask in reasons.items()}


def _is_finding(values: pa.Array) -> bool:
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return False
    return set(pc.unique(values).drop_null().to_pylist()) <= {-1, 0, 1}
