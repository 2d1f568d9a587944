"""What a model was trained to see, as data.

A front end's spec is part of a model's fingerprint and stands in its bundle. It names every choice that changes a
feature, so two models whose specs are equal get the same features, and a spec this version of vecsv cannot compute is
refused when it is made. Each kind of front end has a spec of its own: a new kind changes no fingerprint that is out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, TypeAlias, TypeVar, cast

from vecsv.frontend.centred_kinds import LogMelSpec, MfccSpec, SpectrogramSpec
from vecsv.frontend.checks import refusal
from vecsv.frontend.kinds import KaldiSpec, MelSpectrogramSpec, Trimming, WaveformSpec

__all__ = [
    "FrontendSpec",
    "KaldiSpec",
    "LogMelSpec",
    "MelSpectrogramSpec",
    "MfccSpec",
    "SpectrogramSpec",
    "Trimming",
    "WaveformSpec",
    "frontend_from_json",
]

FrontendSpec: TypeAlias = MelSpectrogramSpec | LogMelSpec | SpectrogramSpec | MfccSpec | KaldiSpec | WaveformSpec
"""Any kind of front end."""

_KINDS: Final[Mapping[str, type[FrontendSpec]]] = {
    "mel-spectrogram": MelSpectrogramSpec,
    "log-mel": LogMelSpec,
    "spectrogram": SpectrogramSpec,
    "mfcc": MfccSpec,
    "kaldi-fbank": KaldiSpec,
    "waveform": WaveformSpec,
}


def frontend_from_json(values: Mapping[str, Any], *, complete: bool = True) -> FrontendSpec:
    """Read a spec that `to_json` wrote, or that a person did.

    Parameters
    ----------
    values : mapping
        Its fields; ``kind`` says which spec it is.
    complete : bool
        Whether every field has to be there; otherwise those left out take their defaults.

    Raises
    ------
    ModelError
        When a field is missing, unknown, or of another type than it should be.

    Examples
    --------
    >>> frontend_from_json({"kind": "kaldi-fbank", "window": "povey", "scale": 1}, complete=False).window
    'povey'
    >>> spec = MelSpectrogramSpec()
    >>> frontend_from_json(spec.to_json()) == spec
    True
    """
    kind = values.get("kind")
    target = _KINDS.get(kind) if isinstance(kind, str) else None
    if target is None:
        raise refusal(f"kind is {kind!r}, this version knows {', '.join(sorted(_KINDS))}")
    trimming = values.get("trimming")
    if target is MelSpectrogramSpec and isinstance(trimming, Mapping):
        values = {**values, "trimming": Trimming(**_typed(Trimming, trimming, complete=True))}
    return target(**_typed(target, values, complete=complete))


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "Trimming | None": (Trimming, type(None)),
}


_Spec = TypeVar("_Spec")


def _typed(target: type[_Spec], values: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    """Check the names and types of a spec's values; what is meant as float becomes float: equal specs hash equally."""
    declared = {field.name: str(field.type) for field in fields(cast(Any, target))}
    missing = declared.keys() - values.keys() if complete else set()
    if different := sorted(missing | (values.keys() - declared.keys())):
        raise refusal(f"unknown or missing: {', '.join(different)}")
    typed: dict[str, Any] = {}
    for name, value in values.items():
        kind = declared[name]
        # To Python a bool is an int; to a spec it is not.
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
            raise refusal(f"{name} is {value!r}, which is no {kind}")
        if isinstance(value, int) and kind.startswith("float"):
            try:
                value = float(value)
            except OverflowError:
                raise refusal(f"{name} is an integer of {value.bit_length()} bits, which is no {kind}") from None
        typed[name] = value
    return typed
