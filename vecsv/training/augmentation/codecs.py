"""Lossy codecs: there and back in memory, by libsndfile."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from vecsv.arrays import Waveform
from vecsv.errors import TrainingError
from vecsv.training.augmentation.waves import aligned, at_rate
from vecsv.training.specs import CodecSpec

_PROBE_S: Final = 0.5
_PROBE_PULSES: Final = 24
# Handed minutes at once, libsndfile's Vorbis encoder overflows the stack, which ends the process.
_WRITTEN_AT_ONCE: Final = 16000


@dataclass(frozen=True)
class Format:
    """How libsndfile writes a codec.

    Attributes
    ----------
    container, subtype : str
        libsndfile's names.
    rates : tuple of int
        Those it can be written at, in Hz, ascending; empty where any will do.
    strengths : tuple of float or None
        libsndfile's compression levels from 0 (best quality) to 1 (smallest), each equally often; None is its own.
    bit_rate : str or None
        libsndfile's name for how bits are spread over time; None is its own choice.
    """

    container: str
    subtype: str
    rates: tuple[int, ...]
    strengths: tuple[float | None, ...]
    bit_rate: str | None = None

    def rate_for(self, sample_rate: int) -> int:
        """The lowest rate that keeps all of a waveform's band, in Hz, or the highest there is."""
        if not self.rates:
            return sample_rate
        return next((rate for rate in self.rates if rate >= sample_rate), self.rates[-1])


FORMATS: Final = {
    # Speech at 16 kHz becomes about 13 kbit/s; 50, 25 and 17; 60, 22 and 11; 51, 37 and 31.
    "gsm": Format("WAV", "GSM610", (8000,), (None,)),
    "mp3": Format(
        "MP3",
        "MPEG_LAYER_III",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        (0.75, 0.9, 0.95),
        "CONSTANT",
    ),
    "opus": Format("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000), (0.8, 0.95, 0.99)),
    "vorbis": Format("OGG", "VORBIS", (), (0.5, 0.85, 1.0)),
}
"""By the names that a training's configuration has for them."""


@dataclass(frozen=True)
class Codec:
    """A codec at one rate and strength, and how late it makes sound.

    Attributes
    ----------
    format : Format
    rate : int
        In Hz.
    strength : float or None
    delay : int
        In samples at `rate`.
    """

    format: Format
    rate: int
    strength: float | None
    delay: int

    @classmethod
    def tried(cls, name: str, format_: Format, sample_rate: int, strength: float | None) -> Codec:
        """Make one by sending a probe through it, which shows that it works and measures its delay.

        libsndfile takes most delays out itself, but not that of an MP3 file of few bits, whose first frame has no room
        to tell it.

        Raises
        ------
        TrainingError
            When the installed libsndfile cannot write or read this codec.
        """
        import soundfile

        undelayed = cls(format_, format_.rate_for(sample_rate), strength, 0)
        probe = _probe(undelayed.rate)
        try:
            heard = undelayed._there_and_back(probe)
        except (soundfile.SoundFileError, ValueError) as failure:
            raise TrainingError(
                f"the installed libsndfile {soundfile.__libsndfile_version__} cannot write {name}",
                where="augmentation.codec",
                hint="take it out of codecs, or install a soundfile that comes with libsndfile 1.2 or later",
            ) from failure
        return cls(format_, undelayed.rate, strength, _delay(heard, probe))

    def __call__(self, wave: Waveform, sample_rate: int) -> Waveform:
        """Send a waveform ``(samples,)`` there and back; the result is as long and not delayed."""
        sent = at_rate(wave, sample_rate, self.rate)
        heard = aligned(self._there_and_back(sent), self.delay, sent.size)
        return aligned(at_rate(heard, self.rate, sample_rate), 0, wave.size)

    def _there_and_back(self, wave: Waveform) -> Waveform:
        import soundfile

        options: dict[str, Any] = {} if self.strength is None else {"compression_level": self.strength}
        if self.format.bit_rate is not None:
            options["bitrate_mode"] = self.format.bit_rate
        line = io.BytesIO()
        with soundfile.SoundFile(
            line,
            "w",
            samplerate=self.rate,
            channels=1,
            format=self.format.container,
            subtype=self.format.subtype,
            **options,
        ) as file:
            for start in range(0, wave.size, _WRITTEN_AT_ONCE):
                file.write(wave[start : start + _WRITTEN_AT_ONCE])
        line.seek(0)
        heard, rate = soundfile.read(line, dtype="float32")
        if rate != self.rate or not np.isfinite(heard).all():
            raise ValueError("the codec gives back something else")
        result: Waveform = heard
        return result


class Codecs:
    """Sends speech through one of several codecs, each equally often, and each of its strengths equally often.

    Parameters
    ----------
    spec : CodecSpec
        Which ones.
    sample_rate : int
        Of the speech, in Hz.

    Raises
    ------
    TrainingError
        When the installed libsndfile cannot write one of them.
    """

    def __init__(self, spec: CodecSpec, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self.codecs = tuple(
            tuple(Codec.tried(name, FORMATS[name], sample_rate, strength) for strength in FORMATS[name].strengths)
            for name in spec.codecs
        )

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        """Return the speech as it comes out of one of them, ``(samples,)``."""
        strengths = self.codecs[int(generator.integers(len(self.codecs)))]
        return strengths[int(generator.integers(len(strengths)))](wave, self._sample_rate)


def _probe(rate: int) -> Waveform:
    """Bursts of a falling tone at uneven distances: what a codec for voices keeps, and like itself at one lag only."""
    time = np.arange(round(0.02 * rate)) / rate
    burst = np.exp(-time / 0.004) * np.sin(2 * np.pi * (1100.0 - 15000.0 * time) * time)
    probe = np.zeros(round(_PROBE_S * rate), np.float32)
    for pulse in range(_PROBE_PULSES):
        # Quadratic, so that no distance comes twice.
        start = round((0.05 + 0.4 * (pulse / _PROBE_PULSES) ** 2) * rate)
        probe[start : start + burst.size] += 0.3 * burst.astype(np.float32)
    return probe


def _delay(heard: Waveform, sent: Waveform) -> int:
    """By how many samples one is later than the other: where their correlation is highest."""
    from scipy import signal

    return int(signal.correlate(heard, sent, mode="full", method="fft").argmax()) - (sent.size - 1)
