"""All effects in the order in which they happen to a voice: room, noise, microphone, line, codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from vecsv.arrays import Waveform
from vecsv.errors import TrainingError
from vecsv.training.augmentation.codecs import Codecs
from vecsv.training.augmentation.gain import Gain
from vecsv.training.augmentation.noise import Babble, Noise, Voice
from vecsv.training.augmentation.rooms import Rooms
from vecsv.training.augmentation.sounds import Sounds
from vecsv.training.augmentation.telephone import Telephone
from vecsv.training.augmentation.waves import limit_peak
from vecsv.training.specs import AugmentationSpec

Effect: TypeAlias = Callable[[Waveform, np.random.Generator], Waveform]


class Augmenter:
    """Does to a crop what a configuration asks for; nothing is drawn but from the generator of the call.

    First the room, then noise, then babble, then the gain, then the telephone, then the codec, each with its own
    probability and independently of the others. Whenever one of them brings a peak above 1, the whole crop is turned
    down until its peak is 1; nothing is clipped. Speed and the bars of SpecAugment are not its business: the first is
    part of reading a crop, the second of its features.

    Parameters
    ----------
    spec : AugmentationSpec
        What is done, and how often.
    sample_rate : int
        Of all crops, in Hz.
    noise, rooms : Sounds, optional
        Recorded noises and room responses, needed where `spec` has such an effect.
    babble : callable, optional
        ``babble(samples, generator)`` gives one voice of the corpus, float32 ``(samples,)`` at `sample_rate`; needed
        where `spec` has babble. For spawned processes it has to be picklable, as the augmenter then is.

    Raises
    ------
    TrainingError
        When sounds are needed and not given, or the installed libsndfile cannot write a codec.
    ValueError
        When babble is needed and not given.

    Examples
    --------
    >>> from vecsv.training.specs import GainSpec
    >>> augmenter = Augmenter(AugmentationSpec(gain=GainSpec(1.0, (-6.0, 0.0))), sample_rate=16000)
    >>> crop = np.ones(4, np.float32)
    >>> twice = [augmenter(crop, np.random.default_rng(7)) for _ in range(2)]
    >>> bool((twice[0] == twice[1]).all()), bool((twice[0] == crop).all())
    (True, False)
    """

    def __init__(
        self,
        spec: AugmentationSpec,
        *,
        sample_rate: int,
        noise: Sounds | None = None,
        rooms: Sounds | None = None,
        babble: Voice | None = None,
    ) -> None:
        self._effects = tuple(_effects(spec, sample_rate, noise, rooms, babble))

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        """Return a crop with some of the effects.

        Parameters
        ----------
        wave : ndarray
            Float32 ``(samples,)``, finite; it is not changed.
        generator : Generator
            What everything is drawn from; equal states give equal results.

        Returns
        -------
        ndarray
            Float32 ``(samples,)``, finite; where no effect was drawn, the same array.

        Raises
        ------
        TrainingError
            When a noise or room response cannot be decoded.
        """
        for probability, effect in self._effects:
            if generator.random() < probability:
                wave = limit_peak(effect(wave, generator))
        return wave


def _effects(
    spec: AugmentationSpec, sample_rate: int, noise: Sounds | None, rooms: Sounds | None, babble: Voice | None
) -> Iterator[tuple[float, Effect]]:
    """Each effect that a spec has, with its probability, in order."""
    if spec.room is not None:
        if rooms is None:
            raise _not_given("room", "room responses", "--rooms")
        yield spec.room.probability, Rooms(rooms, sample_rate)
    if spec.noise is not None:
        if noise is None:
            raise _not_given("noise", "noises", "--noise")
        yield spec.noise.probability, Noise(spec.noise, noise, sample_rate)
    if spec.babble is not None:
        if babble is None:
            raise ValueError("babble is asked for, but there is nobody to draw voices from")
        yield spec.babble.probability, Babble(spec.babble, babble)
    if spec.gain is not None:
        yield spec.gain.probability, Gain(spec.gain)
    if spec.telephone is not None:
        yield spec.telephone.probability, Telephone(sample_rate)
    if spec.codec is not None:
        yield spec.codec.probability, Codecs(spec.codec, sample_rate)


def _not_given(effect: str, sounds: str, option: str) -> TrainingError:
    return TrainingError(
        f"it asks for {sounds}, but no folder of them is given",
        where=f"augmentation.{effect}",
        hint=f"give one by {option}, or set this to null",
    )
