"""vecsv: a speaker database. Embeddings of recordings, a searchable index, thresholds calibrated on your own data.

>>> import vecsv
>>> vecsv.Store("nowhere").exists
False
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vecsv.api import Store, embed, evaluate, train
    from vecsv.audio.decode import Clip
    from vecsv.calibration.run import CalibrateSettings
    from vecsv.calibration.search_run import SearchSettings
    from vecsv.client import Client
    from vecsv.embedding.run import EmbedSettings
    from vecsv.errors import VecsvError
    from vecsv.stores import Stores

__version__ = "0.1.0"

__all__ = [
    "CalibrateSettings",
    "Client",
    "Clip",
    "EmbedSettings",
    "SearchSettings",
    "Store",
    "Stores",
    "VecsvError",
    "__version__",
    "embed",
    "evaluate",
    "train",
]

# Looked up on first use: `import vecsv` and `vecsv --help` stay quick.
_HOMES = {
    "CalibrateSettings": "vecsv.calibration.run",
    "Client": "vecsv.client",
    "Clip": "vecsv.audio.decode",
    "EmbedSettings": "vecsv.embedding.run",
    "SearchSettings": "vecsv.calibration.search_run",
    "Store": "vecsv.api",
    "Stores": "vecsv.stores",
    "VecsvError": "vecsv.errors",
    "embed": "vecsv.api",
    "evaluate": "vecsv.api",
    "train": "vecsv.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vecsv' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
