"""Secrets in files: for their owner from the first byte on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vecsv import private
from vecsv.durable import create_exclusively, write_bytes
from vecsv.errors import UsageError


def test_a_private_file_is_private_before_it_has_any_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    fdopen = os.fdopen

    def watched(descriptor: int, *arguments: str) -> object:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return fdopen(descriptor, *arguments)

    monkeypatch.setattr(os, "fdopen", watched)
    write_bytes(tmp_path / "a", b"secret", mode=private.MODE)
    assert create_exclusively(tmp_path / "b", b"secret", mode=private.MODE)
    assert modes == [0o600, 0o600]
    for name in "ab":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert private.read_private(tmp_path / name, what="it", hint="") == b"secret"


def test_replacing_a_public_file_makes_it_private(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"public")
    (tmp_path / "a").chmod(0o644)
    write_bytes(tmp_path / "a", b"secret", mode=private.MODE)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o644, 0o777])
def test_what_everybody_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").write_bytes(b"secret")
    (tmp_path / "a").chmod(mode)
    with pytest.raises(UsageError, match=rf"the key may be read by everybody on this machine \(mode {mode:04o}\)"):
        private.read_private(tmp_path / "a", what="the key", hint="")


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent: the key is not there \(make one\)"):
        private.read_private(tmp_path / "absent", what="the key", hint="make one")
    with pytest.raises(UsageError, match="the key cannot be read: Is a directory"):
        private.read_private(tmp_path, what="the key", hint="make one")
