"""Two halves of the speakers: thresholds are placed on one and their error rates reported on the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vecsv.arrays import Flags
from vecsv.errors import CalibrationError, UsageError


def split_speakers(codes: ArrayLike, seed: int) -> Flags:
    """Choose the speakers of the held-out half, so that both halves are alike in speakers and in utterances.

    Speakers are shuffled, sorted by how many utterances they have, and taken two at a time: one goes into each half,
    the larger one into the half that has fewer utterances so far, a coin deciding where that leaves a choice.

    Parameters
    ----------
    codes : array_like of int, shape (n,)
        A code for the speaker of each utterance, in any order.
    seed : int
        Not negative. The order of the utterances does not matter; the codes do.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for the utterances of the held-out speakers: half of the speakers, rounded down.

    Raises
    ------
    CalibrationError
        If the codes are not integers in one dimension.
    UsageError
        If the seed is negative.

    Examples
    --------
    >>> held_out = split_speakers([7, 7, 8, 8, 9, 9, 4, 4], seed=0)
    >>> int(held_out.sum()), bool((held_out[0::2] == held_out[1::2]).all())
    (4, True)
    """
    if seed < 0:
        raise UsageError(f"the seed must not be negative, it is {seed}")
    given = np.asarray(codes)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise CalibrationError(f"speaker codes must be integers in one dimension, not {given.dtype} {given.shape}")
    _, speaker, utterances = np.unique(given, return_inverse=True, return_counts=True)
    random = np.random.default_rng(seed)
    shuffled = random.permutation(utterances.size)
    order = shuffled[np.argsort(-utterances[shuffled], kind="stable")]
    held_out = np.zeros(utterances.size, np.bool_)
    lead = 0  # Utterances that the fit half has more than the held-out half.
    for larger, smaller in zip(order[0::2], order[1::2], strict=False):
        coin = bool(random.integers(2))
        gap = int(utterances[larger] - utterances[smaller])
        larger_is_held_out = lead > 0 if gap and lead else coin
        held_out[larger if larger_is_held_out else smaller] = True
        lead += -gap if larger_is_held_out else gap
    return np.asarray(held_out[speaker])
