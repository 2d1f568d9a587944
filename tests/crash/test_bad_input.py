"""Whatever a manifest holds: one line for each row that fails, the rest unharmed, and never a traceback."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.sounds import cut_in_half, tone, write
from tests.fixtures.stores import read_content, require_whole, speak, strangers, write_speakers
from vecsv.cli.app import main

ROOT = Path(__file__).parents[2]
# From linux/prctl.h and linux/capability.h.
_DROP_FROM_BOUNDING_SET = 24
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def _obey_permissions() -> None:
    """Make the next program obey file permissions although root runs it."""
    if os.geteuid() == 0:
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) != 0:
                raise OSError("root's capabilities cannot be dropped")


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Vecsv = Callable[..., Said]


@pytest.fixture
def vecsv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Vecsv:
    """Runs a command in this process."""

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["vecsv", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(code, said.out, said.err)

    return run


#: Name of the recording (or what the row says), code, and words of the reason.
BAD = (
    ("missing.wav", "missing", "no such file"),
    ("empty.wav", "empty", "the file is empty (0 bytes)"),
    ("text.wav", "not-audio", "is text, not audio"),
    ("truncated.flac", "truncated", "damaged or cut short"),
    ("no-samples.wav", "no-samples", "holds no samples"),
    ("silence.wav", "silent", "all silence"),
    ("short.wav", "too-short", "0.05 s of audio; at least 0.2 s is needed"),
    ("nan.wav", "not-finite", "not a finite number"),
    ("secret.wav", "unreadable", "permission denied"),
    ("good/000.wav", "duplicate", "already on line 1"),
    ("one column", "bad-row", "1 column instead of 2"),
    ("not utf-8", "bad-row", "not UTF-8 at byte 2"),
)


def _spoil(folder: Path) -> Path:
    """Four good recordings with everything bad between them, and a manifest of all."""
    manifest = write_speakers(folder, ["good"], 4)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("No sound, just words.\n" * 50, encoding="utf-8")
    cut_in_half(write(folder / "truncated.flac", speak("x", 0)))
    write(folder / "no-samples.wav", np.zeros(0, np.float32))
    write(folder / "silence.wav", np.zeros(16000, np.float32))
    write(folder / "short.wav", tone(0.05))
    spoilt = speak("x", 1)
    spoilt[7000:7010] = np.nan
    write(folder / "nan.wav", spoilt, subtype="FLOAT")
    write(folder / "secret.wav", speak("x", 2)).chmod(0)
    good = manifest.read_bytes().splitlines(keepends=True)
    bad = [f"{name}\tsomebody\n".encode() for name, *_ in BAD[:10]] + [b"one column\n", b"a\xff.wav\tsomebody\n"]
    manifest.write_bytes(b"".join([*good[:2], *bad[:6], good[2], *bad[6:], good[3]]))
    return manifest


def _mend(folder: Path) -> None:
    for take, (name, *_) in enumerate(BAD[:9]):
        (folder / name).unlink(missing_ok=True)
        write(folder / name, speak("somebody", take))


def test_each_bad_input_gets_its_line_and_mended_ones_are_embedded_on_request(
    tmp_path: Path, ge2e_folder: Path, vecsv: Vecsv
) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    manifest = _spoil(corpus)
    embed = ["embed", "--manifest", str(manifest), "--store", str(store), "--model", str(ge2e_folder)]
    done = subprocess.run(
        [sys.executable, "-m", "vecsv", *embed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_obey_permissions,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[:2] == ["embedded         4", f"failed           {len(BAD)}"]
    said = done.stderr.splitlines()
    # The first ten are shown, then how many more there are, then where all of them can be read.
    assert len(said) == 12
    assert said[10:] == ["vecsv: ... and 2 more", f"vecsv: failed rows are listed by: vecsv failures --store {store}"]

    listed: list[dict[str, Any]] = json.loads(vecsv("failures", "--json", "--store", store).out)
    lines = [3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15]
    for (name, code, words), line, row in zip(BAD, lines, listed, strict=True):
        assert (row["manifest"], row["line"], row["code"]) == (str(manifest), line, code)
        assert words in row["reason"]
        assert "\n" not in row["reason"]
        if code != "bad-row":
            assert (row["path"], row["utt_id"]) == (str(corpus / name), name)
    for shown, row in zip(said[:10], listed, strict=False):
        assert shown.startswith(f"vecsv: {manifest}, line {row['line']}: ")
        assert row["reason"] in shown

    before = require_whole(store)
    assert [row["utt_id"] for row in before.rows] == [f"good/00{take}.wav" for take in range(4)]

    _mend(corpus)
    again = vecsv(*embed)
    assert again.code == 1
    assert again.out.splitlines()[:4] == [
        "embedded         0",
        "failed           0",
        "embedded before  4",
        f"failed before    {len(BAD)}",
    ]
    assert read_content(store) == before

    rows = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(rows[:12] + rows[15:]))
    retried = vecsv(*embed, "--retry-failed")
    assert retried.code == 0, retried.err
    assert retried.out.splitlines()[:2] == ["embedded         9", "failed           0"]
    assert json.loads(vecsv("failures", "--json", "--store", store).out) == []
    after = require_whole(store)
    assert after.rows[:4] == before.rows
    assert sorted(row["utt_id"] for row in after.rows[4:]) == sorted(name for name, *_ in BAD[:9])
    assert strangers(store) == []


def test_many_channels_a_high_rate_a_byte_order_mark_and_crlf_simply_work(
    tmp_path: Path, ge2e_folder: Path, vecsv: Vecsv
) -> None:
    import soxr

    loud = soxr.resample(speak("ann", 0), 16000, 48000)
    write(tmp_path / "wide.wav", np.stack([loud * gain for gain in (1, 0.5, 0, 0.2, 0.9, 0.1)], axis=1), 48000)
    write(tmp_path / "plain.wav", speak("ann", 1))
    manifest = tmp_path / "train.tsv"
    manifest.write_bytes(b"\xef\xbb\xbfpath\tspeaker\r\nwide.wav\tann\r\n\r\nplain.wav\tann\r\n")
    said = vecsv("embed", "--manifest", manifest, "--store", tmp_path / "store", "--model", ge2e_folder)
    assert said.code == 0, said.err
    rows = read_content(tmp_path / "store").rows
    assert [(row["utt_id"], row["speaker"]) for row in rows] == [("wide.wav", "ann"), ("plain.wav", "ann")]


def test_recordings_of_one_name_stay_apart_and_the_working_directory_changes_no_id(
    tmp_path: Path, ge2e_folder: Path, vecsv: Vecsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_speakers(tmp_path / "corpus", ["ann", "bob"], 2)
    contents = []
    for number, (place, written) in enumerate(
        [(tmp_path, "corpus/train.tsv"), (tmp_path / "corpus" / "ann", "../train.tsv"), (ROOT, str(manifest))]
    ):
        monkeypatch.chdir(place)
        store = tmp_path / f"store-{number}"
        assert vecsv("embed", "--manifest", written, "--store", store, "--model", ge2e_folder).code == 0
        contents.append([(row["row_id"], row["utt_id"], row["embedding"]) for row in read_content(store).rows])
    assert [one[1] for one in contents[0]] == ["ann/000.wav", "ann/001.wav", "bob/000.wav", "bob/001.wav"]
    assert len({one[2] for one in contents[0]}) == 4
    assert contents[0] == contents[1] == contents[2]


def test_a_corpus_moved_with_its_manifest_is_recognised(tmp_path: Path, ge2e_folder: Path, vecsv: Vecsv) -> None:
    manifest = write_speakers(tmp_path / "here", ["ann", "bob"], 2)
    store = tmp_path / "store"
    assert vecsv("embed", "--manifest", manifest, "--store", store, "--model", ge2e_folder).code == 0
    before = read_content(store)
    (tmp_path / "here").rename(tmp_path / "there")
    said = vecsv("embed", "--json", "--manifest", tmp_path / "there" / "train.tsv", "--store", store)
    assert said.code == 0, said.err
    summary = json.loads(said.out)
    assert (summary["embedded"], summary["embedded_before"], summary["failed"]) == (0, 4, 0)
    assert read_content(store) == before


def test_one_id_for_another_recording_is_refused_and_listed(tmp_path: Path, ge2e_folder: Path, vecsv: Vecsv) -> None:
    first = write_speakers(tmp_path / "first", ["ann", "bob"], 2, seed=1)
    second = write_speakers(tmp_path / "second", ["ann", "cyd"], 2, seed=2)
    store = tmp_path / "store"
    assert vecsv("embed", "--manifest", first, "--store", store, "--model", ge2e_folder).code == 0
    before = read_content(store)
    said = vecsv("embed", "--manifest", second, "--store", store)
    assert said.code == 1
    assert said.out.splitlines()[:2] == ["embedded         2", "failed           2"]
    listed = json.loads(vecsv("failures", "--json", "--store", store).out)
    assert [(row["line"], row["utt_id"], row["code"]) for row in listed] == [
        (1, "ann/000.wav", "claimed"),
        (2, "ann/001.wav", "claimed"),
    ]
    assert all("already in the store for another recording" in row["reason"] for row in listed)
    assert read_content(store).rows[:4] == before.rows


def test_a_row_that_failed_under_another_manifest_is_tried_again_on_request(
    tmp_path: Path, ge2e_folder: Path, vecsv: Vecsv
) -> None:
    first = write_speakers(tmp_path / "corpus", ["ann", "bob"], 2)
    second = first.with_name("second.tsv")
    second.write_bytes(first.read_bytes())
    store = tmp_path / "store"
    (tmp_path / "corpus" / "bob" / "001.wav").write_bytes(b"")
    assert vecsv("embed", "--manifest", first, "--store", store, "--model", ge2e_folder).code == 1
    write(tmp_path / "corpus" / "bob" / "001.wav", speak("bob", 1))
    said = vecsv("embed", "--manifest", second, "--store", store, "--retry-failed")
    assert said.code == 0, said.err
    assert said.out.splitlines()[:3] == ["embedded         1", "failed           0", "embedded before  3"]
    assert require_whole(store).failures == ()


@pytest.mark.parametrize("command", ["embed", "index build", "calibrate"])
def test_a_full_disk_is_one_line_and_the_store_stays_whole(
    tmp_path: Path, ge2e_folder: Path, vecsv: Vecsv, command: str
) -> None:
    manifest = write_speakers(tmp_path / "corpus", ["ann", "bob"], 10)
    store = tmp_path / "store"
    assert vecsv("embed", "--manifest", manifest, "--store", store, "--model", ge2e_folder).code == 0
    before = read_content(store)
    more = write_speakers(tmp_path / "more", ["cyd"], 4)
    arguments = [*command.split(), "--store", str(store)]
    if command == "embed":
        arguments += ["--manifest", str(more), "--model", str(ge2e_folder)]

    def no_room() -> None:
        # Every file that grows beyond this fails to be written, also from C++.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    done = subprocess.run(
        [sys.executable, "-B", "-m", "vecsv", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=no_room,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"vecsv: {store}")
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert require_whole(store) == before
    assert vecsv(*arguments).code == 0
    require_whole(store)
    assert strangers(store) == []
