"""Whether vecsv computes here what the original implementations computed on a record.

The figures of ``golden/*.json`` were made once by the originals' own code, with the scripts of ``benchmarks/parity``.
The weights of a big model are not on record: a small network of the same family, with drawn weights, stands for it.
What is compared is what would run: the front end of this machine, the graph that its exporter makes, this engine.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError
from vecsv.frontend.compute import front_end
from vecsv.frontend.spec import FrontendSpec
from vecsv.health import original_networks
from vecsv.health.behaviour import distances, vectors
from vecsv.health.finding import Finding, at_most, skipped
from vecsv.health.signals import speech_like
from vecsv.health.toolkits import SIGNALS, SPECS, in_frames, projection
from vecsv.models import registry
from vecsv.models.bundle import Bundle
from vecsv.models.conversion import as_bundle, write_conversion
from vecsv.models.encoder import Encoder
from vecsv.models.protocol import Embedder

#: Largest difference of a feature, as a share of the recording's largest.
FEATURE_LIMIT: Final = 1e-4
#: Relative L2 distance between un-normalised embeddings.
EMBEDDING_LIMIT: Final = 1e-4
#: Cosine distance to the embeddings of a model whose very weights are on record.
COSINE_LIMIT: Final = 1e-6

_FEATURES: Final = "features of the original"
_EMBEDDINGS: Final = "embeddings of the original"


def golden(name: str) -> dict[str, Any]:
    """Read one of the records."""
    found: dict[str, Any] = json.loads(files("vecsv.health").joinpath("golden", f"{name}.json").read_text("utf-8"))
    return found


def features(spec: FrontendSpec) -> Finding:
    """Compare a front end with the toolkit that it is of."""
    toolkit = next((name for name, known in SPECS.items() if known == spec), None)
    if toolkit is None:
        return skipped(_FEATURES, "no toolkit's features are on record for this front end")
    largest = max(feature_difference(spec, toolkit, signal) for signal in SIGNALS)
    return at_most(
        _FEATURES, largest, FEATURE_LIMIT, f"largest difference {largest:.1e} of the largest feature, {toolkit}"
    )


def feature_difference(spec: FrontendSpec, toolkit: str, signal: str) -> float:
    """Largest difference from a toolkit's features, as a share of the largest of them; infinite where shapes differ."""
    record, values = golden("features")["features"][f"{toolkit}/{signal}"], front_end(spec)(SIGNALS[signal])
    if list(values.shape) != record["shape"]:
        return float("inf")
    frames = in_frames(values)
    whole = [np.abs(frames[int(place)] - row).max() for place, row in record["frames"].items()]
    every = np.abs(projection(frames) - record["projected"]).max()
    largest = max(float(np.abs(row).max()) for row in record["frames"].values())
    return float(max(*whole, every)) / largest


def embeddings(bundle: Bundle, embedder: Embedder, settings: EngineSettings) -> Finding:
    """Compare a model, or a small one of its family, with the original implementation."""
    if bundle.family == "ge2e":
        return _recorded(embedder)
    cases = original_networks.cases(bundle.family)
    if not cases:
        return skipped(_EMBEDDINGS, "an exported graph is its own original")
    try:
        worst = max(network_difference(case, settings) for case in cases)
    except ModelError as error:
        return skipped(_EMBEDDINGS, error.what)
    said = f"relative L2 distance {worst:.1e}: {', '.join(case.name for case in cases)}"
    return at_most(_EMBEDDINGS, worst, EMBEDDING_LIMIT, said)


def _recorded(embedder: Embedder) -> Finding:
    record = golden("ge2e")
    if embedder.fingerprint != record["fingerprint"]:
        return skipped(_EMBEDDINGS, "these weights are not the published ones")
    theirs = np.array(list(record["embeddings"].values()), np.float32)
    ours = vectors(embedder, [speech_like(seconds, seed) for seconds, seed in record["signals"]])
    largest = float(distances(ours, theirs).max())
    return at_most(_EMBEDDINGS, largest, COSINE_LIMIT, f"largest cosine distance {largest:.1e}, the published weights")


def network_difference(case: original_networks.Case, settings: EngineSettings) -> float:
    """Relative L2 distance between a case's embeddings here and the original's, the largest of all recordings."""
    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        conversion = case.convert(Path(scratch))
        bundle = as_bundle(conversion, name="original", description="", licence="", source={})
        folder = write_conversion(Path(scratch) / "bundle", conversion, bundle)
        model = registry.load(folder, replace(settings, threads=1))
        if not isinstance(model, Encoder):
            raise ModelError(f"{case.name} is no encoder")
        # All together, as a batch of unequal lengths; the original was given them one by one.
        ours = model.raw([model.prepare(recording) for recording in case.recordings()])
    theirs = case.expected(golden(case.record))
    differences: NDArray[np.float64] = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    return float(differences.max())
