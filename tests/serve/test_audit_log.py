"""The audit log: whole lines from many writers, nobody named, and yet to be proven."""

from __future__ import annotations

import dataclasses
import hmac
import json
import os
import stat
import subprocess
import sys
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vecsv.errors import UsageError
from vecsv.serve.audit_log import Action, AuditLog, Entry, lines_about

ROOT = Path(__file__).parents[2]
ZOE = "Zoë Quäckenbush"


def entry(**changes: Any) -> Entry:
    values: dict[str, Any] = {
        "action": Action.VERIFY,
        "caller": "reception",
        "key_id": "0badcafe",
        "address": "203.0.113.5",
        "request_id": "r-1",
        "stores": ["calls"],
        "speaker": ZOE,
        "decision": "same",
        "score": 0.71,
    }
    return Entry(**(values | changes))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit.jsonl"


def test_a_line_says_who_when_what_and_what_came_of_it(path: Path) -> None:
    AuditLog(path).add(entry())
    (line,) = read(path)
    at = datetime.fromisoformat(line.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert len(line.pop("speaker_hmac")) == 64
    assert line == {
        "action": "verify",
        "caller": "reception",
        "key_id": "0badcafe",
        "address": "203.0.113.5",
        "request_id": "r-1",
        "stores": ["calls"],
        "decision": "same",
        "score": 0.71,
    }


def test_after_an_erasure_no_name_is_left_and_it_can_still_be_proven(path: Path) -> None:
    log = AuditLog(path)
    log.add(entry(action=Action.ENROL, decision="enrolled", score=None, recordings=3))
    log.add(entry(speaker="somebody else"))
    log.add(entry(action=Action.ERASE, decision="erased", score=None, recordings=3, receipts=["0815"]))
    content = path.read_bytes()
    assert all(name.encode() not in content for name in (ZOE, "Quäckenbush", json.dumps(ZOE)[1:-1], "somebody"))
    salt = b64decode(path.with_name("audit.jsonl.salt").read_bytes())
    expected = hmac.digest(salt, ZOE.encode(), "sha256").hex()
    assert [line["speaker_hmac"] == expected for line in read(path)] == [True, False, True]
    about = list(lines_about(path, ZOE))
    assert [line["action"] for line in about] == ["enrol", "erase"]
    assert about[-1]["receipts"] == ["0815"]
    assert list(lines_about(path, "nobody")) == []


def test_the_hash_cannot_be_made_without_the_salt(path: Path, tmp_path: Path) -> None:
    first, second = AuditLog(path), AuditLog(tmp_path / "other.jsonl")
    assert first.hash_of(ZOE) != second.hash_of(ZOE)
    assert AuditLog(path).hash_of(ZOE) == first.hash_of(ZOE)


def test_there_is_no_field_for_sound_vectors_or_keys() -> None:
    assert {field.name for field in dataclasses.fields(Entry)} == {
        "action", "caller", "address", "request_id", "stores", "key_id", "speaker", "decision", "score", "recordings",
        "receipts",
    }  # fmt: skip


def test_log_and_salt_are_their_owners_alone(path: Path) -> None:
    AuditLog(path).add(entry())
    for file in (path, path.with_name("audit.jsonl.salt")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nothing_in_a_field_can_make_a_line_of_its_own(path: Path) -> None:
    evil = '"}\n{"action": "erase"}\r\u2028\x85\x00'
    AuditLog(path).add(entry(caller=evil, request_id=evil, address=evil, stores=[evil]))
    assert path.read_bytes().count(b"\n") == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1
    assert read(path)[0]["caller"] == evil


def test_a_line_is_flushed_before_the_call_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    fsync = os.fsync
    log = AuditLog(path)

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            flushed.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", watched)
    for number in range(3):
        log.add(entry())
        assert flushed[number:] == [path.stat().st_size]


def test_threads_and_processes_may_share_a_log(path: Path) -> None:
    script = (
        "import sys, threading; from pathlib import Path\n"
        "from tests.serve.test_audit_log import AuditLog, entry\n"
        "log = AuditLog(Path(sys.argv[1]))\n"
        "def add(name):\n"
        "    for number in range(25): log.add(entry(caller=name, request_id=f'{number}' * 30))\n"
        "threads = [threading.Thread(target=add, args=(f'{sys.argv[2]}{n}',)) for n in range(2)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    writing = [
        subprocess.Popen([sys.executable, "-c", script, str(path), name], cwd=ROOT, stderr=subprocess.PIPE)
        for name in "abc"
    ]
    for process in writing:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
    lines = read(path)
    assert len(lines) == 150
    assert len({line["speaker_hmac"] for line in lines}) == 1
    for name in ("a0", "a1", "b0", "b1", "c0", "c1"):
        theirs = [line["request_id"] for line in lines if line["caller"] == name]
        assert theirs == [f"{number}" * 30 for number in range(25)]


def test_a_line_cut_off_by_a_power_cut_harms_no_other(path: Path) -> None:
    AuditLog(path).add(entry())
    with path.open("ab") as file:
        file.write(b'{"at": "2026-')
    AuditLog(path).add(entry(request_id="after"))
    assert [line["request_id"] for line in lines_about(path, ZOE)] == ["r-1", "after"]
    assert path.read_bytes().count(b"\n") == 3


def test_a_disk_that_takes_half_a_line_is_an_error_and_harms_no_other_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(path)
    write = os.write

    def half(file: int, data: bytes) -> int:
        return write(file, data[: len(data) // 2]) if len(data) > 1 else write(file, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(OSError, match="only a part"):
            log.add(entry())
    log.add(entry(request_id="after"))
    assert [line["request_id"] for line in lines_about(path, ZOE)] == ["after"]


def test_a_log_that_was_moved_away_is_begun_anew(path: Path) -> None:
    log = AuditLog(path)
    log.add(entry(request_id="old"))
    path.rename(path.with_name("audit-1.jsonl"))
    log.add(entry(request_id="new"))
    assert [line["request_id"] for line in read(path.with_name("audit-1.jsonl"))] == ["old"]
    assert [line["request_id"] for line in read(path)] == ["new"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(UsageError, match="the audit log cannot be written: Is a directory") as refused:
        AuditLog(tmp_path / "audit.jsonl")
    assert "\n" not in str(refused.value)
    (tmp_path / "b.jsonl.salt").write_bytes(b"c2hvcnQ=")
    (tmp_path / "b.jsonl.salt").chmod(0o600)
    with pytest.raises(UsageError, match="not the salt of an audit log"):
        AuditLog(tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl.salt").chmod(0o644)
    with pytest.raises(UsageError, match="may be read by everybody"):
        AuditLog(tmp_path / "b.jsonl")


def test_a_score_that_is_no_number_is_not_written(path: Path) -> None:
    log = AuditLog(path)
    with pytest.raises(ValueError, match="Out of range"):
        log.add(entry(score=float("nan")))
    assert path.read_bytes() == b""
