"""Names must not contain credentials: they appear in logs, records and tables."""

from cnnjobs.config import urls
from cnnjobs.errors import StorageError


def refuse_in_name(text: str) -> None:
    """Raise StorageError, without the secret, for a name that contains keys or is presigned."""
    problem = urls.problem(text)
    if problem is not None:
        raise StorageError(problem)
