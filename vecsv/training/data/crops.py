"""A crop of a recording, read from its place in the file."""

from __future__ import annotations

import math
from contextlib import closing

import numpy as np

from vecsv.arrays import Waveform
from vecsv.audio.decode import CUT_TOLERANCE_S, Clip, mono_chunks, open_source
from vecsv.audio.files import printable
from vecsv.audio.resample import resample
from vecsv.errors import AudioError
from vecsv.training.data.recordings import Recording


def draw_crop(
    recording: Recording, *, samples: int, sample_rate: int, speed: float = 1.0, generator: np.random.Generator
) -> Waveform:
    """Draw a crop from anywhere in a recording.

    Only the crop itself is decoded, but for MP3 and what needs ffmpeg: these are decoded up to its end, because jumping
    into them goes wrong. Speed and sampling rate are changed in one step.

    Parameters
    ----------
    recording : Recording
        A shorter one than the crop is taken whole and repeated.
    samples : int
        Length of the crop.
    sample_rate : int
        Of the crop, in Hz.
    speed : float
        How much faster it is played, which changes tempo and pitch alike: a tone of 1000 Hz at 0.9 has 900 Hz.
    generator : numpy.random.Generator
        What the place is drawn from.

    Returns
    -------
    ndarray
        Float32 ``(samples,)``, finite.

    Raises
    ------
    AudioError
        When it cannot be decoded, or is not what it was when its header was read.

    Examples
    --------
    >>> import tempfile, soundfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.wav")
    ...     soundfile.write(path, np.linspace(-0.5, 0.5, 16000), 16000)
    ...     ann = Recording("a.wav", path, None, "ann", rate=16000, start=0, stop=16000)
    ...     crop = draw_crop(ann, samples=8000, sample_rate=16000, generator=np.random.default_rng(1))
    >>> crop.shape, crop.dtype
    ((8000,), dtype('float32'))
    """
    # Rates are whole numbers to soxr; what rounding does to the speed, one part in ten thousand, nobody hears.
    played_rate = round(recording.rate * speed)
    needed = math.ceil(samples * played_rate / sample_rate)
    spare = recording.stop - recording.start - needed
    start = recording.start + (int(generator.integers(spare + 1)) if spare > 0 else 0)
    stop = min(start + needed, recording.stop)
    where = printable(recording.path)
    clip = Clip(recording.path, recording.channel)
    changed = AudioError("changed", "is another file than when the training began", where=where)
    with closing(open_source(recording.path, exact=False)) as source:
        if source.rate != recording.rate or not 1 <= (recording.channel or 1) <= source.channels:
            raise changed
        mono = list(mono_chunks(clip, source, start, stop, where))
    if sum(chunk.size for chunk in mono) < stop - start - CUT_TOLERANCE_S * recording.rate:
        raise changed
    chunks = list(resample(mono, played_rate, sample_rate))
    if not chunks:
        raise AudioError("no-samples", "holds no samples where the crop is", where=where)
    wave = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    return wave[:samples] if wave.size >= samples else np.resize(wave, samples)
