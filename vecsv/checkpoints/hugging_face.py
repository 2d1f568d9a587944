"""A model's folder as Hugging Face lays it out: JSON files beside weights in one file or several; all read as data.

An index names files, and a configuration may name code (``auto_map``): names lead nowhere but into the folder, and
nothing in it is ever run. The layout is described in the documentation of ``transformers`` ("Model sharding", "Sharing
custom models").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.reading import read_checkpoint
from vecsv.errors import ModelError

CONFIG_FILE: Final = "config.json"
PREPROCESSOR_FILE: Final = "preprocessor_config.json"
WEIGHT_FILES: Final = ("model.safetensors", "pytorch_model.bin")
"""The weights in one file, the one to be preferred first; ``FILE.index.json`` beside or in place of it: in several."""

_LARGEST_JSON: Final = 16 * 2**20
_MOST_SHARDS: Final = 256
_SHARD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.(safetensors|bin)")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    ModelError
        When it is missing, too large, or no JSON object.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_JSON + 1)
    except FileNotFoundError as error:
        raise ModelError(
            "is missing",
            where=str(path),
            hint="the folder has to be a whole Hugging Face model, with its configuration",
        ) from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(content) > _LARGEST_JSON:
        raise ModelError(f"is larger than {_LARGEST_JSON // 2**20} MiB", where=str(path))
    try:
        values = json.loads(content)
    # Brackets nested without end overflow the parser's stack.
    except (ValueError, RecursionError) as error:
        raise ModelError("is not JSON", where=str(path)) from error
    if not isinstance(values, dict):
        raise ModelError("is no JSON object", where=str(path))
    return values


def read_weights(folder: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """Read all tensors of a folder, executing nothing.

    Returns
    -------
    tensors : dict of str to ndarray
        By name, in their own dtype (brain floats as float32).
    where : str
        The file to name in errors about them.

    Raises
    ------
    ModelError
        When there are no weights, or a file of them is missing, damaged, hostile or outside the folder.
    """
    for name in WEIGHT_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return read_checkpoint(folder / name, where=str(folder / name)), str(folder / name)
        if index.is_file():
            return _read_shards(folder, index), str(index)
    raise ModelError(f"holds no weights: neither {' nor '.join(WEIGHT_FILES)}", where=str(folder))


def _read_shards(folder: Path, index: Path) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for name in _shards(read_json(index), where=str(index)):
        path = folder / name
        if not path.is_file():
            raise ModelError(f"is missing, but {index.name} names it", where=str(path))
        found = read_checkpoint(path, where=str(path))
        if twice := sorted(tensors.keys() & found.keys()):
            raise ModelError(f"holds {twice[0]}, which another file holds as well", where=str(path))
        tensors |= found
    return tensors


def _shards(index: Mapping[str, Any], *, where: str) -> list[str]:
    """The files that an index names, each once."""
    placed = index.get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(name, str) for name in placed.values()):
        raise ModelError("has no weight_map from tensors to files", where=where)
    names = sorted(set(placed.values()))
    for name in names:
        if not _SHARD.fullmatch(name):
            raise ModelError(f"names the file {name[:80]!r}, which is no name of a file of weights", where=where)
    if len(names) > _MOST_SHARDS:
        raise ModelError(f"names {len(names)} files, more than {_MOST_SHARDS}", where=where)
    return names


def as_float32(tensors: Mapping[str, NDArray[Any]], *, where: str) -> dict[str, NDArray[np.float32]]:
    """Widen half precision; a ModelError when there are other numbers than float16 and float32."""
    for name, tensor in tensors.items():
        if tensor.dtype not in (np.float16, np.float32):
            raise ModelError(f"{name} is {tensor.dtype}, expected float32 or float16", where=where)
    return {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
