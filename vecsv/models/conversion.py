"""From somebody else's model to a bundle: what every family's reader of foreign checkpoints gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsv.frontend.spec import FrontendSpec
from vecsv.models.bundle import Bundle, write_bundle
from vecsv.models.fingerprint import fingerprint
from vecsv.models.windows import POOLING, Pooling, Windowing


@dataclass(frozen=True)
class Conversion:
    """A model's content, read from a foreign file.

    Attributes
    ----------
    family : str
        Which file of `vecsv.models` runs it.
    dim : int
        Length of an embedding.
    frontend : FrontendSpec
        What the network was trained to see.
    tensors : mapping of str to ndarray
        The canonical tensors, under vecsv's names.
    network : mapping
        What makes the network besides its tensors, as JSON values.
    graph : bytes or None
        The network, without its front end, as a serialised ONNX model; None where it could not be made.
    windowing, pooling
        See `vecsv.models.bundle.Bundle`.
    notes : tuple of str
        What a person should know, a line each: tensors that were not needed, what was assumed.
    """

    family: str
    dim: int
    frontend: FrontendSpec
    tensors: Mapping[str, NDArray[Any]]
    network: Mapping[str, Any]
    graph: bytes | None
    windowing: Windowing | None = None
    pooling: Pooling = POOLING
    notes: tuple[str, ...] = ()


def as_bundle(
    conversion: Conversion,
    *,
    name: str,
    description: str,
    licence: str,
    source: Mapping[str, Any],
    reference_calibration: Mapping[str, Any] | None = None,
) -> Bundle:
    """Describe a conversion as a bundle, its fingerprint worked out; the checksums come when it is written."""
    return Bundle(
        name=name,
        family=conversion.family,
        network=conversion.network,
        description=description,
        dim=conversion.dim,
        sample_rate=conversion.frontend.sample_rate,
        frontend=conversion.frontend,
        windowing=conversion.windowing,
        pooling=conversion.pooling,
        fingerprint=fingerprint(
            conversion.tensors,
            frontend=conversion.frontend,
            windowing=conversion.windowing,
            pooling=conversion.pooling,
            network=conversion.network,
        ),
        licence=licence,
        source=source,
        reference_calibration=reference_calibration,
        sha256={},
    )


def write_conversion(
    folder: Path, conversion: Conversion, bundle: Bundle, *, card: str | None = None, replace: bool = False
) -> Path:
    """Write the bundle of a conversion, whole or not at all; see `vecsv.models.bundle.write_bundle`."""
    tensors: Mapping[str, NDArray[np.generic]] = conversion.tensors
    return write_bundle(folder, bundle, tensors=tensors, graph=conversion.graph, card=card, replace=replace)
