"""A service over small stores of synthetic speakers, with a model that needs nothing but numpy."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import speak, write_speakers
from tests.fixtures.voices import make_once
from vecsv.arrays import Waveform
from vecsv.calibration.run import CalibrateSettings, calibrate
from vecsv.calibration.search_run import SearchSettings, calibrate_search
from vecsv.embedding.run import embed_manifest
from vecsv.index.build import build_index
from vecsv.serve.decoding import DecodedClip

RATE = 16000
SPEAKERS = 14
#: Of the two models that stores in these tests may have.
SEEDS = {"default": 0, "other": 1}


def talk(speaker: str, take: int = 0, seconds: int = 2) -> Waveform:
    """What a synthetic speaker says; float32 at 16 kHz."""
    return np.concatenate([speak(speaker, 100 * take + second) for second in range(seconds)])


def wav(waveform: Waveform) -> bytes:
    """A recording as a browser sends it."""
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE, "PCM_16", format="WAV")
    return file.getvalue()


def decoded(waveform: Waveform, name: str = "clip.wav") -> DecodedClip:
    """A recording as the decoder hands it on."""
    wave = np.ascontiguousarray(waveform, np.float32)
    return DecodedClip(name, wave, 1, RATE, wave.size / RATE, hashlib.sha256(wave.tobytes()).hexdigest())


@pytest.fixture(scope="session")
def made_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one store for each model; read-only."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(folder: Path) -> None:
        manifest = write_speakers(folder / "speech", SPEAKERS, 6)
        for name, seed in SEEDS.items():
            store = folder / name
            embed_manifest(manifest, store, SpectralEmbedder(seed))
            build_index(store)
            calibrate(store, CalibrateSettings())
            calibrate_search(store, SearchSettings(fpir=0.1))

    return make_once(shared, "serve-stores", make)


@pytest.fixture
def stores(made_stores: Path, tmp_path: Path) -> Path:
    """A folder with the stores ``default`` and ``other``, for one test to write to."""
    for name in SEEDS:
        shutil.copytree(made_stores / name, tmp_path / name)
    return tmp_path


StartService = Callable[..., Any]


@pytest.fixture
def client(stores: Path) -> Iterator[StartService]:
    """`client(...)` starts an application in this process; its words are those of ServeSettings, and `names`."""
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from vecsv.serve.app import create_app
    from vecsv.serve.runtime import open_runtime
    from vecsv.serve.settings import ServeSettings

    with ExitStack() as stack:

        def start(*names: str, **options: Any) -> TestClient:
            chosen = names or ("default",)
            given = {"workers": 1, "rate_per_minute": 0, "shutdown_s": 5.0, **options}
            settings = ServeSettings({name: stores / name for name in chosen}, **given)
            runtime = open_runtime(settings, embedders={name: SpectralEmbedder(SEEDS[name]) for name in chosen})
            stack.callback(runtime.close)
            app = create_app(settings, runtime)
            return stack.enter_context(TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False))

        yield start
