"""The environment variables vecsv listens to.

There are no others but the hub's own, where models are fetched from it (`vecsv.fetching.hub`): ``HF_ENDPOINT``,
``HF_TOKEN`` and ``HF_HUB_OFFLINE``.

============================  ==========================================================================================
``VECSV_CACHE``               folder for fetched models (default: the platform's user cache, e.g. ``~/.cache/vecsv``)
``VECSV_ENROLMENT_KEY_FILE``  file with the key that enrolments are sealed with; without it, new ones are kept plain
``VECSV_OFFLINE``             ``1`` forbids every fetch; a model that is not in the cache is then an error
``VECSV_STORE``               default for ``--store`` (otherwise ``index``)
============================  ==========================================================================================
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder that holds fetched models; not created here.

    Examples
    --------
    >>> isinstance(cache_dir(), Path)
    True
    """
    chosen = os.environ.get("VECSV_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    # Imported here: most commands find VECSV_CACHE unset only once, and start-up time is what a person waits for.
    import platformdirs

    return Path(platformdirs.user_cache_dir("vecsv"))


def offline() -> bool:
    """Whether ``VECSV_OFFLINE`` forbids fetching anything."""
    return os.environ.get("VECSV_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def default_store() -> Path:
    """The store that commands use when no ``--store`` is given."""
    return Path(os.environ.get("VECSV_STORE") or "index")


def enrolment_key_file() -> Path | None:
    """The file with the key that enrolments are sealed with; None where they are to be kept plain."""
    chosen = os.environ.get("VECSV_ENROLMENT_KEY_FILE")
    return Path(chosen).expanduser() if chosen else None
