"""Embeds a manifest until it is killed: ``python -m tests.crash.writer MANIFEST STORE [KILL_AT_SYNC]``.

Says ``started`` and then how many rows are settled after each commit, so that whoever kills it knows how far it is.
With `KILL_AT_SYNC` it kills itself (SIGKILL, as any other would) at that call of `tests.crash.faults.CALLS`: in the
midst of a commit.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests.crash.faults import striking
from tests.fixtures.embedders import SpectralEmbedder
from vecsv.arrays import Waveform
from vecsv.audio.activity import Activity
from vecsv.embedding.run import EmbedSettings, EmbedSummary, embed_manifest
from vecsv.models.protocol import Prepared

SETTINGS = EmbedSettings(workers=2, rows_per_shard=8, seconds_per_commit=1e9)


class SlowEmbedder(SpectralEmbedder):
    """The same vectors at the pace of a large model, so that there is time for a kill."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        """Take a few milliseconds more."""
        time.sleep(0.008)
        return super().prepare(waveform, activity)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def main() -> None:
    """Embed as the command line says."""
    manifest, store, *rest = sys.argv[1:]

    def progress(so_far: EmbedSummary) -> None:
        _say(so_far.settled)

    _say("started")
    with striking(int(rest[0]) if rest else 0, _kill):
        embed_manifest(Path(manifest), Path(store), SlowEmbedder(), SETTINGS, progress=progress)


if __name__ == "__main__":
    main()
