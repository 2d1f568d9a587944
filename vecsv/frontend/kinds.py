"""The kinds of front ends as data: one spec for each, every choice that changes a feature spelt out.

Those of frames centred on multiples of the hop stand in `vecsv.frontend.centred_kinds`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vecsv.frontend.checks import refusal, require_bands, require_choice, require_finite, require_positive


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
        require_finite(self)
        require_choice(
            self,
            kind={"mel-spectrogram"},
            window={"hann-periodic", "hamming-periodic"},
            mel_scale={"slaney"},
            mel_norm={"slaney", "none"},
            log={"none"},
        )
        require_positive(self, "sample_rate", "n_fft", "hop", "mels", "power")
        require_bands(self.f_min, self.f_max, self.sample_rate)

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
        require_finite(self)
        require_choice(self, kind={"kaldi-fbank"}, window={"hamming", "povey", "hann"})
        require_positive(self, "sample_rate", "window_length", "hop", "scale", "mels", "log_floor")
        require_bands(self.f_min, self.f_max, self.sample_rate)
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
        require_finite(self)
        require_choice(self, kind={"waveform"})
        require_positive(self, "sample_rate", "scale")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)
