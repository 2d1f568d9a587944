"""Decoding with the program ``ffmpeg``, for formats that libsndfile does not know (m4a, webm, wma, ...).

The program writes 32-bit floats at the recording's own rate and channels into a pipe, as a Sun AU stream: its
header is six big-endian numbers (magic, offset of the data, size, encoding, rate, channels) and, unlike a
WAV's, needs no length that a stream cannot know. Source: Sun Microsystems, audio file format, as in
``audio(4)``.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

import numpy as np
from numpy.typing import NDArray

from vecsv.audio.files import printable
from vecsv.audio.source import CHUNK_VALUES
from vecsv.errors import AudioError

_HEADER: Final = struct.Struct(">4s5I")
_MAGIC: Final = b".snd"
_FLOAT_ENCODING: Final = 6
_SAMPLE_BYTES: Final = 4
# What holds its audio itself. A playlist (hls, dash, concat, imf, ...) would open other files of this machine, and is
# recognised by its content whatever it is called and whatever stands around it.
_FORMATS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,nut,ogg,oma,qcp,rm,shn,tak,tta,voc,w64,wav,wv,xwma"
)
# ffmpeg ends with success when a file stops in the middle; these are its words for what the container missed.
_CUT_SHORT: Final = ("partial file", "ended prematurely")


class FfmpegSource:
    """A recording that ffmpeg decodes, in a process that ends when this is closed.

    Parameters
    ----------
    program : str
        Path of the ``ffmpeg`` executable.
    path : Path
        A file that exists and may be read.

    Raises
    ------
    AudioError
        ``not-audio`` when ffmpeg finds no audio in it.
    """

    def __init__(self, program: str, path: Path) -> None:
        self._path = path
        self._counted: int | None = None
        # A file, because nobody reads along: a pipe could fill up and block the program.
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        command = [program, "-nostdin", "-v", "error"]
        # Playlists and the like may point anywhere: nothing but this file, on this machine, is to be read.
        command += ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS, "-i", f"file:{path.absolute()}"]
        command += ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._messages
            )
        except OSError as failure:
            self._messages.close()
            raise AudioError(
                "needs-ffmpeg", f"ffmpeg cannot be started: {failure.strerror}", where=printable(path)
            ) from failure
        self._pipe = cast("IO[bytes]", self._process.stdout)
        try:
            self._rate, self._channels = self._read_header()
        except BaseException:
            self.close()
            raise

    @property
    def rate(self) -> int:
        """Sampling rate, in Hz."""
        return self._rate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self._channels

    @property
    def frames(self) -> int | None:
        """None until the end is reached: a stream does not say how long it will be."""
        return self._counted

    def chunks(self, start: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        """Decode the frames from `start` to before `stop`; see `Source`.

        What lies before `start` is decoded too: seeking in compressed formats is not exact to the sample.
        """
        frame_bytes = _SAMPLE_BYTES * self._channels
        size = max(1, CHUNK_VALUES // self._channels) * frame_bytes
        position = 0
        while stop is None or position < stop:
            wanted = size if stop is None else min(size, (stop - position) * frame_bytes)
            data = self._pipe.read(wanted)
            count = len(data) // frame_bytes
            if not count:
                self._check_end(position)
                return
            position += count
            if position > start:
                values = np.frombuffer(data, dtype=">f4", count=count * self._channels)
                chunk = values.astype(np.float32).reshape(count, self._channels)
                yield chunk[max(0, count - (position - start)) :]

    def close(self) -> None:
        """End the process, if it has not ended by itself, and reap it."""
        self._pipe.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._messages.close()

    def _read_header(self) -> tuple[int, int]:
        header = self._pipe.read(_HEADER.size)
        if len(header) == _HEADER.size:
            magic, offset, _, encoding, rate, channels = _HEADER.unpack(header)
            if (magic, encoding) == (_MAGIC, _FLOAT_ENCODING) and rate and channels:
                self._pipe.read(offset - _HEADER.size)
                return rate, channels
        raise AudioError("not-audio", "no audio can be found in it", where=printable(self._path))

    def _check_end(self, position: int) -> None:
        if self._process.wait() != 0 or any(words in self._said() for words in _CUT_SHORT):
            raise AudioError(
                "truncated",
                f"damaged or cut short: it breaks off after {position / self._rate:.2f} s",
                where=printable(self._path),
            )
        self._counted = position

    def _said(self) -> str:
        self._messages.seek(0)
        return self._messages.read().decode("utf-8", errors="replace")
