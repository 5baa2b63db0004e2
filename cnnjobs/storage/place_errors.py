"""Which errors are those of the place where files lie, and not of one file."""

import errno

from cnnjobs.storage.s3_errors import PlaceError

#: The mount, its server, the way there or the keys for it are gone; or this process cannot open
#: any more files. A bad sector (EIO) and a missing permission may be one file's.
_NUMBERS = {
    *(errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.ENOLINK, errno.EREMOTEIO),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ESHUTDOWN, errno.ETIMEDOUT),
    *(errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED, errno.EKEYREJECTED),
    *(errno.EMFILE, errno.ENFILE),
}


def is_of_place(error: OSError) -> bool:
    """Whether other files of the same place will fail in the same way."""
    return isinstance(error, PlaceError) or error.errno in _NUMBERS
