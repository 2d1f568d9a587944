"""``python -m tests.serve.spectral serve ...``: the vecsv command, with these tests' model in place of a real one.

All else is real. With ``VECSV_TEST_EMBED_S`` the model takes so many seconds for each call, like a large one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from tests.fixtures.embedders import SpectralEmbedder
from tests.serve.conftest import SEEDS
from vecsv.arrays import Vectors
from vecsv.cli.app import main
from vecsv.models.protocol import Embedder, Prepared
from vecsv.serve import runtime
from vecsv.serve.settings import ServeSettings
from vecsv.store.generation import require_latest

MODULE = "tests.serve.spectral"
DELAY = "VECSV_TEST_EMBED_S"


class SlowEmbedder(SpectralEmbedder):
    """The same vectors, later."""

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        """Take as long as the environment says."""
        time.sleep(float(os.environ.get(DELAY, "0")))
        return super().embed(prepared)


def _embedder(settings: ServeSettings, name: str, on_message: object) -> Embedder:
    wanted = require_latest(settings.stores[name]).fingerprint
    models = [SlowEmbedder(seed) for seed in SEEDS.values()]
    return next(model for model in models if model.fingerprint == wanted)


if __name__ == "__main__":
    runtime._embedder = _embedder
    main()
