"""What the tests of crashes share: ground to work on, made once in each process."""

from __future__ import annotations

from pathlib import Path

import pytest

# Before they are imported, so that a failing assertion in them says what it compared.
pytest.register_assert_rewrite("tests.crash.states")

from tests.crash.operations import KEY_FILE, make_ground  # noqa: E402


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and a store over some of them; see `tests.crash.operations.make_ground`. Read-only."""
    folder = tmp_path_factory.mktemp("ground")
    make_ground(folder)
    return folder


@pytest.fixture
def _key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, ground: Path) -> None:
    """The key in use while `seal` is tested; the other operations work on plain enrolments."""
    if request.getfixturevalue("operation") == "seal":
        pytest.importorskip("cryptography")
        monkeypatch.setenv("VECSV_ENROLMENT_KEY_FILE", str(ground / KEY_FILE))
