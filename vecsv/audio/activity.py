"""Which parts of a recording are speech, by the WebRTC voice activity detector.

The detector looks at windows of 30 ms at 16 kHz, after the volume was raised to -30 dBFS. Its raw decisions
are kept as they are (they say how much speech there is); what stays after trimming long silences is derived
from them by smoothing and dilation.

The settings are those of the GE2E encoder in the package ``resemblyzer`` 0.1.4 (``resemblyzer/audio.py`` and
``hparams.py``), which was trained on recordings trimmed this way; the detector is that of the WebRTC project,
as packaged in ``webrtcvad-wheels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from vecsv.arrays import Flags, Waveform

SAMPLE_RATE: Final = 16000
"""Rate the detector works at, in Hz."""

WINDOW_SAMPLES: Final = 480
"""Length of one decision, in samples."""

WINDOW_SECONDS: Final = 0.03
"""Length of one decision, in seconds."""

TARGET_DBFS: Final = -30.0
"""Level that quiet recordings are raised to, in dB relative to full scale."""

_AGGRESSIVENESS: Final = 3
_SMOOTHING_WINDOWS: Final = 8
_REACH_WINDOWS: Final = 3
_FULL_SCALE: Final = 32767


def raise_volume(waveform: Waveform, target_dbfs: float = TARGET_DBFS) -> Waveform:
    """Raise a quiet waveform to a root mean square level; never lower a loud one.

    Parameters
    ----------
    waveform : ndarray
        Mono float32 ``(samples,)``.
    target_dbfs : float
        The level, in dB relative to a root mean square of 1.

    Returns
    -------
    ndarray
        Float32 ``(samples,)``. Silence, an empty waveform and one that is loud enough are returned as they
        are (the same array).

    Examples
    --------
    >>> quiet = np.full(480, 0.001, dtype=np.float32)
    >>> round(float(raise_volume(quiet, -20.0)[0]), 4)
    0.1
    >>> raise_volume(np.full(480, 0.5, dtype=np.float32))[0]
    np.float32(0.5)
    """
    # Not a dot product: BLAS would start threads for it, which on a busy machine wait for each other.
    power = float(np.square(waveform, dtype=np.float64).sum()) / max(waveform.size, 1)
    if power <= 0.0:
        return waveform
    gain = float(10.0 ** (target_dbfs / 20.0) / np.sqrt(power))
    return waveform if gain <= 1.0 else waveform * np.float32(gain)


@dataclass(frozen=True)
class Activity:
    """The detector's decisions for one waveform.

    Attributes
    ----------
    flags : ndarray
        Bool ``(windows,)``: whether each whole window of 30 ms is speech, as the detector said. Samples at
        the end that fill no window have no decision.

    Examples
    --------
    >>> activity = Activity(np.array([False] * 10 + [True] * 20 + [False] * 10))
    >>> round(activity.speech_s, 2)
    0.6
    >>> int(activity.kept().sum())
    25
    """

    flags: Flags

    @property
    def speech_s(self) -> float:
        """How much of the waveform is speech, in seconds."""
        return float(np.count_nonzero(self.flags)) * WINDOW_SECONDS

    def kept(self) -> Flags:
        """Which windows stay when long silences are trimmed.

        A window is active when more than half of the eight windows from three before it to four after it are
        speech (outside the waveform is silence); active windows keep the three windows on either side of them
        as well.

        Returns
        -------
        ndarray
            Bool ``(windows,)``.
        """
        # An average of exactly one half rounds to even, that is to 0; counts avoid asking floating point
        # about it.
        counts = _sliding_sums(self.flags, before=(_SMOOTHING_WINDOWS - 1) // 2, width=_SMOOTHING_WINDOWS)
        active = counts > _SMOOTHING_WINDOWS // 2
        return dilate(active, _REACH_WINDOWS)


def detect(waveform: Waveform) -> Activity:
    """Decide for each window of 30 ms whether it is speech.

    The waveform's volume is raised first (`raise_volume`), so a quiet copy of a recording gives the same
    decisions. The detector adapts to what it heard before, so every call starts with a fresh one: the result
    depends on nothing but the waveform.

    Parameters
    ----------
    waveform : ndarray
        Mono float32 ``(samples,)`` at 16 kHz, finite.

    Returns
    -------
    Activity
        One decision for each of the ``samples // 480`` whole windows.

    Examples
    --------
    >>> detect(np.zeros(1000, dtype=np.float32)).flags
    array([False, False])
    """
    # Imported here: the wheel's module looks up package metadata, which commands without audio should not
    # wait for.
    import webrtcvad

    windows = waveform.size // WINDOW_SAMPLES
    scaled = raise_volume(waveform)[: windows * WINDOW_SAMPLES] * np.float32(_FULL_SCALE)
    # Clipped, because a peak beyond full scale would wrap around to the other sign.
    np.clip(np.rint(scaled, out=scaled), -_FULL_SCALE - 1, _FULL_SCALE, out=scaled)
    pcm = scaled.astype("<i2").tobytes()
    is_speech = webrtcvad.Vad(_AGGRESSIVENESS).is_speech
    step = 2 * WINDOW_SAMPLES
    decisions = (is_speech(pcm[start : start + step], SAMPLE_RATE) for start in range(0, len(pcm), step))
    return Activity(np.fromiter(decisions, dtype=np.bool_, count=windows))


def keep_mask(waveform: Waveform, activity: Activity) -> Flags:
    """Which samples stay when long silences are trimmed.

    Parameters
    ----------
    waveform : ndarray
        Mono float32 ``(samples,)`` at 16 kHz.
    activity : Activity
        Its decisions, as `detect` gives them.

    Returns
    -------
    ndarray
        Bool ``(samples,)``; samples at the end that fill no window do not stay.

    Raises
    ------
    ValueError
        When the decisions are not those of a waveform of this length.
    """
    _require_match(waveform, activity)
    mask = np.zeros(waveform.size, dtype=np.bool_)
    kept = activity.kept()
    mask[: kept.size * WINDOW_SAMPLES] = np.repeat(kept, WINDOW_SAMPLES)
    return mask


def trim(waveform: Waveform, activity: Activity) -> Waveform:
    """Cut long silences out of a waveform.

    Parameters
    ----------
    waveform : ndarray
        Mono float32 ``(samples,)`` at 16 kHz.
    activity : Activity
        Its decisions, as `detect` gives them.

    Returns
    -------
    ndarray
        Float32 ``(kept windows * 480,)``: the samples of the windows that stay, at the volume they had.

    Raises
    ------
    ValueError
        When the decisions are not those of a waveform of this length.

    Examples
    --------
    >>> silence = np.zeros(16000, dtype=np.float32)
    >>> trim(silence, detect(silence)).size
    0
    """
    _require_match(waveform, activity)
    kept = activity.kept()
    windows = waveform[: kept.size * WINDOW_SAMPLES].reshape(-1, WINDOW_SAMPLES)
    return windows[kept].reshape(-1)


def dilate(flags: Flags, reach: int) -> Flags:
    """Set every flag that has a set one at most `reach` places away.

    Parameters
    ----------
    flags : ndarray
        Bool ``(windows,)``.
    reach : int
        How far a set flag spreads to either side.

    Returns
    -------
    ndarray
        Bool ``(windows,)``; the binary dilation of `flags` by ``2 * reach + 1`` ones.

    Examples
    --------
    >>> dilate(np.array([False, False, True, False, False]), 1)
    array([False,  True,  True,  True, False])
    """
    return _sliding_sums(flags, before=reach, width=2 * reach + 1) > 0


def _require_match(waveform: Waveform, activity: Activity) -> None:
    if activity.flags.size != waveform.size // WINDOW_SAMPLES:
        raise ValueError(f"{activity.flags.size} decisions cannot be those of {waveform.size} samples")


def _sliding_sums(flags: Flags, *, before: int, width: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How many flags are set among the `width` that start `before` ahead of each; outside, none is set."""
    totals = np.zeros(flags.size + width, dtype=np.int64)
    totals[before + 1 : before + 1 + flags.size] = np.cumsum(flags)
    totals[before + 1 + flags.size :] = totals[before + flags.size]
    return totals[width:] - totals[: flags.size]
