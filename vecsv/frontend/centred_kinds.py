"""Kinds of front ends whose frames are centred on multiples of the hop, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from vecsv.frontend.checks import refusal, require_bands, require_choice, require_finite, require_positive

_NORMALISATIONS: Final = {"none", "mean", "mean-std"}


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
        ``"db"`` (``10 log10``), ``"ln"``, or ``"none"``: powers as they are.
    log_floor, log_offset : float
        The logarithm is of ``max(x, log_floor) + log_offset``; without one neither is applied.
    range_db : float or None
        Values further than this below the recording's largest are raised to that; only with ``"db"``, None otherwise.
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
        _require_centred(self, "log-mel")
        require_choice(
            self,
            mel_scale={"htk", "slaney"},
            mel_shape={"triangle", "left-bandwidth"},
            mel_norm={"none", "slaney"},
        )
        require_positive(self, "mels")
        require_bands(self.f_min, self.f_max, self.sample_rate)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)


@dataclass(frozen=True)
class SpectrogramSpec:
    """Log power spectrum of frames, every frequency of the transform a band; the rest as `LogMelSpec` has it.

    Attributes
    ----------
    kind : str
        ``"spectrogram"``.
    sample_rate : int
        In Hz.
    n_fft, window_length, hop : int
        Length of the Fourier transform and of the window in its middle, and distance between two frames, in samples.
        There are ``n_fft // 2 + 1`` bands, from 0 Hz to half the sample rate.
    window, padding, frames, preemphasis, preemphasis_edge
        See `LogMelSpec`.
    log, log_floor, log_offset, range_db, normalise
        See `LogMelSpec`.

    Raises
    ------
    ModelError
        When a value is out of range or names something this version cannot compute.
    """

    kind: str = "spectrogram"
    sample_rate: int = 16000
    n_fft: int = 400
    window_length: int = 400
    hop: int = 160
    window: str = "hamming-periodic"
    padding: str = "zeros"
    frames: str = "all"
    preemphasis: float = 0.0
    preemphasis_edge: str = "none"
    log: str = "db"
    log_floor: float = 1e-10
    log_offset: float = 0.0
    range_db: float | None = 80.0
    normalise: str = "mean"

    def __post_init__(self) -> None:
        _require_centred(self, "spectrogram")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)


@dataclass(frozen=True)
class MfccSpec:
    """Mel frequency cepstral coefficients: the cosine transform of each frame of a log mel spectrogram.

    The first ``coefficients`` of the orthonormal DCT-II (S. B. Davis and P. Mermelstein, "Comparison of parametric
    representations for monosyllabic word recognition in continuously spoken sentences", IEEE Trans. ASSP 28 (4),
    1980). 80 coefficients with their means over time taken away are what ECAPA-TDNN was described with (B. Desplanques,
    J. Thienpondt, K. Demuynck, Interspeech 2020, section 4).

    Attributes
    ----------
    kind : str
        ``"mfcc"``.
    coefficients : int
        How many, from the one that is the frame's level; at most as many as mel bands.
    lifter : float
        Coefficient ``n`` is multiplied with ``1 + lifter / 2 * sin(pi * n / lifter)`` (The HTK Book, section 5.6; 22 in
        Kaldi); 0 leaves them.
    log : str
        ``"db"`` or ``"ln"``.
    normalise : str
        As `LogMelSpec` has it, of each coefficient over time; the log mel spectrogram itself is not normalised.
    sample_rate, n_fft, window_length, hop, window, padding, frames, preemphasis, preemphasis_edge
        See `LogMelSpec`.
    mels, mel_scale, mel_shape, mel_norm, f_min, f_max, log_floor, log_offset, range_db
        See `LogMelSpec`.

    Raises
    ------
    ModelError
        When a value is out of range or names something this version cannot compute.

    Examples
    --------
    >>> MfccSpec(coefficients=41, mels=40)
    Traceback (most recent call last):
    ...
    vecsv.errors.ModelError: front end: coefficients is 41, but 40 mel bands have no more than 40
    """

    kind: str = "mfcc"
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
    coefficients: int = 80
    lifter: float = 0.0
    normalise: str = "mean"

    def __post_init__(self) -> None:
        require_finite(self)
        require_choice(self, kind={"mfcc"}, log={"db", "ln"}, normalise=_NORMALISATIONS)
        require_positive(self, "coefficients")
        self.log_mel()
        if self.coefficients > self.mels:
            raise refusal(
                f"coefficients is {self.coefficients}, but {self.mels} mel bands have no more than {self.mels}"
            )
        if self.lifter < 0.0:
            raise refusal(f"lifter is {self.lifter}, but cannot be negative")

    def log_mel(self) -> LogMelSpec:
        """Return what the coefficients are the cosine transform of, not normalised over time.

        Examples
        --------
        >>> MfccSpec(mels=40, coefficients=20).log_mel().mels
        40
        """
        shared = {field.name for field in fields(LogMelSpec)} - {"kind", "normalise"}
        return LogMelSpec(**{name: getattr(self, name) for name in shared}, normalise="none")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)


def _require_centred(spec: LogMelSpec | SpectrogramSpec, kind: str) -> None:
    """Refuse what frames, logarithm and normalisation cannot be."""
    require_finite(spec)
    require_choice(
        spec,
        kind={kind},
        window={"hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric"},
        padding={"zeros", "reflect"},
        frames={"all", "whole-hops"},
        preemphasis_edge={"reflect", "none"},
        log={"db", "ln", "none"},
        normalise=_NORMALISATIONS,
    )
    require_positive(spec, "sample_rate", "n_fft", "window_length", "hop")
    if spec.window_length > spec.n_fft:
        raise refusal(f"a window of {spec.window_length} samples is longer than its transform of {spec.n_fft}")
    if not 0.0 <= spec.preemphasis < 1.0:
        raise refusal(f"preemphasis is {spec.preemphasis}, but has to be in [0, 1)")
    if spec.log != "none" and (
        spec.log_floor < 0.0 or spec.log_offset < 0.0 or spec.log_floor + spec.log_offset <= 0.0
    ):
        raise refusal("the logarithm of zero is not a number: log_floor or log_offset has to be positive")
    if spec.range_db is not None and (spec.log != "db" or spec.range_db <= 0.0):
        raise refusal("range_db has to be positive, and goes with log db only (null otherwise)")
