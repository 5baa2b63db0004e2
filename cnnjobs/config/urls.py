"""URLs in settings must not contain credentials: settings appear in logs, records and tables."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnjobs.errors import ConfigError

#: Parameters of a URL that hold a secret: of presigned URLs, databases and services.
_SECRET = re.compile(
    r"(?i)(^|[?&;])(x-amz-|x-goog-|awsaccesskeyid|[\w.-]*(signature|passw|pwd|token|secret|api_?key|"
    r"access_?key)|sig=|key=)"
)

#: Databases, which may be given the name of a user, but no password.
_DATABASE = re.compile(r"(?i)(postgres|mysql|mariadb|mssql|oracle)")


def problem(text: str) -> str | None:
    """What is wrong with a text that contains URLs, without the secret; None if nothing is."""
    for match in re.finditer(r"([A-Za-z][\w+.-]*)://", text):
        scheme, rest = match[1], text[match.end() :]
        found = _problem(scheme, rest)
        if found is not None:
            return found
    return None


def refuse(name: str, value: object) -> None:
    """Raise ConfigError, without the secret, if a text anywhere in a setting's value has one."""
    for text in _texts(value, set()):
        found = problem(text)
        if found is None and name == "address" and "@" in text:
            found = f"…@{text.rpartition('@')[2]} contains credentials; leave them out."
        if found is not None:
            raise ConfigError(f"{name}: {found}" if name else found)


def refuse_words(words: Sequence[str]) -> None:
    """Raise ConfigError, without the secret, if a command line has one, in an option or not."""
    for before, word in zip(("", *words), words, strict=False):
        refuse(before.removeprefix("--") if before.startswith("--") else "", word)


def _texts(value: object, seen: set[int]) -> Iterator[str]:
    """The texts in a value; YAML's aliases can put a list into itself."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple) and id(value) not in seen:
        seen.add(id(value))
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _texts(item, seen)


def _problem(scheme: str, rest: str) -> str | None:
    server, _, query = rest.partition("?")
    first = re.split("[/?#]", rest, maxsplit=1)[0]
    is_s3 = scheme.lower() == "s3"
    if first.startswith("arn:"):
        return None
    after_name = first.partition("@")[0].partition(":")
    if "@" in first and _DATABASE.match(scheme) and not after_name[1]:
        pass
    # a password may contain slashes: then the server appears to be USER:PASS
    elif "@" in first or ("@" in rest and ":" in first and not re.fullmatch(r"[^@]*:\d+", first)):
        way = (
            "and set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            if is_s3
            else "and set them in the environment or a file of the user's own (docs/security.md)"
        )
        shown = rest.rpartition("@")[2].partition("?")[0]
        return f"{scheme}://…@{shown} contains credentials; leave them out, {way}."
    if query and _SECRET.search(query):
        if re.search(r"(?i)x-amz-|signature=|awsaccesskeyid=", query):
            return (
                f"{scheme}://{server}?… is a presigned URL; write s3://bucket/prefix and set "
                "AWS_PROFILE."
            )
        return f"{scheme}://{server}?… contains credentials; leave them out."
    return None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of the settings of every job: none of them contains credentials."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            refuse(field.name, getattr(self, field.name))
