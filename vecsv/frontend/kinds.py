"""The kinds of front ends as data: one spec for each, every choice that changes a feature spelt out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from vecsv.errors import ModelError


@dataclass(frozen=True)
class Trimming:
    """How long silences are cut out before features are computed.

    Attributes
    ----------
    detector : str
        The voice activity detector; ``"webrtc"``.
    aggressiveness : int
        Its mode, 0 to 3.
    window_s : float
        Length of one decision, in seconds.
    smoothing_windows : int
        Width of the moving average over decisions.
    dilation_windows : int
        Width of the dilation of what is active after smoothing.
    """

    detector: str = "webrtc"
    aggressiveness: int = 3
    window_s: float = 0.03
    smoothing_windows: int = 8
    dilation_windows: int = 7


@dataclass(frozen=True)
class MelSpectrogramSpec:
    """Mel power spectrogram without a logarithm; the defaults are those of the GE2E encoder.

    Attributes
    ----------
    kind : str
        ``"mel-spectrogram"``.
    sample_rate : int
        In Hz.
    n_fft, hop : int
        Length of a frame and distance between two, in samples.
    window : str
        ``"hann-periodic"`` or ``"hamming-periodic"``, as long as a frame.
    centre : bool
        Whether frame ``t`` is centred on sample ``t * hop`` (zeros outside the waveform) or starts there.
    power : float
        Exponent of the spectrum's magnitude.
    mels : int
        Number of mel bands.
    mel_scale : str
        ``"slaney"``: linear below 1 kHz, logarithmic above.
    mel_norm : str
        ``"slaney"``: triangles of equal area; ``"none"``: triangles of height 1.
    f_min, f_max : float
        Lower edge of the first and upper edge of the last band, in Hz.
    log : str
        ``"none"``: bands are powers.
    volume_dbfs : float or None
        Level that quiet recordings are raised to; None leaves them.
    trimming : Trimming or None
        How long silences are cut out; None leaves them.

    Raises
    ------
    ModelError
        When a value is out of range or names something this version cannot compute.

    Examples
    --------
    >>> MelSpectrogramSpec(hop=0)
    Traceback (most recent call last):
    ...
    vecsv.errors.ModelError: front end: hop is 0, but has to be at least 1
    """

    kind: str = "mel-spectrogram"
    sample_rate: int = 16000
    n_fft: int = 400
    hop: int = 160
    window: str = "hann-periodic"
    centre: bool = True
    power: float = 2.0
    mels: int = 40
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    f_min: float = 0.0
    f_max: float = 8000.0
    log: str = "none"
    volume_dbfs: float | None = -30.0
    trimming: Trimming | None = Trimming()

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_choice(
            self,
            kind={"mel-spectrogram"},
            window={"hann-periodic", "hamming-periodic"},
            mel_scale={"slaney"},
            mel_norm={"slaney", "none"},
            log={"none"},
        )
        _require_positive(self, "sample_rate", "n_fft", "hop", "mels", "power")
        _require_bands(self.f_min, self.f_max, self.sample_rate)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)


@dataclass(frozen=True)
class LogMelSpec:
    """Log mel power spectrogram of frames centred on multiples of the hop; the defaults are SpeechBrain's ECAPA.

    Attributes
    ----------
    kind : str
        ``"log-mel"``.
    sample_rate : int
        In Hz.
    n_fft, window_length, hop : int
        Length of the Fourier transform and of the window in its middle, and distance between two frames, in samples.
    window : str
        ``"hann-periodic"``, ``"hann-symmetric"``, ``"hamming-periodic"`` or ``"hamming-symmetric"``.
    padding : str
        What the first and last frames see beyond the waveform: ``"zeros"`` or ``"reflect"`` (itself, backwards; a
        waveform too short for that has no frames).
    frames : str
        ``"all"``: as many as there are multiples of the hop in the waveform, both ends included; ``"whole-hops"``:
        as many as whole hops, so without the last of those (NeMo 2 and later).
    preemphasis : float
        Coefficient of ``x[t] - c * x[t - 1]``; 0 for none.
    preemphasis_edge : str
        What comes before the first sample: ``"reflect"`` (the second one) or ``"none"`` (the first stays as it is).
    mels : int
        Number of mel bands.
    mel_scale : str
        ``"htk"`` (``2595 log10(1 + f / 700)``) or ``"slaney"``.
    mel_shape : str
        ``"triangle"``, or ``"left-bandwidth"``: both slopes of a band as steep as its left one (SpeechBrain).
    mel_norm : str
        ``"none"`` or ``"slaney"``.
    f_min, f_max : float
        Lower edge of the first and upper edge of the last band, in Hz.
    log : str
        ``"db"`` (``10 log10``) or ``"ln"``.
    log_floor, log_offset : float
        The logarithm is of ``max(x, log_floor) + log_offset``.
    range_db : float or None
        Values further than this below the recording's largest are raised to that; only with ``"db"``.
    normalise : str
        ``"none"``; ``"mean"``: each band's mean over time is taken away; ``"mean-std"``: and it is divided by the
        standard deviation (of ``frames - 1`` degrees of freedom, plus 1e-5; a single frame has none: 0).

    Raises
    ------
    ModelError
        When a value is out of range or names something this version cannot compute.
    """

    kind: str = "log-mel"
    sample_rate: int = 16000
    n_fft: int = 400
    window_length: int = 400
    hop: int = 160
    window: str = "hamming-periodic"
    padding: str = "zeros"
    frames: str = "all"
    preemphasis: float = 0.0
    preemphasis_edge: str = "none"
    mels: int = 80
    mel_scale: str = "htk"
    mel_shape: str = "left-bandwidth"
    mel_norm: str = "none"
    f_min: float = 0.0
    f_max: float = 8000.0
    log: str = "db"
    log_floor: float = 1e-10
    log_offset: float = 0.0
    range_db: float | None = 80.0
    normalise: str = "mean"

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_choice(
            self,
            kind={"log-mel"},
            window={"hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric"},
            padding={"zeros", "reflect"},
            frames={"all", "whole-hops"},
            preemphasis_edge={"reflect", "none"},
            mel_scale={"htk", "slaney"},
            mel_shape={"triangle", "left-bandwidth"},
            mel_norm={"none", "slaney"},
            log={"db", "ln"},
            normalise={"none", "mean", "mean-std"},
        )
        _require_positive(self, "sample_rate", "n_fft", "window_length", "hop", "mels")
        _require_bands(self.f_min, self.f_max, self.sample_rate)
        if self.window_length > self.n_fft:
            raise refusal(f"a window of {self.window_length} samples is longer than its transform of {self.n_fft}")
        if not 0.0 <= self.preemphasis < 1.0:
            raise refusal(f"preemphasis is {self.preemphasis}, but has to be in [0, 1)")
        if self.log_floor < 0.0 or self.log_offset < 0.0 or self.log_floor + self.log_offset <= 0.0:
            raise refusal("the logarithm of zero is not a number: log_floor or log_offset has to be positive")
        if self.range_db is not None and (self.log != "db" or self.range_db <= 0.0):
            raise refusal("range_db has to be positive, and goes with log db only")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)


@dataclass(frozen=True)
class KaldiSpec:
    """Kaldi's log mel filterbank over whole frames (``snip_edges``), without dither; the defaults are WeSpeaker's.

    Attributes
    ----------
    kind : str
        ``"kaldi-fbank"``.
    sample_rate : int
        In Hz.
    window_length, hop : int
        Length of a frame and distance between two, in samples; the transform has the next power of two.
    window : str
        ``"hamming"``, ``"povey"`` (``hann ** 0.85``) or ``"hann"``, all symmetric.
    scale : float
        What samples in [-1, 1] are multiplied with: 32768 where a model was trained on 16-bit numbers.
    preemphasis : float
        Within each frame, its first sample preceded by itself.
    remove_dc : bool
        Whether each frame's mean is taken away before that.
    mels : int
        Number of mel bands (``1127 ln(1 + f / 700)``, triangles of height 1 in mels).
    f_min, f_max : float
        Lower edge of the first and upper edge of the last band, in Hz.
    log_floor : float
        Energies below are raised to this before the natural logarithm.
    subtract_mean : bool
        Whether each band's mean over the recording is taken away.
    """

    kind: str = "kaldi-fbank"
    sample_rate: int = 16000
    window_length: int = 400
    hop: int = 160
    window: str = "hamming"
    scale: float = 32768.0
    preemphasis: float = 0.97
    remove_dc: bool = True
    mels: int = 80
    f_min: float = 20.0
    f_max: float = 8000.0
    log_floor: float = 1.1920928955078125e-07
    subtract_mean: bool = True

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_choice(self, kind={"kaldi-fbank"}, window={"hamming", "povey", "hann"})
        _require_positive(self, "sample_rate", "window_length", "hop", "scale", "mels", "log_floor")
        _require_bands(self.f_min, self.f_max, self.sample_rate)
        if not 0.0 <= self.preemphasis <= 1.0:
            raise refusal(f"preemphasis is {self.preemphasis}, but has to be in [0, 1]")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)


@dataclass(frozen=True)
class WaveformSpec:
    """The waveform itself, for networks whose first layers are their front end.

    Attributes
    ----------
    kind : str
        ``"waveform"``.
    sample_rate : int
        In Hz.
    scale : float
        What samples in [-1, 1] are multiplied with.
    normalise : bool
        Whether the recording is brought to mean 0 and variance 1 first: ``(x - mean) / sqrt(variance + 1e-7)``, as
        ``Wav2Vec2FeatureExtractor`` of ``transformers`` does it.
    """

    kind: str = "waveform"
    sample_rate: int = 16000
    scale: float = 1.0
    normalise: bool = False

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_choice(self, kind={"waveform"})
        _require_positive(self, "sample_rate", "scale")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)


def _require_choice(spec: object, **choices: set[str]) -> None:
    for name, known in choices.items():
        if getattr(spec, name) not in known:
            raise refusal(f"{name} is {getattr(spec, name)!r}, this version knows {', '.join(sorted(known))}")


def _require_finite(spec: Any) -> None:
    for field in fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise refusal(f"{field.name} is {value}, which is no finite number")


def _require_positive(spec: object, *names: str) -> None:
    for name in names:
        value = getattr(spec, name)
        if isinstance(value, float) and not value > 0.0:
            raise refusal(f"{name} is {value}, but has to be positive")
        if isinstance(value, int) and value < 1:
            raise refusal(f"{name} is {value}, but has to be at least 1")


def _require_bands(f_min: float, f_max: float, sample_rate: int) -> None:
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise refusal(f"bands from {f_min} to {f_max} Hz do not fit {sample_rate} Hz audio")


def refusal(what: str) -> ModelError:
    """Make the error that says what a front end cannot be."""
    return ModelError(what, where="front end")
