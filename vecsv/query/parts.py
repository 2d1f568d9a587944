"""Queries for the people in one recording: one for each speaker of a diarisation, or one for each channel."""

from __future__ import annotations

from pathlib import Path

from vecsv.audio.decode import Clip, channels
from vecsv.audio.quality import MIN_DURATION_S
from vecsv.query.ask import Query
from vecsv.rttm import turns_of_file
from vecsv.stretches import stretches_by_speaker


def query_each_speaker(recording: Path, rttm: Path, *, channel: int | None = None) -> list[Query]:
    """One query for each speaker of an RTTM file, named ``<recording>#speaker=NAME``, in the order they first speak.

    A speaker's vector is the speech-weighted mean over the stretches in which nobody else speaks.

    Parameters
    ----------
    recording : Path
    rttm : Path
        Its turns are those of the recording's file id, or all where they are of one file only.
    channel : int, optional
        1-based channel; by default those of the turns where they are on several, else all mixed down.

    Raises
    ------
    ManifestError
        When the RTTM file has no turns of the recording, or a line that cannot be read.
    """
    queries = []
    turns = turns_of_file(rttm, recording)
    for name, heard in stretches_by_speaker(turns, shortest_s=MIN_DURATION_S).items():
        note = f"{recording}: {name} never speaks alone, so the others are heard in the answer too"
        queries.append(
            Query(
                clip=Clip(recording, channel),
                name=f"{recording}#speaker={name}",
                stretches=tuple(
                    Clip(recording, one.channel if channel is None else channel, one.start_s, one.end_s)
                    for one in heard.stretches
                ),
                notes=(note,) if heard.overlapped else (),
            )
        )
    return queries


def query_each_channel(recording: Path) -> list[Query]:
    """One query for each channel of a recording, named ``<recording>#channel=N``.

    Raises
    ------
    AudioError
        When the recording cannot be read.
    """
    return [
        Query(Clip(recording, channel), f"{recording}#channel={channel}")
        for channel in range(1, channels(recording) + 1)
    ]
