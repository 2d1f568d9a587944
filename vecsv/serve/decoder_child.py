"""What a decoding process does: bytes in, samples out, nothing else.

It is started by `vecsv.serve.decoding.DecoderPool` with a socket as its standard input. What comes back goes through
that socket too, as JSON and plain numbers: nothing a process that handles strangers' bytes says is ever unpickled.

One request is the length of the file (8 bytes, little-endian) and the file. The answer is the length of a JSON object
(4 bytes), the object, and, when it says ``samples``, that many little-endian 32-bit floats.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np

from vecsv.arrays import Waveform
from vecsv.audio import decode
from vecsv.audio.decode import Clip
from vecsv.audio.resample import resample
from vecsv.errors import AudioError

SAMPLE_RATE: Final = 16000
LENGTH: Final = struct.Struct("<Q")
ANSWER_LENGTH: Final = struct.Struct("<I")
READY: Final = b"ready"

_OPEN_FILES: Final = 64
_MIB: Final = 1 << 20
# What ffmpeg has to say about a damaged file goes into a file of its own.
_MESSAGES_BYTES: Final = 1 << 20
# The parent kills a child that takes too long; this is for a child whose parent is gone.
_GRACE_S: Final = 5


@dataclass(frozen=True)
class Decoded:
    """One recording, decoded.

    Attributes
    ----------
    waveform : ndarray
        Mono float32 ``(samples,)`` at 16 kHz.
    channels, sample_rate : int
        Of the file.
    """

    waveform: Waveform
    channels: int
    sample_rate: int


Decode = Callable[[Path, float], Decoded]


def decode_file(path: Path, max_duration_s: float) -> Decoded:
    """Decode a file that may be anything.

    Parameters
    ----------
    path : Path
    max_duration_s : float
        Longest recording, in seconds. A header that promises more is believed at once; what has no header, or one that
        promises less than there is, is decoded no further than this.

    Raises
    ------
    AudioError
        ``too-long``, or as `vecsv.audio.decode.blocks`.
    """
    longest = round(max_duration_s * SAMPLE_RATE)
    parts: list[Waveform] = []
    samples = 0
    with closing(decode.open_source(path)) as source:
        rate, frames = source.rate, source.frames
        if rate < decode.MIN_RATE:
            raise AudioError("not-audio", f"no speech has a sampling rate of {rate} Hz")
        if frames is not None and frames > max_duration_s * rate:
            raise _too_long(f"is {frames / rate:.1f} s long", max_duration_s)
        mono = decode.mono_chunks(Clip(path), source, 0, None, str(path))
        for block in resample(mono, rate, SAMPLE_RATE):
            samples += block.size
            if samples > longest:
                raise _too_long(f"goes on for more than {max_duration_s:g} s", max_duration_s)
            parts.append(block)
        if not samples:
            raise AudioError("no-samples", "too short to hold a sample after resampling")
        return Decoded(np.concatenate(parts), source.channels, rate)


def serve(decoder: Decode = decode_file) -> None:
    """Answer requests from the socket that is this process's standard input, until it is closed."""
    limits: dict[str, float] = json.loads(sys.argv[1])
    _warm_up()
    _confine(limits)
    with socket.socket(fileno=os.dup(0)) as connection, connection.makefile("rwb") as stream:
        stream.write(READY)
        stream.flush()
        while header := stream.read(LENGTH.size):
            data = stream.read(LENGTH.unpack(header)[0])
            _allow_time(limits["cpu_s"], limits["wall_s"])
            answer, samples = _answer(decoder, data, limits["max_duration_s"])
            signal.alarm(0)
            encoded = json.dumps(answer).encode("ascii")
            stream.write(ANSWER_LENGTH.pack(len(encoded)) + encoded)
            stream.write(samples)
            stream.flush()


def _answer(decoder: Decode, data: bytes, max_duration_s: float) -> tuple[dict[str, Any], memoryview]:
    nothing = memoryview(b"")
    try:
        with _as_file(data) as path:
            decoded = decoder(path, max_duration_s)
    except AudioError as error:
        return {"code": error.code, "what": error.what, "hint": error.hint}, nothing
    except MemoryError:
        return {
            "code": "too-much-memory",
            "what": "decoding it takes more memory than is allowed",
            "hint": None,
        }, nothing
    except Exception as error:
        # Whatever a decoder makes of hostile bytes is the file's fault as far as its sender is concerned.
        return {"code": "undecodable", "what": f"cannot be decoded ({type(error).__name__})", "hint": None}, nothing
    samples = np.ascontiguousarray(decoded.waveform, dtype="<f4")
    answer = {"samples": samples.size, "channels": decoded.channels, "sample_rate": decoded.sample_rate}
    return answer, samples.data.cast("B")


@contextmanager
def _as_file(data: bytes) -> Iterator[Path]:
    """A name to open bytes by, which no client has any say in; where the system can do it, they stay off the disk."""
    if hasattr(os, "memfd_create"):
        with io.FileIO(os.memfd_create("clip"), "w") as file:
            _write(file, data)
            # Not /proc/self: ffmpeg, a process of its own, opens it too.
            yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile(prefix="clip-") as named:
            named.write(data)
            named.flush()
            yield Path(named.name)


def _write(file: io.FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _too_long(what: str, max_duration_s: float) -> AudioError:
    return AudioError("too-long", what, hint=f"send {max_duration_s:g} s or less")


def _warm_up() -> None:
    """Load what decoding needs before any of it is limited."""
    import soundfile  # noqa: F401
    import soxr

    soxr.resample(np.zeros(64, np.float32), 8000, SAMPLE_RATE)


def _confine(limits: dict[str, float]) -> None:
    """Give up what decoding does not need; ffmpeg, which it starts, inherits it.

    There is no limit on processes: the system counts all that a user has, not those of one program.
    """
    memory = round(limits["memory_mb"] * _MIB)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    longest_file = round(limits["max_bytes"]) + _MESSAGES_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (longest_file, longest_file))
    adjustment = Path("/proc/self/oom_score_adj")
    if adjustment.exists():
        # Where the machine itself runs out of memory, the system is to take this process and not the server.
        adjustment.write_text("1000", encoding="ascii")


def _allow_time(cpu_s: float, wall_s: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(used.ru_utime + used.ru_stime + cpu_s), hard))
    signal.alarm(ceil(wall_s) + _GRACE_S)


if __name__ == "__main__":
    serve()
