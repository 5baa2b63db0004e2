"""Which column of a table is the path, the label, the group, the split and the source."""

import re
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import DICOM_KEYS, TEST, TRAIN, VALIDATION
from cnnjobs.data.tables.expressions import missing
from cnnjobs.data.tables.files import TableFile
from cnnjobs.errors import InputError

#: Value of a column's option that does without the column.
NONE = "none"

ROLES = ("path", "label", "group", "split", "source")

#: Names by role, without case, spaces and signs; the first that is there counts.
_NAMES: Mapping[str, Sequence[str]] = {
    "path": (
        *("path", "filepath", "imagepath", "filename", "file", "image", "imageindex", "imagename"),
        *("imagefile", "imageid", "img", "dicomid", "id", "name"),
    ),
    "label": (
        *("label", "labels", "class", "classname", "category", "finding", "findings"),
        *("findinglabels", "diagnosis", "disease", "target", "outcome", "y"),
    ),
    "group": (
        *("patientid", "patient", "subjectid", "subject", "group", "groupid", "pid", "person"),
        *("personid", "participant", "participantid", "mrn"),
    ),
    "split": ("split", "set", "subset", "partition", "fold", "phase", "usage"),
    "source": (
        *("source", "dataset", "collection", "database", "hospital", "institution", "center"),
        *("centre", "site"),
    ),
}

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainval", "development"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "tune"), VALIDATION),
    **dict.fromkeys(("test", "testing", "holdout"), TEST),
}

#: Words in the names of columns that may identify a person, or say nothing about one.
_NOT_KEPT = re.compile(
    r"\b(id|ids|uid|mrn|pid|ssn|accession|name|names|firstname|lastname|surname|date|dates|time|"
    r"birth|birthdate|birthday|dob|phone|address|zip|email|note|notes|comment|comments|report|"
    r"text|url|doi|license|path|file|filename|folder|image|index)\b|patientid|studyid|imageid"
)
_DATE = r"^\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([ T].*)?$"

#: Names of columns that describe people and images, and are not what is found in them.
_OF_PEOPLE = re.compile(
    r"sex|gender|age|race|ethn|view|position|projection|modality|scan|manu|site"
)

#: A text with more distinct values is no property of a group of people.
_MOST_TEXTS = 50


def plain(name: str) -> str:
    """A name without case, spaces and signs."""
    return re.sub(r"[\W_]", "", name.lower())


def choose(
    table: TableFile, chosen: Mapping[str, str | None], num_found: Callable[[pa.Array], int]
) -> dict[str, str]:
    """The column of each role that the table has: the one chosen, or else guessed.

    Args:
        table: the opened table.
        chosen: names of columns by role, or their numbers; None to guess.
        num_found: how many names of a column are images.

    Raises:
        InputError: a chosen column is missing, or none names images.
    """
    roles: dict[str, str] = {}
    for role in ROLES:
        name = chosen.get(role)
        if name is not None:
            roles[role] = exact(name, table, f"--{role}-column")
    if "path" not in roles:
        roles["path"] = _path(table, num_found)
    names = {plain(name): name for name in reversed(table.columns)}
    for role in ROLES[1:]:
        if role in roles or role not in chosen:
            continue
        free = {key: name for key, name in names.items() if name not in roles.values()}
        found = next((free[key] for key in _NAMES[role] if key in free), None)
        if found is not None and (role != "split" or is_split(table.head[found])):
            roles[role] = found
    if "label" not in roles and "label" in chosen:
        rest = [name for name in table.columns if name not in roles.values()]
        few = [name for name in rest if _may_be_classes(name, table.head[name])]
        # several columns of a table with a header are too many to choose from
        if few and (len(few) == 1 or not table.has_header):
            roles["label"] = few[0]
    return roles


def exact(name: str, table: TableFile, where: str) -> str:
    """The column of that name, with any case; raises InputError if there is none."""
    if name in table.columns:
        return name
    same = [each for each in table.columns if plain(each) == plain(name)]
    if len(same) == 1 and plain(name):
        return same[0]
    raise missing(name, table.columns, f"{where} {name!r} of {table.uri}")


def _path(table: TableFile, num_found: Callable[[pa.Array], int]) -> str:
    known = {name: rank for rank, name in enumerate(_NAMES["path"])}

    def score(name: str) -> tuple[int, int]:
        texts = table.head[name].combine_chunks().drop_null()
        return num_found(pc.unique(texts).slice(0, 500)), -known.get(plain(name), len(known))

    best = max(table.columns, key=score)
    if score(best)[0]:
        return best
    for key in DICOM_KEYS:
        for name in table.columns:
            if plain(name) == key.lower():
                return name
    found, advice = f"it has {', '.join(table.columns)}", "give"
    if not table.has_header:
        first = table.head[table.columns[0]][0].as_py()
        found, advice = f"{table.form}: {first!r}", "remove lines above the header, or give"
    raise InputError(
        f"no column of {table.uri} names the images ({found}); {advice} --path-column, or the "
        "folder that its paths begin in."
    )


def is_split(column: pa.ChunkedArray) -> bool:
    """Whether all values are words for splits."""
    values = pc.unique(column).drop_null().to_pylist()
    return bool(values) and all(plain(value) in SPLIT_WORDS for value in values)


def split_of_name(uri: str) -> str | None:
    """The split that the name of a file says its rows are in: `train.csv`, `test_list.txt`."""
    words = re.split(r"[\W_\d]+", uri.rpartition("/")[2].lower())
    if "train" in words or "training" in words:
        return TRAIN
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def worth_keeping(name: str, column: pa.ChunkedArray) -> bool:
    """Whether a column may describe groups of people: no identifiers, dates and free texts."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    if _NOT_KEPT.search(re.sub(r"[\W_]+", " ", words)):
        return False
    values = pc.unique(column).drop_null()
    if not len(values) or pc.all(pc.match_substring_regex(values, _DATE)).as_py():
        return False
    if pc.all(pc.match_substring_regex(values, r"^\s*-?\d+([.,]\d+)?\s*$")).as_py():
        # a number that nearly every row has to itself is an identifier
        whole = pc.all(pc.match_substring_regex(values, r"^\s*-?\d+\s*$")).as_py()
        return not whole or len(values) <= max(150, len(column) // 2)
    return len(values) <= _MOST_TEXTS


def _may_be_classes(name: str, column: pa.ChunkedArray) -> bool:
    """Whether a column has few different texts, and no name of something else."""
    values = pc.unique(column).drop_null()
    if _OF_PEOPLE.search(name.lower()) or not 1 < len(values) <= min(20, len(column) // 2):
        return False
    is_number = pc.match_substring_regex(values, r"^\s*[-\d.,]+\s*$")
    return not pc.any(is_number).as_py()


def typed(column: pa.Array) -> pa.Array:
    """Texts as numbers or truth values, if all of them are; decimal commas count as points."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = pc.utf8_trim_whitespace(encoded.dictionary)
    values = pc.if_else(pc.equal(values, ""), None, values)
    has_commas = pc.all(pc.match_substring_regex(values, r"^-?\d*(,\d+)?$"), min_count=0).as_py()
    numbers = pc.replace_substring(values, ",", ".") if has_commas else values
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return numbers.cast(kind).take(encoded.indices)
        except pa.ArrowInvalid:
            continue
    return values.take(encoded.indices)
