"""Names on S3: the bucket, or the ARN of an access point in its place, and the key."""

import re

#: An access point of a bucket: of one region, of several (an alias that ends in .mrap), or of an
#: Outpost.
_ACCESS_POINT = re.compile(
    r"arn:aws[\w-]*:s3[\w-]*:[\w-]*:\d{12}:(outpost[/:][\w-]+[/:])?accesspoint[/:][\w.-]+(?=/|$)"
)


def split(path: str) -> tuple[str, str]:
    """`bucket/key` as bucket and key; the bucket may be the ARN of an access point."""
    match = _ACCESS_POINT.match(path)
    bucket = match[0] if match else path.partition("/")[0]
    return bucket, path[len(bucket) + 1 :]


def is_access_point(path: str) -> bool:
    """Whether the bucket of `bucket/key` is the ARN of an access point."""
    return _ACCESS_POINT.match(path) is not None
