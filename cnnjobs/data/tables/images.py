"""What the rows of all tables say of each image: labels, groups, splits and more."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs import schema
from cnnjobs.config import checks
from cnnjobs.config.constants import DICOM_NAME
from cnnjobs.config.printable import counted
from cnnjobs.data.tables import columns, labels
from cnnjobs.data.tables.parts import NEGATIVE, POSITIVE, WHERE, Part
from cnnjobs.errors import InputError
from cnnjobs.imaging import dicom

#: Columns of rows under construction; a column of a table gets another name.
RESERVED = (*schema.MANIFEST.names, "inside", "patient", "table_group")

#: So many names are given of what does not match.
_NAMED = 3

_NOT_SELECTED = "not selected by --where"


class Images:
    """What the rows of all tables say of each image.

    Attributes:
        is_used: whether each image is named, and not left out.
        left_out: images by why they are left out, other than that no row names them.
        split_by: in words, where splits come from; None without.
    """

    def __init__(self, paths: pa.Array, tables: Sequence[Part], rules: Any) -> None:
        """`rules` are a TableRules."""
        self._paths, self._tables, self._rules = paths, tables, rules
        self.left_out: Counter[str] = Counter()
        self._is_named = np.zeros(len(paths), bool)
        is_rejected = np.zeros(len(paths), bool)
        for part in tables:
            self._is_named[part.files] = True
            if WHERE in part.conditions:
                is_rejected[part.files[~self._selected(part)[part.rows]]] = True
        self.left_out[_NOT_SELECTED] = int(is_rejected.sum())
        self.is_used = self._is_named & ~is_rejected
        self._labels = self._labelled()
        self.split_by: str | None = None

    def unmatched(self, roots: Sequence[str]) -> dict[str, Any]:
        """Rows without an image and images without a row, counted and named.

        Raises:
            InputError: there are more than allowed, or none matches.
        """
        found: dict[str, Any] = {}
        where = ", ".join(roots)
        for part in self._tables:
            is_without = part.without_image()
            if WHERE in part.conditions:
                is_without &= self._selected(part)
            number, total = int(is_without.sum()), part.table.num_rows
            names = part.named(np.flatnonzero(is_without)[:_NAMED].tolist())
            what = f"{number} of {total} rows of {part.file.uri} name no image in {where}"
            if not len(part.rows):
                raise InputError(
                    f"none of the {total} rows of {part.file.uri} names an image in {where} by "
                    f"column {part.roles['path']}, such as {', '.join(names[:1])}; give "
                    "--path-column, or the folder that its paths begin in."
                )
            self._check(number, total, what, names)
            found.setdefault("rows_without_image", {})[part.file.uri] = {
                "number": number,
                "examples": names,
            }
        number = int((~self._is_named).sum())
        names = self._paths.filter(pa.array(~self._is_named)).slice(0, _NAMED).to_pylist()
        what = f"{number} of {len(self._paths)} images in {where} are in no row"
        self._check(number, len(self._paths), what, names)
        return {**found, "images_without_row": {"number": number, "examples": names}}

    def described(self, rows: pa.Table, key: bytes | None) -> dict[str, Any]:
        """New columns for the listed rows: label, group, split, source, and others."""
        found: dict[str, Any] = {"label": self._labels}
        roles = {role for part in self._tables for role in part.roles}
        if "source" in roles:
            source, _ = self._placed("source", self._role("source"))
            found["source"] = pc.coalesce(source, rows["source"].combine_chunks())
        if "group" in roles:
            group, _ = self._placed("group", self._role("group"), shown=False)
            found["table_group"] = self._without_identifiers(group, key)
        if "split" in self._rules.columns:
            found["split"] = self._splits()
        for name, pairs in self._extra().items():
            placed, _ = self._placed(name, pairs, check=False)
            found[f"table_{name}" if name in RESERVED else name] = columns.typed(placed)
        return found

    def not_kept(self) -> list[str]:
        """Columns that are neither used nor taken along."""
        names = [
            name
            for part in self._tables
            if part.file.has_header
            for name in part.file.columns
            if name not in part.table.column_names
        ]
        return list(dict.fromkeys(names))

    def _check(self, number: int, total: int, what: str, names: Sequence[str]) -> None:
        limit = self._rules.max_unmatched
        if number > checks.amount("max_unmatched", limit, total, "rows or images"):
            raise InputError(
                f"{what}, such as {', '.join(names)}; add --max-unmatched {number} if that is "
                f"right (it is {limit}), or check the folder and --path-column."
            )

    def _selected(self, part: Part) -> NDArray[np.bool_]:
        condition = part.conditions[WHERE]
        values = {name: columns.typed(part.column(name)) for name in condition.columns}
        mask: NDArray[np.bool_] = pc.fill_null(condition.mask(values), False).to_numpy(
            zero_copy_only=False
        )
        return mask

    def _role(self, role: str) -> list[tuple[Part, pa.Array]]:
        return [
            (part, _trimmed(part.encoded(part.roles[role])))
            for part in self._tables
            if role in part.roles
        ]

    def _placed(
        self,
        what: str,
        values: Sequence[tuple[Part, pa.Array]],
        *,
        check: bool = True,
        shown: bool = True,
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """The first value that rows have for each image, and whether it has one.

        Raises:
            InputError: rows have different values for an image that is used.
        """
        pairs = [(part.files, _encoded(array).take(pa.array(part.rows))) for part, array in values]
        files = np.concatenate([each for each, _ in pairs])
        joined = pa.chunked_array([each for _, each in pairs]).unify_dictionaries().combine_chunks()
        if isinstance(joined, pa.ChunkedArray):
            joined = joined.chunk(0) if joined.num_chunks else pa.nulls(0, pa.string())
        codes = pc.fill_null(joined.indices, -1).to_numpy(zero_copy_only=False)
        is_valid = (codes >= 0) & self.is_used[files]
        files, codes = files[is_valid], codes[is_valid]
        first = np.full(len(self._paths), -1, np.int64)
        first[files[::-1]] = codes[::-1]
        differs = np.flatnonzero(first[files] != codes)
        if check and len(differs):
            image, other = int(files[differs[0]]), int(codes[differs[0]])
            words = joined.dictionary
            both = f", {words[int(first[image])]} and {words[other]}" if shown else ""
            number = len(np.unique(files[differs]))
            raise InputError(
                f"rows give different {what}s to {counted(number, 'image')}, such as "
                f"{self._paths[image]}{both}; keep one row per image, or correct them."
            )
        taken = pa.array(first, mask=first < 0)
        return joined.dictionary.take(taken), first >= 0

    def _labelled(self) -> pa.Array:
        """The label of each image; those whose rows give none for a reason are left out."""
        rules = self._rules
        if "label" not in rules.columns and rules.positive_when is None:
            return pa.nulls(len(self._paths), pa.string())
        values: list[tuple[Part, pa.Array]] = []
        reasons: list[tuple[Part, str, NDArray[np.bool_]]] = []
        if rules.positive_when is not None:
            for part in self._tables:
                if POSITIVE in part.conditions and NEGATIVE in part.conditions:
                    found, why = labels.of_conditions(
                        part.conditions[POSITIVE],
                        part.conditions[NEGATIVE],
                        part.column,
                        rules.uncertain,
                        part.table.num_rows,
                    )
                    values.append((part, found))
                    reasons += [(part, reason, mask) for reason, mask in why.items()]
            if all(found.null_count == len(found) for _, found in values):
                sums: Counter[str] = Counter()
                for _, reason, mask in reasons:
                    sums[reason] += int(mask.sum())
                why_not = ", ".join(f"{reason}: {n:,}" for reason, n in sums.items() if n)
                raise InputError(
                    f"{POSITIVE} {rules.positive_when!r} and {NEGATIVE} {rules.negative_when!r} "
                    f"label no row ({why_not}); change the conditions."
                )
        else:
            # untrimmed: a label with a space at its end may be one with another
            values = [
                (part, part.encoded(part.roles["label"]))
                for part in self._tables
                if "label" in part.roles
            ]
        names = labels.parsed_map(rules.map)
        where = ", ".join(dict.fromkeys(_named(part) for part, _ in values))
        together = _together([_encoded(array) for _, array in values])
        mapped, dropped = labels.renamed(together, names, where)
        start = 0
        for position, (part, array) in enumerate(values):
            new = mapped.slice(start, len(array))
            is_dropped = pc.and_(pc.is_valid(_trimmed(array)), pc.is_null(new))
            if dropped:
                reasons.append(
                    (part, "left out by --map", is_dropped.to_numpy(zero_copy_only=False))
                )
            values[position] = (part, new)
            start += len(array)
        placed, has_label = self._placed("label", values)
        for part, reason, mask in reasons:
            is_out = np.zeros(len(self._paths), bool)
            is_out[part.files[mask[part.rows]]] = True
            is_out &= self.is_used & ~has_label
            self.left_out[reason] += int(is_out.sum())
            self.is_used &= ~is_out
        return placed

    def _without_identifiers(self, groups: pa.Array, key: bytes | None) -> pa.Array:
        """Groups under names that do not identify a patient, if images are DICOM."""
        is_dicom = pc.match_substring_regex(self._paths, DICOM_NAME)
        if key is None and not pc.any(is_dicom, min_count=0).as_py():
            return groups
        encoded = groups.dictionary_encode()
        if key is not None:
            names = [dicom.hashed(text, key) for text in encoded.dictionary.to_pylist()]
        else:
            codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
            _, first = np.unique(codes[codes >= 0], return_index=True)
            names = self._paths.take(pa.array(np.flatnonzero(codes >= 0)[first])).to_pylist()
        return pa.array(names, pa.string()).take(encoded.indices)

    def _splits(self) -> pa.Array:
        """The split of each image: of a column, or of the names of several tables."""
        pairs = self._role("split")
        if pairs:
            self.split_by = "the split column"
            words = [
                (part, _translated(array, part.roles["split"], part.file.uri))
                for part, array in pairs
            ]
            return self._placed("split", words)[0]
        by_name = {part.file.uri: columns.split_of_name(part.file.uri) for part in self._tables}
        if len({*by_name.values()} - {None}) < 2:
            return pa.nulls(len(self._paths), pa.string())
        self.split_by = "the names of the tables"
        named = [
            (part, pa.repeat(pa.scalar(split), part.table.num_rows))
            for part in self._tables
            if (split := by_name[part.file.uri]) is not None
        ]
        return self._placed("split", named)[0]

    def _extra(self) -> dict[str, list[tuple[Part, pa.Array]]]:
        found: dict[str, list[tuple[Part, pa.Array]]] = {}
        for part in self._tables:
            for name, new in part.extra.items():
                found.setdefault(new, []).append((part, _trimmed(part.encoded(name))))
        return found


def _translated(words: pa.Array, name: str, uri: str) -> pa.Array:
    encoded = _encoded(words)
    texts = encoded.dictionary.to_pylist()
    unknown = [text for text in texts if columns.plain(text) not in columns.SPLIT_WORDS]
    if unknown:
        raise InputError(
            f"column {name} of {uri} must hold train, validation and test (or words like val and "
            f"dev), it holds {unknown[0]!r}; change it, or add --split-column none."
        )
    splits = [columns.SPLIT_WORDS[columns.plain(text)] for text in texts]
    return pa.array(splits, pa.string()).take(encoded.indices)


def _trimmed(values: pa.Array) -> pa.Array:
    """Texts without spaces around them; blank ones are null."""
    cells = _encoded(values)
    texts = pc.utf8_trim_whitespace(cells.dictionary)
    return pc.if_else(pc.equal(texts, ""), None, texts).take(cells.indices)


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()


def _together(values: Sequence[pa.DictionaryArray]) -> pa.DictionaryArray:
    joined = pa.chunked_array(values).unify_dictionaries().combine_chunks()
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


def _named(part: Part) -> str:
    uri = part.file.uri
    return f"column {part.roles['label']} of {uri}" if "label" in part.roles else uri
