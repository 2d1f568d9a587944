"""What a training does, as data: one frozen spec for each concern, every number with its unit.

`vecsv.training.configuration` reads them from YAML. A spec that this version cannot follow is refused when it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from vecsv.errors import TrainingError

SAMPLINGS: Final = ("natural", "balanced")
HELD_OUT: Final = ("auto", "none", "utterances", "tails")
LOSSES: Final = ("aam", "am")
CODECS: Final = ("gsm", "mp3", "opus", "vorbis")
PRECISIONS: Final = ("fp32", "bf16")


@dataclass(frozen=True)
class DataSpec:
    """Which crops of which recordings a network sees.

    Attributes
    ----------
    crop_s : float
        Length of a crop; a shorter recording is repeated.
    min_s : float
        Shorter recordings are refused.
    sampling : str
        ``"natural"``: recordings in proportion to their length; ``"balanced"``: speakers equally often.
    epoch_crops : int or None
        Crops in an epoch; None: as many as the recordings would give if each voice were cut into crops.
    held_out : str
        Where classification accuracy is measured: on whole ``"utterances"``, on the ``"tails"`` of all recordings,
        ``"auto"``: on utterances of speakers that have several, on the tail of the others' only one, or ``"none"``.
    held_out_part : float
        The part of a speaker's utterances, or of a recording's length, that is held out.
    dev_speakers : int
        Speakers taken out of the training manifest to measure verification on; 0 where a manifest is given for that.
    """

    crop_s: float = 3.0
    min_s: float = 0.5
    sampling: str = "natural"
    epoch_crops: int | None = None
    held_out: str = "auto"
    held_out_part: float = 0.2
    dev_speakers: int = 0

    def __post_init__(self) -> None:
        _one_of("sampling", self.sampling, SAMPLINGS)
        _one_of("held_out", self.held_out, HELD_OUT)
        _within("crop_s", self.crop_s, 0.1, 60.0)
        _within("min_s", self.min_s, 0.05, 60.0)
        _within("held_out_part", self.held_out_part, 0.01, 0.9)
        _at_least("dev_speakers", self.dev_speakers, 0)
        if self.epoch_crops is not None:
            _at_least("epoch_crops", self.epoch_crops, 1)


@dataclass(frozen=True)
class SpeedSpec:
    """Playing recordings faster and slower, which changes pitch and tempo together.

    Attributes
    ----------
    factors : tuple of float
        Speeds besides 1; crops of each speed, 1 included, are equally many.
    new_speakers : bool
        Whether a voice at another speed is another speaker, which is the field's practice; otherwise it keeps its name.
    """

    factors: tuple[float, ...] = (0.9, 1.1)
    new_speakers: bool = True

    def __post_init__(self) -> None:
        for factor in self.factors:
            _within("factors", factor, 0.5, 2.0)
        if 1.0 in self.factors or len(set(self.factors)) != len(self.factors):
            raise _refusal(f"factors are {list(self.factors)}, but have to differ from 1 and from each other")


@dataclass(frozen=True)
class NoiseSpec:
    """Recorded noise, added at a signal-to-noise ratio drawn evenly from a range in dB."""

    probability: float = 0.5
    snr_db: tuple[float, float] = (0.0, 18.0)

    def __post_init__(self) -> None:
        _probability(self.probability)
        _range("snr_db", self.snr_db, -20.0, 60.0)


@dataclass(frozen=True)
class BabbleSpec:
    """Several other voices of the corpus at once, added at a signal-to-noise ratio drawn evenly from a range in dB."""

    probability: float = 0.2
    voices: tuple[int, int] = (3, 7)
    snr_db: tuple[float, float] = (10.0, 20.0)

    def __post_init__(self) -> None:
        _probability(self.probability)
        _range("voices", self.voices, 1, 30)
        _range("snr_db", self.snr_db, -20.0, 60.0)


@dataclass(frozen=True)
class RoomSpec:
    """Convolution with a recorded room impulse response."""

    probability: float = 0.4

    def __post_init__(self) -> None:
        _probability(self.probability)


@dataclass(frozen=True)
class GainSpec:
    """A louder or quieter recording, by a gain drawn evenly from a range in dB."""

    probability: float = 0.5
    db: tuple[float, float] = (-12.0, 6.0)

    def __post_init__(self) -> None:
        _probability(self.probability)
        _range("db", self.db, -60.0, 60.0)


@dataclass(frozen=True)
class TelephoneSpec:
    """The telephone's band (300 to 3400 Hz at 8 kHz) and its companding."""

    probability: float = 0.1

    def __post_init__(self) -> None:
        _probability(self.probability)


@dataclass(frozen=True)
class CodecSpec:
    """There and back through a lossy codec, each equally often."""

    probability: float = 0.1
    codecs: tuple[str, ...] = CODECS

    def __post_init__(self) -> None:
        _probability(self.probability)
        if not self.codecs:
            raise _refusal("codecs is empty")
        for codec in self.codecs:
            _one_of("codecs", codec, CODECS)


@dataclass(frozen=True)
class SpectrumSpec:
    """SpecAugment: bars of frames and of bands that the network does not see.

    D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", Interspeech
    2019; without time warping.

    Attributes
    ----------
    time_masks, band_masks : int
        How many of each.
    time_part, band_part : float
        Widest of each, as a part of all frames and of all bands; the width is drawn evenly from 0 up to it.
    """

    time_masks: int = 2
    time_part: float = 0.1
    band_masks: int = 2
    band_part: float = 0.1

    def __post_init__(self) -> None:
        _at_least("time_masks", self.time_masks, 0)
        _at_least("band_masks", self.band_masks, 0)
        _within("time_part", self.time_part, 0.0, 1.0)
        _within("band_part", self.band_part, 0.0, 1.0)


@dataclass(frozen=True)
class AugmentationSpec:
    """What is done to crops; what is None is not done."""

    speed: SpeedSpec | None = None
    room: RoomSpec | None = None
    noise: NoiseSpec | None = None
    babble: BabbleSpec | None = None
    gain: GainSpec | None = None
    telephone: TelephoneSpec | None = None
    codec: CodecSpec | None = None
    spectrum: SpectrumSpec | None = None

    @property
    def factors(self) -> tuple[float, ...]:
        """Every speed, the unchanged one first."""
        return (1.0, *(self.speed.factors if self.speed else ()))


@dataclass(frozen=True)
class LossSpec:
    """The margin softmax that teaches the network.

    Attributes
    ----------
    kind : str
        ``"aam"``: additive angular margin (J. Deng et al., "ArcFace", CVPR 2019); ``"am"``: additive margin (F. Wang
        et al., "Additive Margin Softmax for Face Verification", 2018).
    margin, scale : float
        In radians for ``"aam"``, of the cosine for ``"am"``; what cosines are multiplied with.
    centres : int
        Sub-centres of a speaker (J. Deng et al., "Sub-center ArcFace", ECCV 2020); 1 is the plain loss.
    top_k : int
        How many of the nearest wrong speakers are pushed further (M. Zhao et al., "The SpeakIn System for VoxCeleb
        Speaker Recognition Challenge 2021": inter-top-k penalty); 0: none.
    top_k_penalty : float
        By how much, of the same kind as the margin.
    warm_up : tuple of float
        The margin is 0 before the first of these epochs, grows, and is full from the second on; both counted from 0.
    """

    kind: str = "aam"
    margin: float = 0.2
    scale: float = 30.0
    centres: int = 1
    top_k: int = 0
    top_k_penalty: float = 0.06
    warm_up: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, LOSSES)
        _within("margin", self.margin, 0.0, 1.5)
        _within("scale", self.scale, 1.0, 1000.0)
        _at_least("centres", self.centres, 1)
        _at_least("top_k", self.top_k, 0)
        _within("top_k_penalty", self.top_k_penalty, 0.0, 1.0)
        _range("warm_up", self.warm_up, 0.0, 1e6)


@dataclass(frozen=True)
class OptimiserSpec:
    """AdamW under a cosine schedule.

    Attributes
    ----------
    learning_rate : float
        At its highest, for a part of the network whose rate is not scaled.
    final_part : float
        What is left of it at the end.
    warm_up_steps : int
        Steps until it is reached.
    weight_decay : float
        Of weights; biases and norms are not decayed.
    clip_norm : float
        Longest gradient; a longer one is shortened to it.
    """

    learning_rate: float = 2e-3
    final_part: float = 0.01
    warm_up_steps: int = 200
    weight_decay: float = 0.02
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        _within("learning_rate", self.learning_rate, 1e-9, 10.0)
        _within("final_part", self.final_part, 0.0, 1.0)
        _at_least("warm_up_steps", self.warm_up_steps, 0)
        _within("weight_decay", self.weight_decay, 0.0, 10.0)
        _within("clip_norm", self.clip_norm, 1e-6, 1e9)


@dataclass(frozen=True)
class RunSpec:
    """How long and how a training runs.

    Attributes
    ----------
    epochs : int
        At most.
    batch : int
        Crops in a step, over all processes and accumulated parts.
    accumulate : int
        Parts a batch is cut into where it does not fit memory; BatchNorm sees one part at a time.
    precision : str
        ``"fp32"`` or ``"bf16"``: what matrix products are computed in; weights stay float32.
    frozen_norms : bool
        Whether BatchNorms keep the statistics they start with: for short fine-tuning.
    patience : int
        Epochs without a better dev EER after which it ends; 0: never.
    seed : int
        Everything that is drawn follows from it.
    save_every_steps : int
        Steps between two states that a killed run resumes from; 0: only at the ends of epochs.
    """

    epochs: int = 30
    batch: int = 64
    accumulate: int = 1
    precision: str = "fp32"
    frozen_norms: bool = False
    patience: int = 5
    seed: int = 0
    save_every_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate"):
            _at_least(name, getattr(self, name), 1)
        # BatchNorm has nothing to normalise a single crop by.
        _at_least("batch", self.batch, 2)
        for name in ("patience", "seed", "save_every_steps"):
            _at_least(name, getattr(self, name), 0)
        _one_of("precision", self.precision, PRECISIONS)
        if self.batch % self.accumulate:
            raise _refusal(f"a batch of {self.batch} cannot be cut into {self.accumulate} equal parts")


@dataclass(frozen=True)
class DevelopmentSpec:
    """How verification is measured after each epoch.

    Attributes
    ----------
    crop_s : float or None
        How much of the beginning of each recording counts; None: all of it.
    most_recordings : int
        More are thinned to this, the same ones in each epoch.
    """

    crop_s: float | None = None
    most_recordings: int = 2000

    def __post_init__(self) -> None:
        if self.crop_s is not None:
            _within("crop_s", self.crop_s, 0.1, 3600.0)
        _at_least("most_recordings", self.most_recordings, 2)


@dataclass(frozen=True)
class FinishSpec:
    """What is made of the best state at the end.

    Attributes
    ----------
    calibrate : bool
        Whether thresholds are measured on the dev manifest and go into the bundle as a reference calibration.
    """

    calibrate: bool = False


@dataclass(frozen=True)
class CommonSpecs:
    """What a training of any family needs to be told, besides its network."""

    data: DataSpec = field(default_factory=DataSpec)
    augmentation: AugmentationSpec = field(default_factory=AugmentationSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    optimiser: OptimiserSpec = field(default_factory=OptimiserSpec)
    run: RunSpec = field(default_factory=RunSpec)
    development: DevelopmentSpec = field(default_factory=DevelopmentSpec)
    finish: FinishSpec = field(default_factory=FinishSpec)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise _refusal(f"{name} is {value!r}, this version knows {', '.join(known)}")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise _refusal(f"{name} is {value}, but has to be from {least:g} to {most:g}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise _refusal(f"{name} is {value}, but has to be at least {least}")


def _probability(value: float) -> None:
    _within("probability", value, 0.0, 1.0)


def _range(name: str, values: tuple[float, float], least: float, most: float) -> None:
    for value in values:
        _within(name, value, least, most)
    if values[0] > values[1]:
        raise _refusal(f"{name} goes from {values[0]} to {values[1]}, which is backwards")


def _refusal(what: str) -> TrainingError:
    return TrainingError(what)
