"""Which pairs of utterances to score for calibration: targets and, ninety-nine times as many, non-targets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecsv.arrays import Flags
from vecsv.calibration.counts import exact_number
from vecsv.calibration.overlaps import overlapping_cuts
from vecsv.calibration.populations import (
    Blocks,
    Groups,
    Population,
    Positions,
    draw_distinct,
)
from vecsv.errors import CalibrationError, UsageError


@dataclass(frozen=True)
class PairTally:
    """How many pairs of one kind there were and where they went.

    Attributes
    ----------
    available : int
        Pairs that could have been taken, before any cap.
    taken : int
        Pairs in the sample.
    overlapping : int
        Left out: cuts of one recording that share some of its time.
    same_session : int
        Left out on request: cuts that do not overlap, of one session.
    """

    available: int
    taken: int
    overlapping: int
    same_session: int


@dataclass(frozen=True, eq=False)
class PairSample:
    """The sampled pairs, targets first, and how they were come by.

    Attributes
    ----------
    first, second : ndarray of int64, shape (pairs,)
        Positions in the arrays that were given, ``first < second``.
    label : ndarray of bool, shape (pairs,)
        True for pairs of one speaker.
    same_session : ndarray of bool, shape (pairs,)
        True where both sessions are known and the same.
    targets, non_targets : PairTally
        What there was, what was taken, what was left out.
    speakers_capped : int
        Speakers with more target pairs than the cap lets in.
    without_session : int
        Utterances that are in no pair because pairs across sessions were asked for and theirs is unknown.
    ratio_asked : float
        Non-targets a target, as asked.
    ratio_reached : float
        Non-targets a target, as sampled; less than asked where there were no more.
    seed : int
        Seed of the draw.
    generator : str
        The random generator, with its version: another version may draw other pairs from the same seed.
    """

    first: Positions
    second: Positions
    label: Flags
    same_session: Flags
    targets: PairTally
    non_targets: PairTally
    speakers_capped: int
    without_session: int
    ratio_asked: float
    ratio_reached: float
    seed: int
    generator: str


def sample_pairs(
    speakers: ArrayLike,
    *,
    seed: int,
    ratio: float = 99,
    per_speaker_cap: int | None = 200,
    max_targets: int | None = 50_000,
    sessions: ArrayLike | None = None,
    recordings: ArrayLike | None = None,
    start: ArrayLike | None = None,
    end: ArrayLike | None = None,
    cross_session: bool = False,
) -> PairSample:
    """Sample target and non-target pairs, uniformly and without replacement.

    An utterance is never paired with itself, nor with a cut of the same recording that overlaps it. Memory is
    proportional to the number of utterances, of sampled pairs and of overlapping pairs, never to the number of pairs
    there are.

    Parameters
    ----------
    speakers : array_like of int, shape (n,)
        A code for the speaker of each utterance, in any order; not negative.
    seed : int
        Equal input and an equal seed give equal pairs, with one version of NumPy.
    ratio : float
        Non-targets to take for each target, above 0; where there are not so many, all are taken.
    per_speaker_cap : int or None
        The most target pairs of one speaker, so that none dominates.
    max_targets : int or None
        The most target pairs in all, drawn evenly from what the cap lets in.
    sessions : array_like of int, shape (n,), optional
        A code for the session of each utterance, -1 where it is unknown.
    recordings : array_like of int, shape (n,), optional
        A code for the recording each utterance is cut from, -1 where it is unknown.
    start, end : array_like of float, shape (n,), optional
        Where in its recording each utterance lies, in seconds; without them each is the whole recording. An `end`
        may be ``inf``.
    cross_session : bool
        Take only pairs from two different, known sessions. Same-session pairs flatter.

    Returns
    -------
    PairSample
        At least one pair of each kind.

    Raises
    ------
    CalibrationError
        If no target or no non-target pair is left, or if the arrays do not describe utterances.
    UsageError
        If a number is out of range.

    Examples
    --------
    >>> sample = sample_pairs([7, 7, 7, 8, 8], seed=1)
    >>> sample.targets.taken, sample.non_targets.taken, sample.ratio_reached
    (4, 6, 1.5)
    """
    _check_numbers(seed, per_speaker_cap, max_targets)
    exact_ratio = exact_number(ratio, "the ratio")
    codes = _codes("speaker", speakers)
    if codes.size and codes.min() < 0:
        raise CalibrationError("the speaker is unknown", where=f"utterance {int(np.argmin(codes >= 0))}")
    session = _codes("session", sessions, codes.size)
    recording = _codes("recording", recordings, codes.size)
    begin_s, end_s = _cuts(start, end, codes.size)

    eligible = np.flatnonzero(session >= 0) if cross_session else np.arange(codes.size)
    order = eligible[np.lexsort((session[eligible], codes[eligible]))]
    ordered = _Utterances(
        codes[order],
        session[order],
        overlapping_cuts(recording[order], begin_s[order], end_s[order]),
        cross_session,
    )
    targets, targets_left_out = ordered.targets()
    non_targets, non_targets_left_out = ordered.non_targets()
    if not len(targets) or not len(non_targets):
        raise _nothing_left(targets_left_out, non_targets_left_out, codes.size - order.size, none=not len(targets))

    generator = np.random.PCG64(seed)
    random = np.random.Generator(generator)
    sizes = targets.sizes(Blocks.of(ordered.speaker).bounds)
    wanted = _shares(random, sizes, per_speaker_cap, max_targets)
    target_numbers = draw_distinct(random, sizes, wanted)
    asked = max(1, math.floor(exact_ratio * target_numbers.size))
    non_target_count = min(len(non_targets), asked)
    non_target_numbers = draw_distinct(random, np.array([len(non_targets)]), np.array([non_target_count]))

    drawn = targets.pairs(target_numbers), non_targets.pairs(non_target_numbers)
    one, other = (order[np.concatenate(members)] for members in zip(*drawn, strict=True))
    return PairSample(
        first=np.minimum(one, other),
        second=np.maximum(one, other),
        label=np.arange(one.size) < target_numbers.size,
        same_session=(session[one] == session[other]) & (session[one] >= 0),
        targets=PairTally(len(targets), target_numbers.size, *targets_left_out),
        non_targets=PairTally(len(non_targets), non_target_count, *non_targets_left_out),
        speakers_capped=int(np.count_nonzero(sizes > per_speaker_cap)) if per_speaker_cap is not None else 0,
        without_session=codes.size - order.size,
        ratio_asked=ratio,
        ratio_reached=non_target_count / target_numbers.size,
        seed=seed,
        generator=f"numpy {np.__version__} {type(generator).__name__}",
    )


@dataclass(frozen=True, eq=False)
class _Utterances:
    """Utterances sorted by speaker and then session, with the pairs of positions that overlap."""

    speaker: Positions
    session: Positions
    overlaps: tuple[Positions, Positions]
    cross_session: bool

    def targets(self) -> tuple[Population, tuple[int, int]]:
        """Pairs of one speaker, and how many were left out: overlapping, same session."""
        same_speaker = Blocks.of(self.speaker)
        following = np.arange(1, self.speaker.size + 1)
        if not self.cross_session:
            return self._without_overlaps(Population.between(following, same_speaker.end), 0, of_one_speaker=True)
        both = Blocks.of(self.speaker, self.session)
        population = Population.between(both.end, same_speaker.end)
        same_session = int((both.end - following).sum())
        return self._without_overlaps(population, same_session, of_one_speaker=True)

    def non_targets(self) -> tuple[Population, tuple[int, int]]:
        """Pairs of two speakers, and how many were left out: overlapping, same session."""
        next_speaker = Blocks.of(self.speaker).end
        last = np.full_like(next_speaker, self.speaker.size)
        if not self.cross_session:
            return self._without_overlaps(Population.between(next_speaker, last), 0, of_one_speaker=False)
        sessions = Groups(self.session)
        population = Population.between(next_speaker, last, sessions)
        same_session = int(sessions.at_or_after(np.arange(last.size), next_speaker).sum())
        return self._without_overlaps(population, same_session, of_one_speaker=False)

    def _without_overlaps(
        self, population: Population, same_session: int, *, of_one_speaker: bool
    ) -> tuple[Population, tuple[int, int]]:
        one, other = self.overlaps
        of_this_kind = (self.speaker[one] == self.speaker[other]) == of_one_speaker
        gone_already = of_this_kind & (self.session[one] == self.session[other]) & self.cross_session
        left_out = of_this_kind & ~gone_already
        counts = int(np.count_nonzero(of_this_kind)), same_session - int(np.count_nonzero(gone_already))
        return population.without(one[left_out], other[left_out]), counts


def _shares(
    random: np.random.Generator, sizes: Positions, per_speaker_cap: int | None, max_targets: int | None
) -> Positions:
    """How many target pairs to draw from each speaker, who has `sizes` of them."""
    wanted = sizes if per_speaker_cap is None else np.minimum(sizes, per_speaker_cap)
    total = int(wanted.sum())
    if max_targets is None or total <= max_targets:
        return wanted
    # A draw from all the places that the speakers' draws would fill: no speaker is favoured.
    places = draw_distinct(random, np.array([total]), np.array([max_targets]))
    return np.diff(np.searchsorted(places, np.concatenate([[0], np.cumsum(wanted)])))


def _nothing_left(
    targets: tuple[int, int], non_targets: tuple[int, int], without_session: int, *, none: bool
) -> CalibrationError:
    kind, (overlapping, same_session) = ("target", targets) if none else ("non-target", non_targets)
    need = "a speaker with two recordings" if none else "two speakers"
    return CalibrationError(
        f"there is no {kind} pair: {overlapping} overlap, {same_session} are of one session, "
        f"{without_session} utterances are without a session",
        hint=f"it takes {need}" + (", in different sessions" if same_session or without_session else ""),
    )


def _check_numbers(seed: int, per_speaker_cap: int | None, max_targets: int | None) -> None:
    if seed < 0:
        raise UsageError(f"the seed must not be negative, it is {seed}")
    for name, number in (("cap per speaker", per_speaker_cap), ("number of targets", max_targets)):
        if number is not None and number < 1:
            raise UsageError(f"the {name} must be at least 1, it is {number}")


def _codes(name: str, values: ArrayLike | None, size: int | None = None) -> Positions:
    """Integer codes of one kind; all unknown where there are none."""
    if values is None:
        return np.full(size or 0, -1, dtype=np.int64)
    codes = np.asarray(values)
    if codes.size and not np.issubdtype(codes.dtype, np.integer):
        raise CalibrationError(f"{name} codes must be integers, not {codes.dtype}")
    _check_shape(f"{name} codes", codes.shape, size)
    return codes.astype(np.int64)


def _cuts(start: ArrayLike | None, end: ArrayLike | None, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    begins = np.zeros(size) if start is None else np.asarray(start, dtype=np.float64)
    ends = np.full(size, np.inf) if end is None else np.asarray(end, dtype=np.float64)
    _check_shape("starts", begins.shape, size)
    _check_shape("ends", ends.shape, size)
    empty = ~(np.isfinite(begins) & (begins < ends))
    if empty.any():
        first = int(np.argmax(empty))
        raise CalibrationError(
            f"start {begins[first]} s and end {ends[first]} s enclose nothing", where=f"utterance {first}"
        )
    return begins, ends


def _check_shape(name: str, shape: tuple[int, ...], size: int | None) -> None:
    if len(shape) != 1 or (size is not None and shape[0] != size):
        raise CalibrationError(f"{name} have shape {shape}, not one for each of {size} utterances")
