"""Score sets with known answers, and how tests make sets of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Score sets worked out in exact rational arithmetic, or a visible skip where they are not."""
    chosen = os.environ.get("VECSV_TEST_GOLDEN")
    path = Path(chosen) if chosen else Path(__file__).resolve().parents[3] / "shared" / "metrics" / "golden.json"
    if not path.is_file():
        pytest.skip("the golden score sets are not here: set VECSV_TEST_GOLDEN to golden.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content
