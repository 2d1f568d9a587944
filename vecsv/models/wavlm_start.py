"""What a WavLM's training can start from: a bundle, or a Hugging Face folder with or without an x-vector head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.hugging_face import CONFIG_FILE, read_json, read_weights
from vecsv.checkpoints.reading import read_checkpoint
from vecsv.errors import ModelError
from vecsv.frontend.spec import WaveformSpec
from vecsv.models.bundle import TENSORS_FILE, is_bundle, verify_bundle
from vecsv.models.fitting import listed
from vecsv.models.wavlm_folder import (
    fitted,
    has_head,
    read_frontend,
    require_wavlm,
    shapes_of,
    spec_of,
    torch_networks,
)
from vecsv.networks.wavlm_spec import WavLMSpec

_FAMILY = "wavlm-xvector"


@dataclass(frozen=True)
class FreshHead:
    """An x-vector head that is to be drawn in place of what a model has, or has not.

    Attributes
    ----------
    dim : int or None
        Length of an embedding; None: what the model's configuration says, 512 by default.
    all_layers : bool
        Whether it sees the learned mean of all layers rather than the last one.
    """

    dim: int | None = None
    all_layers: bool = True


@dataclass(frozen=True)
class StartingPoint:
    """A WavLM, read and checked.

    Attributes
    ----------
    spec : WavLMSpec
        The network, its head included.
    frontend : WaveformSpec
        How it takes waveforms.
    tensors : mapping of str to ndarray
        Float32, by their canonical names; without those of a head that is to be drawn.
    has_head : bool
        Whether the head's tensors are there.
    licence : str or None
        Of its weights, where that is known.
    source : mapping
        What it is, as JSON values, without a path of this machine.
    notes : tuple of str
        What a person should know.
    """

    spec: WavLMSpec
    frontend: WaveformSpec
    tensors: Mapping[str, NDArray[np.float32]]
    has_head: bool
    licence: str | None
    source: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def read_start(folder: Path, head: FreshHead | None = None, *, redraw: bool = False) -> StartingPoint:
    """Read what a training starts from; nothing in the folder is run, nothing is fetched.

    Parameters
    ----------
    folder : Path
        A bundle, or a Hugging Face folder (see `vecsv.models.wavlm_xvector.from_folder`) of any WavLM: of
        ``WavLMForXVector`` with its head, of ``WavLMModel`` or with another head without.
    head : FreshHead, optional
        The head that is to be drawn where it has none.
    redraw : bool
        Whether that is to be drawn even where it has one.

    Raises
    ------
    ModelError
        When it is no WavLM, is damaged, or its tensors do not fit.
    """
    if is_bundle(folder):
        start = _bundle(folder)
    elif folder.is_dir():
        start = _folder(folder)
    else:
        raise ModelError("there is no such folder", where=str(folder))
    if start.has_head and not redraw:
        return start
    return _without_head(start, head or FreshHead(), where=str(folder))


def _bundle(folder: Path) -> StartingPoint:
    bundle = verify_bundle(folder)
    if bundle.family != _FAMILY or not isinstance(bundle.frontend, WaveformSpec):
        raise ModelError(f"is of the family {bundle.family}, not {_FAMILY}", where=str(folder))
    spec = WavLMSpec.from_json(bundle.network)
    tensors, _ = fitted(
        read_checkpoint(folder / TENSORS_FILE, where=str(folder / TENSORS_FILE)),
        shapes_of(spec, where=str(folder)),
        where=str(folder / TENSORS_FILE),
    )
    return StartingPoint(
        spec=spec,
        frontend=bundle.frontend,
        tensors=tensors,
        has_head=True,
        licence=bundle.licence,
        source={
            "model": bundle.name,
            "licence": bundle.licence,
            "fingerprint": bundle.fingerprint,
            "source": dict(bundle.source),
        },
    )


def _folder(folder: Path) -> StartingPoint:
    config, described = read_json(folder / CONFIG_FILE), str(folder / CONFIG_FILE)
    require_wavlm(config, where=described)
    whole = has_head(config)
    # A head that is not there sees no layers, so it does not matter which it would see.
    spec = spec_of(config if whole else {**config, "use_weighted_layer_sum": False}, where=described)
    frontend = read_frontend(folder)
    shapes = shapes_of(spec, where=described)
    found, where = read_weights(folder)
    notes: list[str] = []
    if not whole:
        found, notes = _body(found)
        shapes = _body_of(shapes)
    tensors, left = fitted(found, shapes, where=where)
    return StartingPoint(
        spec=spec,
        frontend=frontend,
        tensors=tensors,
        has_head=whole,
        licence=None,
        source={"folder": folder.resolve().name, "weights": Path(where).name},
        notes=(*notes, *left),
    )


def _body(found: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The transformer's tensors under the names that they have below a head, and what there is to say of others."""
    prefix = torch_networks().BODY
    if not any(name.startswith(prefix) for name in found):
        return {f"{prefix}{name}": tensor for name, tensor in found.items()}, []
    others = sorted(name for name in found if not name.startswith(prefix))
    notes = [f"of another head, and not needed: {listed(others)}"] if others else []
    return {name: tensor for name, tensor in found.items() if name.startswith(prefix)}, notes


def _body_of(shapes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: shape for name, shape in shapes.items() if name.startswith(torch_networks().BODY)}


def _without_head(start: StartingPoint, head: FreshHead, *, where: str) -> StartingPoint:
    config = start.spec.to_json()
    config["use_weighted_layer_sum"] = head.all_layers
    # A head of our own may choose: this is what every version of transformers from 5.0 on can compute.
    config["tie_last_hidden_states"] = True
    if head.dim is not None:
        config["xvector_output_dim"] = head.dim
    try:
        spec = WavLMSpec.from_json(config)
    except ModelError as error:
        raise ModelError(error.what, where=where) from error
    tensors = _body_of(start.tensors)
    return replace(start, spec=spec, tensors=tensors, has_head=False)
