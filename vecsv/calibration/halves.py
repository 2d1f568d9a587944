"""Sampling trials within two halves of the speakers, or from all of them where there are too few for halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags
from vecsv.calibration.pairs import PairSample, sample_pairs
from vecsv.calibration.record import Basis
from vecsv.calibration.split import split_speakers
from vecsv.calibration.utterances import Utterances
from vecsv.errors import CalibrationError

#: Speakers with target pairs that a half takes: of fewer, a bootstrap by speaker says next to nothing.
SPEAKERS_A_HALF = 4


@dataclass(frozen=True)
class SamplingRules:
    """How pairs are sampled; see `vecsv.calibration.run.CalibrateSettings`."""

    seed: int
    ratio: int
    per_speaker: int
    cross_session: bool


@dataclass(frozen=True, eq=False)
class HalvedSample:
    """Pairs of utterances, none of them across the halves.

    Attributes
    ----------
    first, second : int64 ``(pairs,)``
        Positions in the utterances.
    label, same_session : bool ``(pairs,)``
        As of `vecsv.calibration.pairs.PairSample`.
    held_out : bool ``(pairs,)``
        True where both speakers are of the held-out half; all False where there are no halves.
    basis : Basis
        What there was, what was taken, what was left out, of both halves together.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    label: Flags
    same_session: Flags
    held_out: Flags
    basis: Basis


def sample_halves(utterances: Utterances, rules: SamplingRules) -> HalvedSample:
    """Sample pairs within each half of the speakers.

    Where a half would have fewer than `SPEAKERS_A_HALF` speakers with target pairs, or no non-target pairs, the pairs
    are sampled from all speakers instead.

    Raises
    ------
    CalibrationError
        As `vecsv.calibration.pairs.sample_pairs`, when all speakers together give no pairs of a kind.
    """
    held_out = split_speakers(utterances.speakers, rules.seed)
    sampled = []
    for half in (~held_out, held_out):
        positions = np.flatnonzero(half)
        sample = _sample_if_enough(utterances, positions, rules)
        if sample is None:
            everybody = np.arange(utterances.speakers.size)
            return _joined(utterances, [(everybody, _sample(utterances, everybody, rules))], 0)
        sampled.append((positions, sample))
    return _joined(utterances, sampled, int(np.count_nonzero(held_out)) * int(np.count_nonzero(~held_out)))


def speakers_with_targets(first_speakers: NDArray[np.int64], targets: Flags) -> int:
    """How many speakers have a target pair.

    Examples
    --------
    >>> speakers_with_targets(np.array([7, 7, 8, 9]), np.array([True, True, True, False]))
    2
    """
    return int(np.unique(first_speakers[targets]).size)


def _sample_if_enough(utterances: Utterances, half: NDArray[np.int64], rules: SamplingRules) -> PairSample | None:
    try:
        sample = _sample(utterances, half, rules)
    except CalibrationError:
        return None
    enough = speakers_with_targets(utterances.speakers[half[sample.first]], sample.label) >= SPEAKERS_A_HALF
    return sample if enough else None


def _sample(utterances: Utterances, members: NDArray[np.int64], rules: SamplingRules) -> PairSample:
    return sample_pairs(
        utterances.speakers[members],
        seed=rules.seed,
        ratio=rules.ratio,
        per_speaker_cap=rules.per_speaker,
        sessions=utterances.sessions[members],
        recordings=utterances.recordings[members],
        start=utterances.start_s[members],
        end=utterances.end_s[members],
        cross_session=rules.cross_session,
    )


def _joined(utterances: Utterances, sampled: list[tuple[NDArray[np.int64], PairSample]], across: int) -> HalvedSample:
    samples = [sample for _, sample in sampled]
    label = np.concatenate([sample.label for sample in samples])
    same_session = np.concatenate([sample.same_session for sample in samples])
    tallies = [tally for sample in samples for tally in (sample.targets, sample.non_targets)]
    basis = Basis(
        speakers=len(np.unique(utterances.speakers)),
        utterances=len(utterances.speakers),
        targets=int(np.count_nonzero(label)),
        non_targets=int(np.count_nonzero(~label)),
        targets_available=sum(sample.targets.available for sample in samples),
        non_targets_available=sum(sample.non_targets.available for sample in samples),
        same_session_targets=int(np.count_nonzero(same_session & label)),
        utterances_without_session=int((utterances.sessions < 0).sum()),
        speakers_capped=sum(sample.speakers_capped for sample in samples),
        left_out={
            "overlapping cuts of one recording": sum(tally.overlapping for tally in tallies),
            "same session": sum(tally.same_session for tally in tallies),
            "utterances whose session is unknown": sum(sample.without_session for sample in samples),
            "pairs of a speaker to fit on and one held out": across,
        },
        ratio_asked=samples[0].ratio_asked,
        ratio_reached=float(np.count_nonzero(~label) / np.count_nonzero(label)),
        seed=samples[0].seed,
        generator=samples[0].generator,
    )
    return HalvedSample(
        first=np.concatenate([members[sample.first] for members, sample in sampled]),
        second=np.concatenate([members[sample.second] for members, sample in sampled]),
        label=label,
        same_session=same_session,
        held_out=np.repeat(np.arange(len(samples)) == 1, [sample.label.size for sample in samples]),
        basis=basis,
    )
