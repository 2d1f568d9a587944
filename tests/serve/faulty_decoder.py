"""A decoding process that does what the bytes it is sent tell it to: all that a hostile file may ever make one do."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from vecsv.errors import AudioError
from vecsv.serve import decoder_child
from vecsv.serve.decoder_child import Decoded, decode_file


def serve() -> None:
    """What the child runs."""
    decoder_child.serve(obey)


def obey(path: Path, max_duration_s: float) -> Decoded:
    """Do as the file says; decode it where it says nothing."""
    with path.open("rb") as file:
        order, _, word = file.read(1 << 17).partition(b" ")
    if order == b"segfault":
        ctypes.string_at(0)
    elif order == b"exit":
        os._exit(3)
    elif order == b"loop":
        while True:
            pass
    elif order == b"sleep":
        Path(os.fsdecode(word)).touch() if word else None
        time.sleep(600)
    elif order == b"balloon":
        bytearray(1 << 40)
    elif order == b"raise":
        raise KeyError("a defect")
    elif order == b"write":
        with tempfile.TemporaryFile() as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
                file.flush()
    elif order == b"open":
        held = [path.open("rb") for _ in range(1000)]
        held.clear()
    elif order == b"spawn":
        process = subprocess.Popen(["/bin/sleep", "600"])
        Path(os.fsdecode(word)).write_text(str(process.pid))
        time.sleep(600)
    elif order == b"say":
        # Straight to the server, whatever the protocol.
        os.write(0, word)
        time.sleep(600)
    elif order == b"tell":
        limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"}
        told = {"path": str(path), "pid": os.getpid(), "environment": dict(os.environ), "limits": limits}
        score = Path("/proc/self/oom_score_adj")
        told["oom"] = int(score.read_text()) if score.exists() else None
        raise AudioError("told", json.dumps(told))
    return decode_file(path, max_duration_s)


def answer(text: str, samples: bytes = b"") -> bytes:
    """Bytes of an answer as a child would write it."""
    return struct.pack("<I", len(text)) + text.encode() + samples
