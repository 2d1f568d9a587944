"""Whether tensors are just those that a network needs, and a line that lists what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.errors import ModelError

_SHOWN: Final = 5


def require_fit(tensors: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    """Refuse tensors that are not just those a network needs.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        What a checkpoint holds, without what is known not to be needed.
    shapes : mapping of str to tuple of int
        What the network needs.
    where : str
        What to call the checkpoint in errors.

    Raises
    ------
    ModelError
        With a list of the tensors that are missing, not expected, of another shape, or not finite.

    Examples
    --------
    >>> require_fit({"a": np.ones(2), "c": np.ones(1)}, {"a": (2,), "b": (1,)}, where="x.pt")
    Traceback (most recent call last):
    ...
    vecsv.errors.ModelError: x.pt: its tensors do not fit: missing b; not expected c
    """
    both = sorted(tensors.keys() & shapes.keys())
    wrong = [name for name in both if tensors[name].shape != shapes[name]]
    found = {
        "missing": sorted(shapes.keys() - tensors.keys()),
        "not expected": sorted(tensors.keys() - shapes.keys()),
        "of another shape": [f"{name} {tensors[name].shape} instead of {shapes[name]}" for name in wrong],
        "not finite": [name for name in both if name not in wrong and not np.isfinite(tensors[name]).all()],
    }
    if complaints := [f"{what} {listed(names)}" for what, names in found.items() if names]:
        raise ModelError(f"its tensors do not fit: {'; '.join(complaints)}", where=where)


def listed(names: Sequence[str]) -> str:
    """Names in a line of bounded length: the first of them, and how many more there are.

    Examples
    --------
    >>> listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    # A name out of a hostile file may be as long as it likes.
    shown = ", ".join(name if len(name) <= 120 else f"{name[:117]}..." for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
