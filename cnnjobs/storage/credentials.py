"""Names must not contain credentials: they appear in logs, records and tables."""

import re

from cnnjobs.errors import StorageError
from cnnjobs.storage import s3_names


def refuse_in_name(text: str) -> None:
    """Raise StorageError, without the secret, for a name that contains keys or is presigned."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        return
    first = rest.partition("/")[0]
    # a secret key may contain slashes: then the bucket appears to be KEY:SEC
    is_split = ":" in first and "@" in rest and not s3_names.is_access_point(rest)
    if "@" in first or is_split:
        raise StorageError(
            f"{scheme}://…@{rest.rpartition('@')[2]} contains credentials; leave them out, and "
            "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    name, mark, query = rest.partition("?")
    if mark and re.search(r"(?i)x-amz-|signature=|awsaccesskeyid=", query):
        raise StorageError(
            f"{scheme}://{name}?… is a presigned URL; write s3://bucket/prefix and set AWS_PROFILE."
        )
