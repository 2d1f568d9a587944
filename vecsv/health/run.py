"""All checks of one model, in one table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vecsv.engines.protocol import EngineSettings
from vecsv.errors import VecsvError
from vecsv.health import behaviour, originals
from vecsv.health.finding import Finding, at_most, failed, skipped
from vecsv.health.signals import speech_like
from vecsv.models import families, registry
from vecsv.models.bundle import Bundle, verify_bundle
from vecsv.models.protocol import Embedder

#: Largest cosine distance between two engines at fp32, and from fp32 to a shorter precision.
ENGINE_LIMIT = 1e-5
PRECISION_LIMIT = 1e-3

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Health:
    """What the checks of a model came to.

    Attributes
    ----------
    model, family, fingerprint : str
    engine : str
        What ran it.
    findings : tuple of Finding
    """

    model: str
    family: str
    fingerprint: str
    engine: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what was skipped counts neither way."""
        return all(finding.outcome != "fail" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values with stable keys."""
        return {**asdict(self), "passed": self.passed}


def check(folder: Path, settings: EngineSettings | None = None, *, progress: Progress | None = None) -> Health:
    """Check a model's bundle, what it computes and how it behaves.

    Parameters
    ----------
    folder : Path
        The bundle.
    settings : EngineSettings, optional
        What it is run on.
    progress : callable, optional
        Told how many checks are done, of how many, and which comes next.

    Raises
    ------
    ModelError
        When the model cannot be loaded at all.
    """
    settings = settings or EngineSettings()
    files, bundle = _files(folder)
    embedder = registry.load(folder, settings)
    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        steps = list(_steps(folder, bundle, embedder, settings, Path(scratch)))
        findings = [files]
        for done, (name, step) in enumerate(steps):
            if progress is not None:
                progress(done, len(steps), name)
            try:
                findings.append(step())
            except VecsvError as error:
                findings.append(failed(name, error.what))
        if progress is not None:
            progress(len(steps), len(steps), "")
    return Health(bundle.name, bundle.family, bundle.fingerprint, embedder.engine, tuple(findings))


def _files(folder: Path) -> tuple[Finding, Bundle]:
    bundle = verify_bundle(folder)
    return Finding("files and fingerprint", "pass", f"{len(bundle.sha256)} files, {bundle.fingerprint[:12]}"), bundle


def _steps(
    folder: Path, bundle: Bundle, embedder: Embedder, settings: EngineSettings, scratch: Path
) -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "features of the original", lambda: originals.features(bundle.frontend)
    yield "embeddings of the original", lambda: originals.embeddings(bundle, embedder, settings)
    for engine in families.engines(bundle):
        if not embedder.engine.startswith(engine):
            other = replace(settings, engine=engine, precision="fp32")
            yield f"same on {engine}", lambda other=other: _same(folder, embedder, other)  # type: ignore[misc]
    if settings.precision != "fp32":
        yield "same at fp32", lambda: _same(folder, embedder, replace(settings, precision="fp32"), PRECISION_LIMIT)
    yield "batch invariance", lambda: behaviour.batch_invariance(embedder)
    yield "threads at once", lambda: behaviour.thread_safety(embedder)
    yield "length sweep", lambda: behaviour.length_sweep(embedder, scratch / "lengths")
    yield "gain sensitivity", lambda: behaviour.gain_sensitivity(embedder)
    yield "DC offset sensitivity", lambda: behaviour.offset_sensitivity(embedder)
    yield "silence and noise refused", lambda: behaviour.refusals(embedder, scratch / "silences")
    yield "voices told apart", lambda: behaviour.not_collapsed(embedder)
    yield "speed", lambda: behaviour.speed(embedder)


def _same(folder: Path, embedder: Embedder, settings: EngineSettings, limit: float = ENGINE_LIMIT) -> Finding:
    """Whether another engine, or another precision, gives the same embeddings."""
    name = f"same on {settings.engine}" if limit == ENGINE_LIMIT else "same at fp32"
    try:
        other = registry.load(folder, settings)
    except VecsvError as error:
        return skipped(name, error.what)
    voices = [speech_like(seconds, 50 + seed) for seed, seconds in enumerate((1.0, 2.3, 4.0))]
    found = behaviour.distances(behaviour.vectors(embedder, voices), behaviour.vectors(other, voices))
    largest = float(np.max(found))
    return at_most(name, largest, limit, f"largest cosine distance {largest:.1e} to {other.engine}")
