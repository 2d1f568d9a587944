"""Strangers' audio, decoded in processes that may die of it.

A decoder is a large program that reads hostile bytes; sooner or later a file crashes it, keeps it busy for ever or
makes it ask for all memory there is. So each file is decoded in a child process (`vecsv.serve.decoder_child`) that
holds nothing of value and is limited in memory, processor time and files; it is killed when it takes too long, and
replaced.

Children are plain programs, not `multiprocessing` workers: they load nothing of the server but what decodes, get next
to nothing of its environment, and what they say is read as JSON and numbers, never unpickled. Samples come back through
the same socket: for a minute of audio (3.8 MB) that takes 0.5 ms of the 10 (WAV at 16 kHz) to 36 (FLAC at 48 kHz) that
decoding it takes. Shared memory, made and removed for each clip, took 4.6 ms, and somebody has to remove it after a
crash.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final

import numpy as np

from vecsv.arrays import Waveform
from vecsv.audio.files import printable
from vecsv.errors import AudioError
from vecsv.serve.decoder_child import ANSWER_LENGTH, LENGTH, READY, SAMPLE_RATE
from vecsv.serve.overload import Overloaded

__all__ = ["DecodeLimits", "DecodedClip", "DecoderPool"]

_CHILD: Final = "vecsv.serve.decoder_child"
_LONGEST_NAME: Final = 100
_LONGEST_ANSWER: Final = 1 << 16
# Importing numpy and the codecs, on a machine that is busy.
_STARTS_WITHIN_S: Final = 60.0
# Codecs leak now and then; a new process for every so many files costs nothing that can be measured.
_CLIPS_PER_CHILD: Final = 1000
# All a decoder is told of the server's environment, which may hold secrets: where programs and libraries are.
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
# Children that may still be good after these are not trusted with another file.
_SPENT: Final = frozenset({"too-much-memory", "undecodable"})


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may cost.

    Attributes
    ----------
    max_bytes : int
        Size of the file as it was sent.
    max_duration_s : float
        Length of the recording, in seconds.
    wall_s : float
        Time it may take from being handed to a child to the last sample, in seconds.
    cpu_s : float
        Processor time of the child, and of ffmpeg where that is needed, in seconds.
    memory_mb : int
        Address space of the child, and of ffmpeg, in MiB.
    wait_s : float
        How long a file waits until a child is free, in seconds.
    """

    max_bytes: int = 25 * 1000 * 1000
    max_duration_s: float = 120.0
    wall_s: float = 20.0
    cpu_s: float = 20.0
    memory_mb: int = 1024
    wait_s: float = 30.0


@dataclass(frozen=True)
class DecodedClip:
    """A recording that somebody sent.

    Attributes
    ----------
    name : str
        What errors and answers call it: what the client called it, made fit to print. It was never a path here.
    waveform : ndarray
        Mono float32 ``(samples,)`` at 16 kHz, read-only.
    channels, sample_rate : int
        Of the file, in Hz.
    duration_s : float
        In seconds.
    sha256 : str
        Of the file's bytes, in hexadecimal.
    """

    name: str
    waveform: Waveform
    channels: int
    sample_rate: int
    duration_s: float
    sha256: str


class DecoderPool:
    """Child processes that decode; safe to use from many threads.

    Parameters
    ----------
    workers : int
        Children, and so files that are decoded at once.
    limits : DecodeLimits
    child : str
        Module that a child runs.

    Examples
    --------
    >>> import io, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros((24000, 2)), 48000, format="WAV")
    >>> with DecoderPool(1, DecodeLimits()) as pool:
    ...     clip = pool.decode(file.getvalue(), "hello.wav")
    >>> clip.waveform.shape, clip.channels, clip.sample_rate, clip.duration_s
    ((8000,), 2, 48000, 0.5)
    """

    def __init__(self, workers: int, limits: DecodeLimits, *, child: str = _CHILD) -> None:
        if workers < 1:
            raise ValueError(f"{workers} decoding processes cannot decode anything")
        self._limits = limits
        self._workers = workers
        self._free: SimpleQueue[_Child] = SimpleQueue()
        self._closed = threading.Event()
        command = [sys.executable, "-P", "-c", f"from {child} import serve; serve()", json.dumps(asdict(limits))]
        # All at once, since each takes a moment until it is ready.
        for _ in range(workers):
            self._free.put(_started(_Child(command)))

    def __enter__(self) -> DecoderPool:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def decode(self, data: bytes, name: str) -> DecodedClip:
        """Decode one file; blocks, so an event loop calls it in a thread.

        Parameters
        ----------
        data : bytes
            The file. Its format is told from its content.
        name : str
            What to call it. It may be anything, and is never opened.

        Raises
        ------
        AudioError
            ``empty``, ``too-large``, ``too-long``, ``too-slow``, ``too-much-memory``, ``undecodable``,
            ``decoder-crashed``, or one of the codes of `vecsv.audio.decode.blocks` that are about content.
        Overloaded
            When no child becomes free in time.
        RuntimeError
            When the pool is closed.
        """
        where = printable(Path(name[:_LONGEST_NAME] or "recording"))
        if not data:
            raise AudioError("empty", "the file is empty (0 bytes)", where=where)
        if len(data) > self._limits.max_bytes:
            size, most = len(data) / 1e6, self._limits.max_bytes / 1e6
            raise AudioError("too-large", f"{size:.1f} MB", where=where, hint=f"send {most:g} MB or less")
        child = self._take()
        try:
            decoded, waveform = child.decode(data, self._limits, where)
        finally:
            self._free.put(_started(child))
        digest = hashlib.sha256(data).hexdigest()
        waveform.setflags(write=False)
        seconds = waveform.size / SAMPLE_RATE
        return DecodedClip(where, waveform, decoded["channels"], decoded["sample_rate"], seconds, digest)

    def close(self) -> None:
        """End all children; files that are being decoded are finished first, within their time."""
        if self._closed.is_set():
            return
        self._closed.set()
        for _ in range(self._workers):
            self._free.get().end()

    def _take(self) -> _Child:
        if self._closed.is_set():
            raise RuntimeError("the decoding processes have been ended")
        try:
            child = self._free.get(timeout=self._limits.wait_s)
        except Empty:
            raise Overloaded("all decoders are busy", retry_after_s=self._limits.wall_s) from None
        if self._closed.is_set():
            self._free.put(child)
            raise RuntimeError("the decoding processes have been ended")
        return child


class _GoneError(Exception):
    """A child ended, or said something that no child says."""


class _Child:
    """A place for a child process: there is one in it, or there will be."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready = False
        self._clips = 0

    def start(self) -> None:
        """Start a process if there is none, or none that lives; does not wait until it is ready."""
        if self._process is not None and not self._ended():
            return
        self.end()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # Of its own session: whatever it starts is in its process group and is killed with it, and a Ctrl-C
                # in the terminal is the server's business.
                self._process = subprocess.Popen(
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self._socket, self._ready, self._clips = ours, False, 0

    def decode(self, data: bytes, limits: DecodeLimits, where: str) -> tuple[Mapping[str, Any], Waveform]:
        """Have one file decoded; a process that fails in any way is ended."""
        try:
            self._make_ready()
            answer, waveform = self._ask(data, limits)
        except TimeoutError:
            self.end()
            raise _too_slow(limits.wall_s, where) from None
        except Exception as failure:
            # Nothing that a child says or does may look like a fault of the server's.
            if self.end() == -signal.SIGXCPU:
                raise _too_slow(limits.cpu_s, where) from None
            raise AudioError("decoder-crashed", "the decoder gave up on it", where=where) from failure
        except BaseException:
            self.end()
            raise
        self._clips += 1
        code = answer.get("code")
        if code in _SPENT or self._clips >= _CLIPS_PER_CHILD:
            self.end()
        if code is not None:
            raise AudioError(code, answer["what"], where=where, hint=answer["hint"] or None)
        return answer, waveform

    def end(self) -> int | None:
        """Kill the process and all it started, and reap it; gives its exit status."""
        process, connection = self._process, self._socket
        self._process = self._socket = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        # Before it is reaped, while the number is surely still its own.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def _ended(self) -> bool:
        """Whether a process that waits for work is gone: all that its socket can have to read is the end."""
        if not self._ready:
            return False
        connection = self._connected()
        connection.setblocking(False)
        try:
            connection.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _make_ready(self) -> None:
        """Have a process that waits for work; one that died before it was given any harms nobody."""
        for last in (False, True):
            try:
                self.start()
                if not self._ready:
                    self._receive(len(READY), time.monotonic() + _STARTS_WITHIN_S)
                    self._ready = True
                return
            except (OSError, _GoneError) as failure:
                self.end()
                if last:
                    raise _GoneError("it does not start") from failure

    def _ask(self, data: bytes, limits: DecodeLimits) -> tuple[Mapping[str, Any], Waveform]:
        connection, deadline = self._connected(), time.monotonic() + limits.wall_s
        connection.settimeout(limits.wall_s)
        connection.sendall(LENGTH.pack(len(data)))
        connection.sendall(data)
        (length,) = ANSWER_LENGTH.unpack(self._receive(ANSWER_LENGTH.size, deadline))
        if length > _LONGEST_ANSWER:
            raise _GoneError("an answer that no child gives")
        answer = _checked(json.loads(self._receive(length, deadline)), limits)
        samples = answer.get("samples", 0)
        received = self._receive(4 * samples, deadline)
        return answer, np.frombuffer(received, "<f4").astype(np.float32, copy=False)

    def _receive(self, size: int, deadline: float) -> bytearray:
        connection, received = self._connected(), bytearray(size)
        rest = memoryview(received)
        while rest:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            count = connection.recv_into(rest)
            if not count:
                raise _GoneError("it ended")
            rest = rest[count:]
        return received

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise _GoneError("it is not there")
        return self._socket


def _started(child: _Child) -> _Child:
    """A child that is on its way where it can be; where not, it is tried again when it is needed."""
    with suppress(OSError):
        child.start()
    return child


def _checked(answer: Any, limits: DecodeLimits) -> Mapping[str, Any]:
    """An answer in which everything is of the kind and size that it should be."""
    if not isinstance(answer, dict):
        raise _GoneError("an answer that no child gives")
    if "code" in answer:
        refusal = {"code": answer["code"], "what": answer["what"], "hint": answer["hint"] or ""}
        if not all(isinstance(text, str) for text in refusal.values()):
            raise _GoneError("an answer that no child gives")
        return refusal
    most = {"samples": round(limits.max_duration_s * SAMPLE_RATE), "channels": 1 << 16, "sample_rate": 1 << 31}
    for name, limit in most.items():
        if type(answer[name]) is not int or not 1 <= answer[name] <= limit:
            raise _GoneError("an answer that no child gives")
    return answer


def _too_slow(limit_s: float, where: str) -> AudioError:
    return AudioError(
        "too-slow", f"decoding it takes more than {limit_s:g} s", where=where, hint="send it as WAV or FLAC"
    )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Threads of a linear algebra library would take address space for nothing.
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
