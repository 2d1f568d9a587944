"""The default model, fetched once into the user's cache and shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from vecsv.fetching.wheel import fetch_wheel
from vecsv.models import ge2e
from vecsv.models.cards import find_card
from vecsv.models.pull import UnreachableModelError


@pytest.fixture(scope="session")
def ge2e_model(ge2e_folder: Path) -> ge2e.Ge2e:
    """The default model."""
    return ge2e.load(ge2e_folder)


@pytest.fixture(scope="session")
def ge2e_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the default model comes in."""
    try:
        card = find_card("ge2e")
        return fetch_wheel(card.name, card.source, tmp_path_factory.mktemp("wheel"))
    except UnreachableModelError as error:
        pytest.skip(str(error))
