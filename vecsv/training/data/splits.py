"""What is kept from training to measure on: parts of speakers for accuracy, whole speakers for verification."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from vecsv.errors import TrainingError
from vecsv.training.data.recordings import Corpus, Recording
from vecsv.training.specs import HELD_OUT


@dataclass(frozen=True)
class Split:
    """A corpus to train on, and what was held out of it.

    Attributes
    ----------
    train : Corpus
        With every speaker that the whole had.
    held_out : tuple of Recording
        Of speakers that the network learns, but never seen by it.
    """

    train: Corpus
    held_out: tuple[Recording, ...]


def hold_out(corpus: Corpus, *, how: str, part: float, min_s: float, seed: int) -> Split:
    """Hold out a part of what each speaker says.

    Parameters
    ----------
    corpus : Corpus
        All of it.
    how : str
        ``"utterances"``: whole recordings of speakers with several, at least one of which stays; ``"tails"``: the end
        of every recording; ``"auto"``: recordings of speakers with several, the end of the others' only one;
        ``"none"``: nothing.
    part : float
        How much of a speaker's recordings, or of a recording's length, in (0, 1).
    min_s : float
        A recording is not cut where one of its pieces would be shorter.
    seed : int
        What recordings are drawn from.

    Returns
    -------
    Split
        Both in the corpus' order.

    Examples
    --------
    >>> from pathlib import Path
    >>> ann = Recording("a.wav", Path("a.wav"), None, "ann", rate=16000, start=0, stop=160000)
    >>> split = hold_out(Corpus.of([ann]), how="auto", part=0.2, min_s=0.5, seed=0)
    >>> split.train.duration_s, split.held_out[0].duration_s
    (8.0, 2.0)
    """
    if how not in HELD_OUT:
        raise TrainingError(f"held_out is {how!r}, this version knows {', '.join(HELD_OUT)}")
    whole: set[int] = set()
    cut: set[int] = set()
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    for _, places in sorted(_places(corpus).items()):
        if how == "tails" or (how == "auto" and len(places) == 1):
            cut.update(places)
        elif how != "none" and len(places) > 1:
            count = min(max(1, round(part * len(places))), len(places) - 1)
            whole.update(places[number] for number in generator.permutation(len(places))[:count].tolist())
    kept: list[Recording] = []
    held_out: list[Recording] = []
    for place, recording in enumerate(corpus.recordings):
        head = recording.stop - round(part * (recording.stop - recording.start))
        shortest = min_s * recording.rate
        if place in whole:
            held_out.append(recording)
        elif place in cut and head - recording.start >= shortest and recording.stop - head >= shortest:
            kept.append(replace(recording, stop=head))
            held_out.append(replace(recording, start=head))
        else:
            kept.append(recording)
    return Split(Corpus.of(kept, bad=corpus.bad, short=corpus.short), tuple(held_out))


def split_speakers(corpus: Corpus, speakers: int, seed: int) -> tuple[Corpus, Corpus]:
    """Take speakers out of a corpus, to measure verification of people that the network has never heard.

    Parameters
    ----------
    corpus : Corpus
        All of it.
    speakers : int
        How many to take out; drawn from those with two recordings or more, since one gives no pair.
    seed : int
        What they are drawn from.

    Returns
    -------
    rest, taken : Corpus
        Both in the corpus' order. What is bad or short in the whole is told by the rest.

    Raises
    ------
    TrainingError
        When there are not that many, or fewer than two would be left to train on.
    """
    several = [speaker for speaker, places in sorted(_places(corpus).items()) if len(places) > 1]
    if speakers > min(len(several), len(corpus.speakers) - 2):
        raise TrainingError(
            f"{speakers} speakers cannot be taken out to measure on: of {len(corpus.speakers)}, {len(several)} have "
            "several recordings, and two speakers have to stay",
            hint="lower dev_speakers, or give --dev a manifest",
        )
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    chosen = {several[number] for number in generator.permutation(len(several))[:speakers].tolist()}
    taken = [recording for recording in corpus.recordings if recording.speaker in chosen]
    rest = [recording for recording in corpus.recordings if recording.speaker not in chosen]
    return Corpus.of(rest, bad=corpus.bad, short=corpus.short), Corpus.of(taken)


def _places(corpus: Corpus) -> dict[str, list[int]]:
    """Where each speaker's recordings are in the corpus."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, recording in enumerate(corpus.recordings):
        places[recording.speaker].append(place)
    return places
