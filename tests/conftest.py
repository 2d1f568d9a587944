"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fixtures.voices import voices
from vecsv.models import registry
from vecsv.models.pull import UnreachableModelError

__all__ = ["ge2e_folder", "speech", "voices"]

# On CI the same examples in every run: a submission is judged by its own change. Elsewhere they are drawn anew.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def speech() -> Path:
    """Folder of real recordings, or a visible skip where there is none."""
    chosen = os.environ.get("VECSV_TEST_SPEECH")
    folder = Path(chosen) if chosen else Path(__file__).resolve().parents[2] / "shared" / "speech"
    if not (folder / "manifest.tsv").is_file():
        pytest.skip("real speech is not here: set VECSV_TEST_SPEECH to the folder with manifest.tsv")
    return folder


@pytest.fixture(scope="session")
def ge2e_folder() -> Path:
    """Bundle of the default model; a visible skip where it is not cached and cannot be fetched."""
    try:
        return registry.pull("ge2e")
    except UnreachableModelError as error:
        pytest.skip(str(error))
