"""Keys: made once, kept as hashes, read again when the file changes, refused when anything is wrong with it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vecsv.errors import UsageError
from vecsv.serve import keys
from vecsv.serve.keys import KeyRing, Scope, add_key, read_keys, remove_key

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_found_by_what_its_holder_shows(file: Path) -> None:
    entry, key = add_key(file, "reception", ["read", "enrol"])
    other, _ = add_key(file, "nurse", ["admin"])
    found = KeyRing(file).find(key)
    assert found == entry
    assert found is not None
    assert (found.name, sorted(found.scopes)) == ("reception", [Scope.ENROL, Scope.READ])
    assert [one.name for one in read_keys(file)] == ["reception", "nurse"]
    assert other.id != entry.id


def test_a_key_has_a_prefix_its_id_and_256_random_bits(file: Path) -> None:
    made = [add_key(file, str(number), ["read"]) for number in range(5)]
    for entry, key in made:
        prefix, identifier, secret = key.split("_")
        assert (prefix, identifier) == ("vecsv", entry.id)
        assert len(bytes.fromhex(secret)) == 32
    assert len({key.split("_")[2] for _, key in made}) == 5


def test_the_file_holds_no_secret_and_is_its_owners_alone(file: Path) -> None:
    _, key = add_key(file, "reception", ["read"])
    content = file.read_text(encoding="utf-8")
    secret = key.split("_")[2]
    assert secret not in content
    assert all(secret[place : place + 16] not in content for place in range(0, 64, 8))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    add_key(file, "second", ["read"])
    remove_key(file, "second")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_entries_of_one_key_would_not_look_alike(file: Path) -> None:
    first, key = add_key(file, "first", ["read"])
    assert keys._digest(key, first.salt) == first.digest
    assert keys._digest(key, "00" * 16) != first.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.upper(),
        lambda key: f" {key}",
        lambda key: f"{key}\n",
        lambda key: key.replace("vecsv_", ""),
        lambda key: "vecsv_00000000_" + key.split("_")[2],
        lambda key: "",
        lambda key: "vecsv__",
        lambda key: "\udcff\x00é",
        lambda key: "x" * 100_000,
    ],
)
def test_anything_else_is_no_key(file: Path, change: Callable[[str], str]) -> None:
    _, key = add_key(file, "reception", ["read"])
    ring = KeyRing(file)
    assert ring.find(change(key)) is None
    assert ring.find(key) is not None


def test_the_secret_of_one_key_does_not_do_for_another(file: Path) -> None:
    _, key = add_key(file, "reception", ["read"])
    other, _ = add_key(file, "chief", ["admin"])
    assert KeyRing(file).find(f"vecsv_{other.id}_{key.split('_')[2]}") is None


def test_a_key_expires(file: Path) -> None:
    now = datetime.now(UTC)
    _, key = add_key(file, "visitor", ["read"], days=2, now=now)
    add_key(file, "gone", ["read"], days=1, now=now - timedelta(days=2))
    ring = KeyRing(file)
    assert ring.find(key, now=now + timedelta(days=2, seconds=-2)) is not None
    assert ring.find(key, now=now + timedelta(days=2)) is None
    assert len(ring) == 1


def test_a_removed_key_is_refused_and_a_new_one_taken_at_once(file: Path) -> None:
    _, first = add_key(file, "first", ["read"])
    ring = KeyRing(file)
    assert ring.find(first) is not None
    _, second = add_key(file, "second", ["read"])
    assert ring.find(second) is not None
    assert remove_key(file, "first").name == "first"
    assert ring.find(first) is None
    assert ring.find(second) is not None
    assert remove_key(file, second.split("_")[1]).name == "second"
    assert ring.find(second) is None
    assert len(ring) == 0


@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_text("{")])
def test_when_the_file_is_gone_or_damaged_no_key_is_good(file: Path, harm: Callable[[Path], object]) -> None:
    _, key = add_key(file, "first", ["read"])
    ring = KeyRing(file)
    saved = file.read_bytes()
    harm(file)
    for _ in range(2):
        with pytest.raises(UsageError):
            ring.find(key)
    file.write_bytes(saved)
    file.chmod(0o600)
    assert ring.find(key) is not None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("", ["read"]), "1 to 100 printable characters"),
        (("a" * 101, ["read"]), "1 to 100 printable characters"),
        (("a\nb", ["read"]), "1 to 100 printable characters"),
        (("a", []), "needs a scope"),
        (("a", ["read", "write"]), r"no scope is called 'write' \(there are read, enrol, admin\)"),
        (("taken", ["read"]), "a key called 'taken' already"),
    ],
)
def test_what_cannot_be_a_key_is_refused_and_changes_nothing(
    file: Path, arguments: tuple[str, list[str]], complaint: str
) -> None:
    add_key(file, "taken", ["read"])
    before = file.read_bytes()
    with pytest.raises(UsageError, match=complaint):
        add_key(file, *arguments)
    assert file.read_bytes() == before


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e9])
def test_days_that_cannot_be_are_refused(file: Path, days: float) -> None:
    with pytest.raises(UsageError, match="at most 36,500 days"):
        add_key(file, "a", ["read"], days=days)
    assert not file.exists()


def test_an_unknown_name_cannot_be_removed(file: Path) -> None:
    add_key(file, "first", ["read"])
    with pytest.raises(UsageError, match=r"no key is called 'second' \(vecsv keys list"):
        remove_key(file, "second")
    with pytest.raises(UsageError, match="the file of keys is not there"):
        remove_key(file.with_name("absent.json"), "first")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_file_that_everybody_may_read_or_change_is_refused(file: Path, mode: int) -> None:
    add_key(file, "first", ["read"])
    file.chmod(mode)
    with pytest.raises(UsageError, match=rf"may be read by everybody on this machine \(mode {mode:04o}\) \(chmod 600"):
        KeyRing(file)
    file.chmod(0o640)
    assert len(KeyRing(file)) == 1


def _changed(document: dict[str, list[dict[str, object]]], **changes: object) -> dict[str, object]:
    (entry,) = document["keys"]
    return {"format": 1, "keys": [entry | changes]}


@pytest.mark.parametrize(
    "change",
    [
        lambda document: [],
        lambda document: None,
        lambda document: {"format": 2, "keys": []},
        lambda document: {"format": 1},
        lambda document: {"format": 1, "keys": [{}]},
        lambda document: {"format": 1, "keys": [1]},
        lambda document: _changed(document, scopes=["root"]),
        lambda document: _changed(document, salt="xyz"),
        lambda document: _changed(document, hmac_sha256="00"),
        lambda document: _changed(document, expires="tomorrow"),
        lambda document: _changed(document, expires="2030-01-01T00:00:00"),
    ],
)
def test_a_file_that_is_no_file_of_keys_is_refused_in_one_line(file: Path, change: Callable[..., object]) -> None:
    add_key(file, "first", ["read"])
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(UsageError, match="not a file of keys") as refused:
        KeyRing(file)
    assert "\n" not in str(refused.value)


def test_processes_that_add_at_once_lose_no_key(file: Path) -> None:
    script = "import sys; from pathlib import Path; from vecsv.serve.keys import add_key\n" + (
        "for number in range(10): add_key(Path(sys.argv[1]), f'{sys.argv[2]} {number}', ['read'])"
    )
    adding = [
        subprocess.Popen([sys.executable, "-c", script, str(file), name], cwd=ROOT, env=os.environ)
        for name in ("a", "b", "c")
    ]
    assert [process.wait(timeout=60) for process in adding] == [0, 0, 0]
    assert sorted(key.name for key in read_keys(file)) == sorted(f"{name} {n}" for name in "abc" for n in range(10))
