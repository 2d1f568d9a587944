"""A model's fingerprint: equal fingerprints mean comparable embeddings.

It covers what decides an embedding (the tensors' values, what else makes the network, the front end, the windows, the
pooling) and nothing else: not a file's bytes, not the engine that computes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsv.frontend.spec import FrontendSpec
from vecsv.models.windows import Pooling, Windowing


def canonical_json(value: Any) -> str:
    """Write JSON values in the one way that is hashed: sorted keys, no spaces, ASCII, finite numbers only.

    Examples
    --------
    >>> canonical_json({"b": 1.0, "a": None})
    '{"a":null,"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(
    tensors: Mapping[str, NDArray[Any]],
    *,
    frontend: FrontendSpec,
    windowing: Windowing | None,
    pooling: Pooling,
    network: Mapping[str, Any] | None = None,
) -> str:
    """SHA-256 over a model's tensors and rules.

    For each tensor, sorted by name, it takes a line of canonical JSON (name, dtype, shape) and the values as
    little-endian bytes in C order; then a line with the rules. Lines end with a newline, so no two models
    read the same.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        The canonical tensors, as the checkpoint holds them.
    frontend, windowing, pooling
        The model's rules; no windowing where the network takes a whole recording.
    network : mapping, optional
        What makes the network besides its tensors, as JSON values; none for a family with one network only.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        little_endian = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        head = {"name": name, "dtype": tensor.dtype.name, "shape": list(tensor.shape)}
        digest.update(f"{canonical_json(head)}\n".encode())
        digest.update(little_endian.tobytes())
    rules = {
        "frontend": frontend.to_json(),
        "windowing": None if windowing is None else windowing.to_json(),
        "pooling": pooling.to_json(),
    }
    if network:
        rules["network"] = dict(network)
    digest.update(f"{canonical_json(rules)}\n".encode())
    return digest.hexdigest()
