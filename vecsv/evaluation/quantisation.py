"""A model in int8 beside its parent: made from recordings of the user's own, and what it costs measured on them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.audio.decode import Clip, blocks
from vecsv.embedding.run import embed_manifest
from vecsv.errors import AudioError, ModelError, UsageError
from vecsv.evaluation.compare import Comparison, Difference, compare_runs
from vecsv.evaluation.record import Evaluation
from vecsv.evaluation.run import ListInputs, evaluate_list, evaluate_store
from vecsv.evaluation.runs import write_run
from vecsv.evaluation.sampling import SampleSettings
from vecsv.manifest import ManifestRow, read_manifest
from vecsv.models import registry
from vecsv.models.bundle import ONNX_FILE, Bundle, read_bundle
from vecsv.models.cards import is_name, known_models
from vecsv.models.conversion import as_bundle, write_conversion
from vecsv.models.protocol import Embedder, Prepared
from vecsv.models.quantize import Quantized, QuantizeSettings, quantize_bundle
from vecsv.store.reader import Snapshot
from vecsv.store.schema import vectors_of

RECORDINGS: Final = 64
"""Recordings that ranges are taken from, where nothing else is said."""

_TIMED_RECORDINGS: Final = 8
_ROUNDS: Final = 3
# What is kept of a comparison: the figures that have intervals.
_KEPT: Final = ("eer", "min-dcf p=0.01")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class QuantizationCost:
    """What int8 costs and gains, measured.

    Attributes
    ----------
    source : str
        The trial list, or the manifest that pairs were drawn from.
    recordings, speakers : int
        Of the trials.
    targets, non_targets : int
    differences : tuple of Difference
        EER and minDCF of the parent (first) and of int8 (second) on the same trials, with a 90% interval of what
        separates them.
    compared : int
        Recordings of the manifest that both embedded.
    cosine_min, cosine_mean : float
        Between the two embeddings of one recording.
    bytes_before, bytes_after : int
        Sizes of ``model.onnx``.
    real_time_before, real_time_after : float
        Seconds of audio that the network embeds in a second, one thread.
    engine_before, engine_after : str
        What they were measured on.
    warnings : tuple of str
    """

    source: str
    recordings: int
    speakers: int
    targets: int
    non_targets: int
    differences: tuple[Difference, ...]
    compared: int
    cosine_min: float
    cosine_mean: float
    bytes_before: int
    bytes_after: int
    real_time_before: float
    real_time_after: float
    engine_before: str
    engine_after: str
    warnings: tuple[str, ...]

    @property
    def size_ratio(self) -> float:
        """How much smaller the graph is."""
        return self.bytes_before / self.bytes_after

    @property
    def speed_ratio(self) -> float:
        """How much faster the network is."""
        return self.real_time_after / self.real_time_before

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            **asdict(self),
            "differences": [asdict(one) for one in self.differences],
            "warnings": list(self.warnings),
            "size_ratio": self.size_ratio,
            "speed_ratio": self.speed_ratio,
        }


@dataclass(frozen=True)
class QuantizeRequest:
    """What to quantise, and what to measure it on.

    Attributes
    ----------
    model : str or Path
        A model's name, or the folder of a bundle.
    manifest : Path
        Recordings: for ranges, for embeddings to compare, and for trials where `trials` says none.
    trials : Path or None
        A trial list.
    name : str or None
        What the new model is called; by default the parent's name with ``-int8``.
    settings : QuantizeSettings
    recordings : int
        Recordings that ranges are taken from.
    seed : int
        Of the pairs and of the intervals' draws.
    replace : bool
        Replace a model of that name.
    """

    model: str | Path
    manifest: Path
    trials: Path | None = None
    name: str | None = None
    settings: QuantizeSettings = field(default_factory=QuantizeSettings)
    recordings: int = RECORDINGS
    seed: int = 0
    replace: bool = False


@dataclass(frozen=True)
class QuantizedModel:
    """A model in int8 in the cache.

    Attributes
    ----------
    folder : Path
    bundle : Bundle
    parent : Bundle
    method : str
    cost : QuantizationCost
    """

    folder: Path
    bundle: Bundle
    parent: Bundle
    method: str
    cost: QuantizationCost


def quantize_model(
    request: QuantizeRequest,
    *,
    progress: Progress | None = None,
    on_message: Callable[[str], None] | None = None,
) -> QuantizedModel:
    """Quantise a model, measure what that costs, and put it into the cache with what was measured.

    Parameters
    ----------
    request : QuantizeRequest
    progress : callable, optional
        Called with recordings embedded and recordings to embed, both models together.
    on_message : callable, optional
        Told, in one line each, what is going on.

    Raises
    ------
    ModelError
        When the model cannot be quantised, or the name is taken.
    ManifestError
        When the manifest cannot be read.
    CalibrationError, TrialListError
        When the trials cannot be evaluated.
    """
    if request.recordings < 1 or request.seed < 0:
        raise UsageError("recordings must be at least 1, the seed not negative")
    folder = registry.locate(request.model, on_message=on_message)
    parent = read_bundle(folder)
    name = request.name or f"{parent.name}-int8"
    target = _free_place(name, replace=request.replace)
    embedder = registry.load(folder)
    inputs = _inputs(embedder, request.manifest, request.recordings)
    quantized = quantize_bundle(folder, parent, [one.features for one in inputs], request.settings)
    source = {
        "quantised_from": parent.name,
        "parent_fingerprint": parent.fingerprint,
        "method": quantized.method,
        "ranges": request.settings.ranges if quantized.method == "static" else "of each call",
        "recordings_for_ranges": quantized.recordings,
        "quantiser": _quantiser(),
    }
    described = as_bundle(
        quantized.conversion,
        name=name,
        description=f"{parent.name} in int8: {parent.description}",
        licence=parent.licence,
        source={**source, "parent_source": dict(parent.source)},
    )
    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        trial = write_conversion(Path(scratch) / name, quantized.conversion, described)
        cost = measure_cost(
            embedder,
            registry.load(trial),
            request.manifest,
            trials=request.trials,
            sizes=((folder / ONNX_FILE).stat().st_size, (trial / ONNX_FILE).stat().st_size),
            timed=inputs[:_TIMED_RECORDINGS],
            seed=request.seed,
            progress=progress,
        )
    bundle = replace(described, source={**described.source, "cost": cost.to_json()})
    _put(target, quantized, bundle, replace_it=request.replace)
    return QuantizedModel(target, read_bundle(target), parent, quantized.method, cost)


def measure_cost(
    parent: Embedder,
    quantized: Embedder,
    manifest: Path,
    *,
    trials: Path | None,
    sizes: tuple[int, int],
    timed: Sequence[Prepared],
    seed: int = 0,
    progress: Progress | None = None,
) -> QuantizationCost:
    """Embed a manifest's recordings with both models and compare.

    Parameters
    ----------
    parent, quantized : Embedder
    manifest : Path
    trials : Path or None
        A trial list; by default pairs are drawn from the manifest's recordings.
    sizes : tuple of two int
        Bytes of either graph.
    timed : sequence of Prepared
        What speed is measured on.
    seed : int
    progress : callable, optional
        See `quantize_model`.
    """
    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        stores = Path(scratch) / "parent", Path(scratch) / "int8"
        runs = Path(scratch) / "run-parent", Path(scratch) / "run-int8"
        evaluations = []
        for position, (model, store, run) in enumerate(zip((parent, quantized), stores, runs, strict=True)):
            _embed(manifest, store, model, position, progress)
            evaluation = _evaluated(manifest, store, model, trials, seed)
            write_run(run, evaluation)
            evaluations.append(evaluation)
        comparison = compare_runs(*runs, seed=seed)
        cosines = _cosines(*stores)
    speeds = _speeds((parent, quantized), timed)
    return QuantizationCost(
        source=str(manifest if trials is None else trials),
        recordings=evaluations[0].basis.recordings,
        speakers=evaluations[0].basis.speakers,
        targets=comparison.targets,
        non_targets=comparison.non_targets,
        differences=_kept(comparison),
        compared=cosines.size,
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        bytes_before=sizes[0],
        bytes_after=sizes[1],
        real_time_before=speeds[0],
        real_time_after=speeds[1],
        engine_before=parent.engine,
        engine_after=quantized.engine,
        warnings=comparison.warnings,
    )


def _free_place(name: str, *, replace: bool) -> Path:
    if not is_name(name):
        raise ModelError(f"{name!r} cannot be a model's name", hint="--out takes lower-case letters, digits, . _ and -")
    if any(card.name == name for card in known_models()):
        raise ModelError(f"{name} is the name of a model that vecsv fetches", hint="choose another with --out")
    target = registry.cached_folder(name)
    if target.exists() and not replace:
        raise ModelError(f"there is a model {name} already", hint="--replace, or another name with --out")
    return target


def _put(target: Path, quantized: Quantized, bundle: Bundle, *, replace_it: bool) -> None:
    from vecsv.durable import make_folder

    make_folder(target.parent)
    write_conversion(target, quantized.conversion, bundle, replace=replace_it)


def _quantiser() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def _inputs(model: Embedder, manifest: Path, count: int) -> list[Prepared]:
    """What the model makes of the first block of some recordings, taken evenly from all of the manifest."""
    rows = [row for row in read_manifest(manifest) if isinstance(row, ManifestRow)]
    found: list[Prepared] = []
    for row in _spread(rows, count):
        clip = Clip(Path(row.path), row.channel, row.start_s, row.end_s)
        try:
            for block in islice(blocks(clip, sample_rate=model.sample_rate, block_s=model.block_s), 1):
                found.append(model.prepare(block))  # noqa: PERF401 - one that fails must not take the others with it
        except AudioError:
            # Embedding them all will say so.
            continue
    if not found:
        raise ModelError(
            f"none of {min(count, len(rows))} recordings can be embedded, so there is nothing to quantise it with",
            where=str(manifest),
        )
    return found


def _spread(rows: Sequence[ManifestRow], count: int) -> list[ManifestRow]:
    positions = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[position] for position in np.unique(positions).tolist()]


def _embed(manifest: Path, store: Path, model: Embedder, position: int, progress: Progress | None) -> None:
    def report(summary: Any) -> None:
        if progress is not None:
            progress(summary.settled + position * summary.rows, 2 * summary.rows)

    embed_manifest(manifest, store, model, progress=report)


def _evaluated(manifest: Path, store: Path, model: Embedder, trials: Path | None, seed: int) -> Evaluation:
    if trials is None:
        return evaluate_store(store, SampleSettings(seed=seed), keep_trials=True)
    return evaluate_list(ListInputs(trials, manifest=manifest), lambda: model, store=store, seed=seed)


def _kept(comparison: Comparison) -> tuple[Difference, ...]:
    return tuple(one for one in comparison.differences if one.name in _KEPT)


def _cosines(first: Path, second: Path) -> NDArray[np.float64]:
    """Between the embeddings that two stores have of one utterance."""
    found: list[dict[str, NDArray[np.float64]]] = []
    for folder in (first, second):
        table = Snapshot.open(folder).table(["utt_id", "embedding"])
        vectors = vectors_of(table.column("embedding")).astype(np.float64)
        found.append(dict(zip(table.column("utt_id").to_pylist(), vectors, strict=True)))
    one, other = found
    shared = sorted(one.keys() & other.keys())
    return np.array([one[name] @ other[name] for name in shared])


def _speeds(models: Sequence[Embedder], timed: Sequence[Prepared]) -> tuple[float, float]:
    """Seconds of audio a second: the best of some rounds, taken in turns so that both have the same machine."""
    seconds = sum(one.seconds for one in timed)
    best = [float("inf"), float("inf")]
    for model in models:
        model.embed(timed[:1])
    for _ in range(_ROUNDS):
        for position, model in enumerate(models):
            started = time.perf_counter()
            for one in timed:
                model.embed([one])
            best[position] = min(best[position], time.perf_counter() - started)
    return seconds / best[0], seconds / best[1]
