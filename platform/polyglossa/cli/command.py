"""What all commands share, also those of `jobs/`: errors in one line, how to go on after Ctrl-C.

Imports nothing but the standard library until a command runs, so that a missing extra is one line too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from polyglossa.errors import Interrupted, PolyglossaError
from polyglossa.extras import naming_extras


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
    """Print an error made on purpose as one line and end with its exit code."""
    try:
        with naming_extras():
            yield
    except PolyglossaError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(error.exit_code)
