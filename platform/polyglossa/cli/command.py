"""What all commands share, also those of `jobs/`: errors in one line, how to go on after Ctrl-C.

Imports nothing but the standard library until a command runs, so that a missing extra is one line too.
"""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from polyglossa.errors import Interrupted, PolyglossaError
from polyglossa.extras import naming_extras

_FULL = {errno.ENOSPC, errno.EDQUOT}
_PLACES = {
    errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip
"""What is wrong with a path that somebody gave; a connection's errors, and bugs of ours, are others."""


@contextmanager
def taken_up_again() -> Iterator[None]:
    """Tell whoever stops a run that the same command goes on with it.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; run the same command again to go on where it stopped") from None


@contextmanager
def errors_in_one_line(program: str) -> Iterator[None]:
    """Print an error made on purpose as one line and end with its exit code; so with a path that cannot be used."""
    try:
        with naming_extras():
            yield
    except PolyglossaError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _PLACES | _FULL:
            raise
        place = f"{error.filename}: " if error.filename is not None else ""  # Arrow's errors name it in their text
        sys.stderr.write(f"{program}: {place}{error.strerror or error}.\n")
        sys.exit(1 if error.errno in _FULL else 2)
