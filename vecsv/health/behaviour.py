"""How a model behaves, whatever its weights: checks that need no original to compare with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.decode import Clip
from vecsv.embedding.recordings import EmbeddedRecording, embed_clips
from vecsv.errors import VecsvError
from vecsv.health.finding import Finding, at_least, at_most, failed
from vecsv.health.signals import speech_like, uniform
from vecsv.models.protocol import Embedder

#: Largest cosine distance between a recording alone and in company.
BATCH_LIMIT: Final = 1e-5
#: A copy that is only louder or off centre has to be taken for the same voice: by the model's own threshold where its
#: makers measured one, else by this cosine.
SAME_VOICE: Final = 0.8
#: Two voices that are closer than this are not told apart by anything.
COLLAPSE_LIMIT: Final = 0.9999
#: Seconds of computing for a second of audio, on one thread.
SPEED_LIMIT: Final = 1.0

LENGTHS_S: Final = (0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: Shorter recordings may be refused, as long as they are refused in words.
MUST_EMBED_S: Final = 1.0


def vectors(embedder: Embedder, waveforms: Sequence[Waveform]) -> Vectors:
    """Embed waveforms together; float32 ``(waveforms, dim)``."""
    return embedder.embed([embedder.prepare(waveform) for waveform in waveforms])


def distances(first: Vectors, second: Vectors) -> NDArray[np.float64]:
    """Cosine distances between unit vectors, row by row; float64, so that 1e-7 is seen.

    Examples
    --------
    >>> distances(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    array([0., 0.])
    """
    difference = first.astype(np.float64) - second.astype(np.float64)
    squared: NDArray[np.float64] = np.einsum("ij,ij->i", difference, difference)
    return squared / 2.0


def batch_invariance(embedder: Embedder) -> Finding:
    """A recording's embedding does not depend on what else is in the batch, nor on its place in it."""
    voices = [speech_like(seconds, seed) for seed, seconds in enumerate((3.0, 0.9, 5.0, 1.7, 3.0, 2.4))]
    alone = np.concatenate([vectors(embedder, [voice]) for voice in voices])
    together = vectors(embedder, voices)
    backwards = vectors(embedder, voices[::-1])[::-1]
    largest = float(max(distances(alone, together).max(), distances(alone, backwards).max()))
    return at_most("batch invariance", largest, BATCH_LIMIT, f"largest cosine distance {largest:.1e}, 6 recordings")


def thread_safety(embedder: Embedder) -> Finding:
    """Eight threads at once get what one gets alone."""
    voices = [speech_like(1.0 + 0.3 * (seed % 3), seed) for seed in range(8)]
    alone = np.concatenate([vectors(embedder, [voice]) for voice in voices])
    with ThreadPoolExecutor(8) as pool:
        at_once = np.concatenate(list(pool.map(lambda voice: vectors(embedder, [voice]), voices)))
    largest = float(distances(alone, at_once).max())
    return at_most("threads at once", largest, BATCH_LIMIT, f"largest cosine distance {largest:.1e}, 8 threads")


def length_sweep(embedder: Embedder, folder: Path, lengths_s: Sequence[float] = LENGTHS_S) -> Finding:
    """Recordings of every length give a unit vector, or the shortest of them a clear refusal.

    Parameters
    ----------
    embedder : Embedder
    folder : Path
        Where the recordings are written; they are embedded from disk, blocks and all.
    lengths_s : sequence of float
        Lengths, in seconds.
    """
    results = _from_disk(embedder, folder, [speech_like(seconds, 11) for seconds in lengths_s])
    usable, refused = [], []
    for seconds, result in zip(lengths_s, results, strict=True):
        if isinstance(result, VecsvError):
            if seconds >= MUST_EMBED_S:
                return failed("length sweep", f"{seconds:g} s: {result.what}")
            refused.append(f"{seconds:g} s ({result.what})")
        elif not abs(float(np.linalg.norm(result.vector)) - 1.0) < 1e-4:
            return failed("length sweep", f"{seconds:g} s: not a unit vector")
        else:
            usable.append(seconds)
    said = f"{usable[0]:g} to {usable[-1]:g} s" + (f"; refused: {', '.join(refused)}" if refused else "")
    return Finding("length sweep", "pass", said)


def gain_sensitivity(embedder: Embedder) -> Finding:
    """A quieter or louder copy stays the same voice."""
    gains = (0.05, 0.3, 1.8)
    return _sensitivity(embedder, "gain", [(f"x {gain:g}", gain, 0.0) for gain in gains])


def offset_sensitivity(embedder: Embedder) -> Finding:
    """A constant offset, as cheap microphones have it, leaves the voice the same."""
    offsets = (-0.01, 0.01)
    return _sensitivity(embedder, "DC offset", [(f"{offset:+g}", 1.0, offset) for offset in offsets])


def _sensitivity(embedder: Embedder, check: str, changes: Iterable[tuple[str, float, float]]) -> Finding:
    voices = [speech_like(4.0, seed) for seed in (21, 22)]
    original = vectors(embedder, voices)
    cosines = {}
    for said, gain, offset in changes:
        changed = vectors(embedder, [_changed(voice, gain, offset) for voice in voices])
        cosines[said] = 1.0 - float(distances(original, changed).max())
    limit = _same_voice(embedder)
    smallest = min(cosines.values())
    shown = ", ".join(f"{said}: {cosine:.4f}" for said, cosine in cosines.items())
    return at_least(f"{check} sensitivity", smallest, limit, f"cosine {shown}")


def _same_voice(embedder: Embedder) -> float:
    reference = embedder.reference_calibration
    if reference is None:
        return SAME_VOICE
    own = next(point["threshold"] for point in reference["points"] if point["name"] == reference["in_force"])
    # None takes nobody for the same, not even a recording and itself.
    return SAME_VOICE if own is None else float(own)


def _changed(voice: Waveform, gain: float, offset: float) -> Waveform:
    return (voice * np.float32(gain) + np.float32(offset)).astype(np.float32)


def refusals(embedder: Embedder, folder: Path) -> Finding:
    """Silence and noise get no embedding, so that they can match nobody."""
    rate = embedder.sample_rate
    noise = (uniform((3 * rate,), 31) * 2.0 - 1.0).astype(np.float32)
    hopeless = {
        "digital silence": np.zeros(3 * rate, np.float32),
        "noise at -80 dBFS": noise * np.float32(1e-4),
        "white noise": noise * np.float32(0.2),
        "a constant": np.full(3 * rate, 0.3, np.float32),
        "clicks": np.where(np.arange(3 * rate) % (rate * 7 // 10) == rate // 2, 0.5, 0.0).astype(np.float32),
    }
    results = _from_disk(embedder, folder, list(hopeless.values()))
    taken = [said for said, result in zip(hopeless, results, strict=True) if isinstance(result, EmbeddedRecording)]
    if taken:
        return failed("silence and noise refused", f"embedded: {', '.join(taken)}")
    return Finding("silence and noise refused", "pass", f"{', '.join(hopeless)}: all refused")


def not_collapsed(embedder: Embedder) -> Finding:
    """Different voices get different embeddings."""
    voices = vectors(embedder, [speech_like(4.0, seed) for seed in range(41, 47)]).astype(np.float64)
    cosines = [float(np.einsum("i,i->", a, b)) for position, a in enumerate(voices) for b in voices[position + 1 :]]
    closest = max(cosines)
    return at_most(
        "voices told apart", closest, COLLAPSE_LIMIT, f"cosines of 6 made voices {min(cosines):.3f} to {closest:.3f}"
    )


def speed(embedder: Embedder, *, seconds: float = 3.0, recordings: int = 8) -> Finding:
    """Seconds of computing for each second of audio, front end included, calling the model as the batch run does."""
    voices = [speech_like(seconds, seed) for seed in range(recordings)]
    vectors(embedder, voices[:1])
    started = time.perf_counter()
    vectors(embedder, voices)
    factor = (time.perf_counter() - started) / (seconds * recordings)
    return at_most("speed", factor, SPEED_LIMIT, f"real-time factor {factor:.3f} on {embedder.engine}")


def _from_disk(embedder: Embedder, folder: Path, waveforms: Sequence[Waveform]) -> list[EmbeddedRecording | VecsvError]:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{position}.wav" for position in range(len(waveforms))]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, embedder.sample_rate, subtype="FLOAT")
    return embed_clips(embedder, [Clip(path) for path in paths], workers=1)
