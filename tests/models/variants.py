"""Models that differ from the pulled one in exactly one respect, to show that the respect matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from vecsv.frontend.spec import FrontendSpec
from vecsv.models import ge2e
from vecsv.models.bundle import TENSORS_FILE, read_bundle, write_bundle
from vecsv.models.fingerprint import fingerprint
from vecsv.models.ge2e_conversion import onnx_network
from vecsv.models.windows import Windowing

Tensors = dict[str, NDArray[np.float32]]


def variant(
    original: Path,
    folder: Path,
    *,
    frontend: FrontendSpec | None = None,
    windowing: Windowing | None = None,
    change: Callable[[Tensors], Tensors] | None = None,
) -> ge2e.Ge2e:
    """Write a changed copy of a bundle to `folder` and load it."""
    bundle = read_bundle(original)
    tensors = load_file(original / TENSORS_FILE)
    tensors = change(tensors) if change else tensors
    changed = replace(bundle, frontend=frontend or bundle.frontend, windowing=windowing or bundle.windowing)
    mark = fingerprint(tensors, frontend=changed.frontend, windowing=changed.windowing, pooling=changed.pooling)
    write_bundle(folder, replace(changed, fingerprint=mark), tensors=tensors, graph=onnx_network(tensors))
    return ge2e.load(folder)
