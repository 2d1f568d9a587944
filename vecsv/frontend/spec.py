"""What a model was trained to see, as data.

A `FrontendSpec` is part of a model's fingerprint and stands in its bundle. It names every choice that changes
a feature, so two models whose specs are equal get the same features, and a spec this version of vecsv cannot
compute is refused when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from vecsv.errors import ModelError

_CHOICES: Final[Mapping[str, frozenset[str]]] = {
    "kind": frozenset({"mel-spectrogram"}),
    "window": frozenset({"hann-periodic", "hamming-periodic"}),
    "mel_scale": frozenset({"slaney"}),
    "mel_norm": frozenset({"slaney", "none"}),
    "log": frozenset({"none"}),
}


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
class FrontendSpec:
    """Every choice between a waveform and a network's input.

    The defaults are those of a mel power spectrogram without a logarithm, as the GE2E encoder takes it.

    Attributes
    ----------
    kind : str
        The family of front ends; ``"mel-spectrogram"``.
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
    >>> spec = FrontendSpec()
    >>> FrontendSpec.from_json(spec.to_json()) == spec
    True
    >>> FrontendSpec(hop=0)
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
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise _refusal(f"{name} is {getattr(self, name)!r}, this version knows {', '.join(sorted(known))}")
        for name in ("sample_rate", "n_fft", "hop", "mels"):
            if getattr(self, name) < 1:
                raise _refusal(f"{name} is {getattr(self, name)}, but has to be at least 1")
        if self.power <= 0:
            raise _refusal(f"power is {self.power}, but has to be positive")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise _refusal(f"bands from {self.f_min} to {self.f_max} Hz do not fit {self.sample_rate} Hz audio")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FrontendSpec:
        """Read a spec that `to_json` wrote.

        Raises
        ------
        ModelError
            When a field is missing, unknown, or of another type than it should be.
        """
        trimming = values.get("trimming")
        if isinstance(trimming, Mapping):
            values = {**values, "trimming": Trimming(**_typed(Trimming, trimming))}
        return cls(**_typed(cls, values))


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "Trimming | None": (Trimming, type(None)),
}


def _typed(target: type[FrontendSpec] | type[Trimming], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the names and types of a spec's values; what is meant as float becomes float: equal specs hash equally."""
    declared = {field.name: str(field.type) for field in fields(target)}
    if different := sorted(declared.keys() ^ values.keys()):
        raise _refusal(f"unknown or missing: {', '.join(different)}")
    typed: dict[str, Any] = {}
    for name, kind in declared.items():
        value = values[name]
        # To Python a bool is an int; to a spec it is not.
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
            raise _refusal(f"{name} is {value!r}, which is no {kind}")
        typed[name] = float(value) if isinstance(value, int) and kind.startswith("float") else value
    return typed


def _refusal(what: str) -> ModelError:
    return ModelError(what, where="front end")
