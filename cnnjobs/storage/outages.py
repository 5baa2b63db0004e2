"""Storage outages: errors that are not one file's."""

import errno

from cnnjobs.storage.s3_errors import OutageError

#: The mount, its server, the way there or the keys for it are gone; or this process cannot open
#: any more files. A bad sector (EIO) and a missing permission may be one file's.
_NUMBERS = {
    *(errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.ENOLINK, errno.EREMOTEIO),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ESHUTDOWN, errno.ETIMEDOUT),
    *(errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED, errno.EKEYREJECTED),
    *(errno.EMFILE, errno.ENFILE),
}


def is_outage(error: OSError) -> bool:
    """Whether other files of the same storage will fail in the same way."""
    return isinstance(error, OutageError) or error.errno in _NUMBERS
