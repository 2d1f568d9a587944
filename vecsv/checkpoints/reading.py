"""Reading a checkpoint as data: PyTorch's two formats and safetensors.

A PyTorch checkpoint is a pickle, and a pickle is a program: loading a foreign one can run anything. This reader runs
nothing. A machine of our own (`vecsv.checkpoints.pickled`) builds containers, numbers, texts and *descriptions* of
tensors; the numbers themselves lie in the file as plain little-endian arrays.

Why not ``torch.load(weights_only=True)``, which also restricts what a pickle may name? It needs PyTorch, which reading
weights does not. It reserves what the file asks for: compressed members are unpacked however far they swell, and a
tensor may repeat one number 10**12 times without taking space until somebody copies it. It calls PyTorch's own classes
and functions on the file's values, and flaws in those were flaws in it. It gives whatever objects the file held. Here a
file gives arrays by name and nothing else: each number is taken from the file once, sizes are checked before memory is
reserved, and everything unexpected is refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from vecsv.checkpoints import legacy_format, zip_format
from vecsv.checkpoints.pickled import refuse
from vecsv.checkpoints.safetensors_format import is_safetensors, read_safetensors
from vecsv.checkpoints.tensors import Tensor
from vecsv.errors import ModelError

Arrays: TypeAlias = dict[str, NDArray[Any]]

_LARGEST_FILE: Final = 16 * 2**30

# Whatever a damaged or hostile file can make the reader raise, besides our own refusals.
_FAILURES: Final = (ArithmeticError, LookupError, TypeError, ValueError)

# What people hand over instead of the file they meant, by how it starts.
_MISTAKEN: Final[Mapping[bytes, str]] = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`",
    b"<!DOCTYPE": "is a web page, not the file itself: download it again",
    b"<html": "is a web page, not the file itself: download it again",
    b"\x89HDF\r\n": "is an HDF5 file, which vecsv does not read: save the weights with safetensors",
}


def read_checkpoint(source: Path | bytes, *, where: str, key: str | None = None) -> Arrays:
    """Read one state dictionary out of a checkpoint, executing nothing of it.

    Parameters
    ----------
    source : Path or bytes
        The checkpoint: what ``torch.save`` writes, now or before PyTorch 1.6, or a safetensors file.
    where : str
        What to call it in errors.
    key : str, optional
        Name of the state dictionary in the checkpoint's top-level dictionary. Without it, the top level is taken if it
        is a state dictionary itself, else the only one it holds.

    Returns
    -------
    dict of str to ndarray
        The tensors by name: C-contiguous, in their own type and the machine's byte order; brain floats as float32,
        which holds them exactly. Names that mean one tensor (tied weights) share an array. Whether numbers are finite
        is for the model's family to judge.

    Raises
    ------
    ModelError
        When it cannot be read, is no such checkpoint, is cut short or damaged, has no (or more than one) state
        dictionary, names anything that no set of weights needs, or describes tensors that do not fit the file.

    Examples
    --------
    >>> from safetensors.numpy import save
    >>> import numpy as np
    >>> read_checkpoint(save({"bias": np.zeros(2, dtype=np.float32)}), where="model.safetensors")
    {'bias': array([0., 0.], dtype=float32)}
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else _opened(source, where) as stream:
            return _read(stream, where, key)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=where) from error
    except MemoryError as error:
        raise ModelError("there is not enough memory to read it", where=where) from error
    except _FAILURES as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(f"not a PyTorch checkpoint that vecsv can read: {reason}", where=where) from error


def _opened(path: Path, where: str) -> io.BufferedIOBase:
    # Opening a pipe would wait for somebody to write into it.
    if not path.is_file():
        raise ModelError("is no file" if path.exists() else "there is no such file", where=where)
    return path.open("rb")


def _read(stream: io.BufferedIOBase, where: str, key: str | None) -> Arrays:
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    start = stream.read(64)
    stream.seek(0)
    if not start:
        raise ModelError("the file is empty (0 bytes)", where=where)
    if size > _LARGEST_FILE:
        raise ModelError(f"has {size:,} bytes, more than any speaker model", where=where)
    for beginning, mistake in _MISTAKEN.items():
        if start.startswith(beginning):
            raise ModelError(mistake, where=where)
    if start.startswith(zip_format.MAGIC):
        content, members = zip_format.read_archive(stream, size, where=where)
        return zip_format.read_numbers(stream, members, state_dictionary(content, key))
    # Before pickles: the length it starts with may begin with a pickle's first byte.
    if is_safetensors(start, size):
        if key is not None:
            refuse(f"there is no dictionary {key!r} in it: a safetensors file holds tensors only")
        return read_safetensors(stream)
    if start.startswith(legacy_format.MAGIC):
        content, storages = legacy_format.read_object(stream, where=where)
        return legacy_format.read_numbers(stream, size, storages, state_dictionary(content, key))
    raise ValueError("it starts as no known format does")


def state_dictionary(content: object, key: str | None) -> dict[str, Tensor]:
    """Find the state dictionary in what a checkpoint holds; a ValueError when there is none, or more than one."""
    if key is not None:
        state = content.get(key) if isinstance(content, dict) else None
        if not isinstance(state, dict):
            refuse(f"there is no dictionary {key!r} in it{_listing(content)}")
        return _require_tensors(state)
    if not isinstance(content, dict):
        refuse("it holds no dictionary")
    if not content or any(isinstance(value, Tensor) for value in content.values()):
        return _require_tensors(content)
    found = {name: value for name, value in content.items() if _is_state_dictionary(value)}
    if not found:
        refuse(f"there is no dictionary of tensors in it{_listing(content)}")
    if len(found) > 1:
        refuse(f"it holds {len(found)} dictionaries of tensors{_listing(found)}: say which with its key")
    return _require_tensors(next(iter(found.values())))


def _is_state_dictionary(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def _require_tensors(state: dict[Any, Any]) -> dict[str, Tensor]:
    for name, value in state.items():
        if not isinstance(name, str):
            refuse("a tensor's name is no text")
        if not isinstance(value, Tensor):
            refuse("its state dictionary holds something that is no tensor")
    return state


def _listing(content: object) -> str:
    """The first keys of a dictionary, for an error."""
    if not isinstance(content, dict) or not content:
        return ""
    names = [repr(name if isinstance(name, int) else name[:40]) for name in list(content)[:8]]
    return f" (it has {', '.join(names)}{', ...' if len(content) > 8 else ''})"
