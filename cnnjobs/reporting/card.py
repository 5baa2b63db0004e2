"""The words of a model card, which no run knows: `report --card card.yaml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnjobs.config import files
from cnnjobs.errors import ConfigError
from cnnjobs.reporting import checklists
from cnnjobs.reporting.blocks import Detail, Section
from cnnjobs.reporting.checklists import CLAIM, NOT_REPORTED, TRIPOD_AI, Item

#: Keys with one text each, and how the page calls them.
TEXTS = {
    "intended_use": "Intended use",
    "out_of_scope_use": "Out-of-scope use",
    "authors": "Authors",
    "contact": "Contact",
    "data_licence": "License of the data",
    "data_citation": "Citation of the data",
    "label_provenance": "Where the labels come from",
}

#: Keys with one text for each of some items.
_CHECKLISTS: Mapping[str, tuple[str, Sequence[Item]]] = {
    "tripod_ai": ("TRIPOD+AI (2024)", TRIPOD_AI),
    "claim": ("CLAIM (2020)", CLAIM),
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """The texts by key, and the answers to items by checklist and number."""

    texts: Mapping[str, str]
    answers: Mapping[str, Mapping[str, str]]


def read(file: str) -> Card:
    """Read a YAML file of the keys above; all are optional.

    Raises:
        ConfigError: the file cannot be read, a key or item is unknown, or a value is no text.
    """
    path = Path(file)
    settings = files.read_yaml(path)
    known = (*TEXTS, *_CHECKLISTS)
    texts: dict[str, str] = {}
    answers: dict[str, Mapping[str, str]] = {}
    for key, value in settings.items():
        if files.checked_key(path, str(key), known) in TEXTS:
            texts[key] = _text(path, key, value)
        else:
            answers[key] = _items(path, key, value)
    return Card(texts=texts, answers=answers)


def sections(card: Card, others: Mapping[str, str]) -> list[Section]:
    """The card, and both checklists as far as the card and the page answer them.

    Args:
        card: the words.
        others: titles of the page's other sections, by name.
    """
    return [
        Section(
            name="card",
            title="Model card",
            facts={name: card.texts.get(key, NOT_REPORTED) for key, name in TEXTS.items()},
        ),
        Section(
            name="checklists",
            title="Reporting checklists",
            text=[
                "Where this page and its card answer the items of two checklists for studies. The "
                "words are shortened; an answer says where to look, not that it is enough."
            ],
            details=[
                Detail(
                    title=caption,
                    table=checklists.table(
                        caption,
                        items,
                        own=card.answers.get(key, {}),
                        words=card.texts,
                        sections=others,
                    ),
                )
                for key, (caption, items) in _CHECKLISTS.items()
            ],
        ),
    ]


def _items(path: Path, key: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key} must be `item: text` lines, got {value!r:.80}.")
    known = [item.number for item in _CHECKLISTS[key][1]]
    return {
        files.checked_key(path, str(number), known): _text(path, f"{key} {number}", text)
        for number, text in value.items()
    }


def _text(path: Path, key: str, value: Any) -> str:
    """A text; a list of texts, such as authors, becomes one."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) and each.strip() for each in values):
        raise ConfigError(f"{path}: {key} must be text, got {value!r:.80}; write it in quotes.")
    return ", ".join(" ".join(each.split()) for each in values)
