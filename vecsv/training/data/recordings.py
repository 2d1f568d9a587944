"""Recordings to train on: what their headers tell, and which of them cannot be used.

Nothing is decoded here but what has no length in its header.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

from vecsv.audio.decode import Clip, extent, mono_chunks, open_source
from vecsv.audio.files import printable
from vecsv.audio.source import Source
from vecsv.errors import AudioError, TrainingError
from vecsv.manifest import BadRow, ManifestRow, read_manifest
from vecsv.training.data.table import Recording, RecordingTable

__all__ = ["BadFile", "Corpus", "Recording", "read_corpus"]

_ROWS_AT_A_TIME: Final = 1024
_NAMED_IN_AN_ERROR: Final = 3


@dataclass(frozen=True, slots=True)
class BadFile:
    """A row of the manifest that gives no recording.

    Attributes
    ----------
    line : int
        Where it stands in the manifest, counted from 1.
    path : str
        The file, as one line of text; the row itself where it names none.
    reason : str
        Why, as a phrase.
    """

    line: int
    path: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """Recordings and their speakers.

    Attributes
    ----------
    recordings : tuple of Recording
        In the manifest's order.
    speakers : tuple of str
        Sorted, each with a recording at least.
    bad : tuple of BadFile
        Rows whose file is missing or damaged, or that are no rows.
    short : tuple of BadFile
        Rows that were refused for their length; there is nothing wrong with those.
    """

    recordings: tuple[Recording, ...]
    speakers: tuple[str, ...]
    bad: tuple[BadFile, ...] = ()
    short: tuple[BadFile, ...] = ()

    @classmethod
    def of(
        cls, recordings: Iterable[Recording], *, bad: Iterable[BadFile] = (), short: Iterable[BadFile] = ()
    ) -> Corpus:
        """Make a corpus of recordings, with the speakers that these have."""
        kept = tuple(recordings)
        return cls(kept, tuple(sorted({recording.speaker for recording in kept})), tuple(bad), tuple(short))

    @cached_property
    def duration_s(self) -> float:
        """Length of all recordings, in seconds."""
        return math.fsum(recording.duration_s for recording in self.recordings)

    @cached_property
    def packed(self) -> RecordingTable:
        """The recordings as worker processes should get them."""
        return RecordingTable(self.recordings)

    @cached_property
    def narrow(self) -> int:
        """How many recordings have a lower sampling rate than the network."""
        return sum(recording.narrow for recording in self.recordings)


def read_corpus(
    manifest: Path,
    *,
    sample_rate: int,
    min_s: float,
    most_bad: float = 0.01,
    progress: Callable[[int], object] | None = None,
) -> Corpus:
    r"""Read the headers of all recordings of a manifest.

    A format whose header tells no length (MP3, and what needs ffmpeg) is decoded once, to count.

    Parameters
    ----------
    manifest : Path
        With speakers.
    sample_rate : int
        Of the network, in Hz; recordings below it are marked.
    min_s : float
        Shorter recordings are refused. They are listed, but are no bad files: how long is long enough is a choice.
    most_bad : float
        How many of the rows may be unusable, in [0, 1].
    progress : callable, optional
        Called with the number of rows read so far, now and then.

    Returns
    -------
    Corpus

    Raises
    ------
    ManifestError
        When the manifest itself cannot be read.
    TrainingError
        When more rows than `most_bad` give no recording, or none is left.

    Examples
    --------
    >>> import tempfile, numpy as np, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(Path(folder, "a.wav"), np.zeros(24000), 8000)
    ...     manifest = Path(folder, "train.tsv")
    ...     _ = manifest.write_text("a.wav\tann\n")
    ...     corpus = read_corpus(manifest, sample_rate=16000, min_s=0.5)
    >>> corpus.speakers, corpus.duration_s, corpus.narrow
    (('ann',), 3.0, 1)
    """
    recordings: list[Recording] = []
    bad: list[BadFile] = []
    short: list[BadFile] = []
    rows = 0
    lines: dict[str, int] = {}
    for row, outcome in _headers(read_manifest(manifest), sample_rate):
        rows += 1
        if isinstance(outcome, BadFile):
            bad.append(outcome)
        elif (first := lines.setdefault(outcome.utt_id, row.line)) != row.line:
            reason = f'a second recording of the name "{outcome.utt_id}", the first is in row {first}'
            bad.append(BadFile(row.line, printable(outcome.path), reason))
        elif outcome.duration_s < min_s:
            # Rounded down, so that 0.4999 s is not called 0.50.
            shown = math.floor(outcome.duration_s * 1000) / 1000
            short.append(BadFile(row.line, printable(outcome.path), f"{shown:g} s long, shorter than {min_s:g} s"))
        else:
            recordings.append(outcome)
        if progress is not None and rows % _ROWS_AT_A_TIME == 0:
            progress(rows)
    if progress is not None:
        progress(rows)
    if len(bad) > most_bad * rows:
        raise TrainingError(
            f"{len(bad)} of {rows} rows ({len(bad) / rows:.1%}) give no recording, at most {most_bad:.0%} may: "
            + _some(bad),
            where=str(manifest),
            hint="mend or remove these rows",
        )
    if not recordings:
        raise TrainingError(f"no recording can be used: {_some([*bad, *short])}", where=str(manifest))
    return Corpus.of(recordings, bad=bad, short=short)


def _headers(
    rows: Iterable[ManifestRow | BadRow], sample_rate: int
) -> Iterator[tuple[ManifestRow | BadRow, Recording | BadFile]]:
    """What each row gives, in order; many files are opened at a time, which is what helps on a network's disk."""
    remaining = iter(rows)
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as threads:
        # A part at a time: an executor takes everything in at once, and a list may be long.
        while part := list(islice(remaining, _ROWS_AT_A_TIME)):
            yield from zip(part, threads.map(lambda row: _header(row, sample_rate), part), strict=True)


def _header(row: ManifestRow | BadRow, sample_rate: int) -> Recording | BadFile:
    if isinstance(row, BadRow):
        return BadFile(row.line, row.text, row.reason)
    clip = Clip(row.path, row.channel, row.start_s, row.end_s)
    where = printable(row.path)
    try:
        with closing(open_source(row.path)) as source:
            start, stop = _frames(clip, source, where)
            rate = source.rate
    except AudioError as failure:
        return BadFile(row.line, where, failure.what)
    return Recording(row.utt_id, row.path, row.channel, row.speaker, rate, start, stop, rate < sample_rate)


def _frames(clip: Clip, source: Source, where: str) -> tuple[int, int]:
    start, stop = extent(clip, source, where)
    if source.frames is None:
        stop = start + sum(chunk.size for chunk in mono_chunks(clip, source, start, stop, where))
    else:
        # A cut may end a little beyond its recording, as lists of segments do that round up.
        stop = source.frames if stop is None else min(stop, source.frames)
    if stop <= start:
        raise AudioError("no-samples", "holds no samples", where=where)
    return start, stop


def _some(files: list[BadFile]) -> str:
    named = "; ".join(f"row {file.line}, {file.path}: {file.reason}" for file in files[:_NAMED_IN_AN_ERROR])
    return named + (f"; and {len(files) - _NAMED_IN_AN_ERROR} more" if len(files) > _NAMED_IN_AN_ERROR else "")
