"""Files that hold secrets: made for their owner alone, and refused when everybody may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vecsv.errors import UsageError

#: Readable and writable by the owner only.
MODE = 0o600


def read_private(path: Path, *, what: str, hint: str) -> bytes:
    """Read a secret.

    Parameters
    ----------
    path : Path
    what : str
        What the file holds, as errors call it: ``"the key"``.
    hint : str
        How to make such a file, for when there is none.

    Raises
    ------
    UsageError
        When it cannot be read, or may be read by everybody on the machine. A group may: that is how orchestrators hand
        a secret to a service's user.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & stat.S_IRWXO:
                raise UsageError(
                    f"{what} may be read by everybody on this machine (mode {mode:04o})",
                    where=str(path),
                    hint=f"chmod 600 {path}",
                )
            return file.read()
    except FileNotFoundError as error:
        raise UsageError(f"{what} is not there", where=str(path), hint=hint) from error
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror or error}", where=str(path)) from error
