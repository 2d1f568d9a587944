"""The whole way from recordings to answers, as a user would type it, with what a user would see.

``make demo`` runs it on synthetic voices made on the spot; ``make demo SPEECH=folder`` on the real recordings
that the folder's ``dev.tsv``, ``train.tsv``, ``enroll.tsv`` and ``probe.tsv`` list. It stops with exit code 1
as soon as a command ends otherwise than it should, or an answer is not good enough.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[1]
# Relative, so that the commands shown are the ones a user would type in the project's folder.
WORK = Path("build/demo")
PROGRAM = Path(sys.executable).with_name("vecsv")
SPEAKERS = 12
UTTERANCES = 8
# A draw in which no two voices are nearly alike: what is shown does not hang on the threshold's third decimal.
SEED = 3
ENROLLED_UTTERANCES = 5
RANK_1_WANTED = 0.98
CALIBRATION_EXCLUDES = "librispeech-test-other/"

Row: TypeAlias = tuple[str, str]


class DemoError(Exception):
    """A command or an answer was not what it should be."""


def say(text: str) -> None:
    """Print a line between commands."""
    print(f"\n# {text}", flush=True)


def run(command: Sequence[str], *, expected: int = 0, meaning: str = "") -> None:
    """Show a command, run it with its output going straight to the terminal, and insist on its exit code."""
    start(command)
    check(command, subprocess.run(resolve(command), check=False).returncode, expected)
    if meaning:
        print(f"(exit code {expected}: {meaning})", flush=True)


def run_for_json(command: Sequence[str], *, lines_shown: int = 12) -> Any:
    """Show a command and the beginning of the JSON it prints; return the JSON."""
    printed = run_for_text(command, lines_shown=lines_shown)
    try:
        return json.loads(printed)
    except json.JSONDecodeError as error:
        raise DemoError(f"'{shlex.join(command)}' printed no JSON: {error}") from error


def run_for_text(command: Sequence[str], *, lines_shown: int) -> str:
    """Show a command and the beginning of what it prints; return all of that."""
    start(command)
    done = subprocess.run(resolve(command), check=False, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    print("\n".join(lines[:lines_shown]), flush=True)
    if len(lines) > lines_shown:
        print(f"... ({len(lines) - lines_shown} more lines)", flush=True)
    check(command, done.returncode, 0)
    return done.stdout


def start(command: Sequence[str]) -> None:
    """Show a command as a user types it."""
    print(f"\n$ {shlex.join(command)}", flush=True)


def resolve(command: Sequence[str]) -> list[str]:
    """Replace the program's name by this environment's copy of it."""
    program = {"vecsv": str(PROGRAM), "python": sys.executable}[command[0]]
    return [program, *command[1:]]


def check(command: Sequence[str], code: int, expected: int) -> None:
    """Insist on an exit code."""
    if code != expected:
        raise DemoError(f"'{shlex.join(command)}' ended with exit code {code}, not {expected}")


def read_manifest(path: Path) -> list[Row]:
    """Path (as seen from here) and speaker of each row of a manifest, with or without a header."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    where, who = 0, 1
    if {"path", "speaker"} <= set(rows[0]):
        where, who = rows[0].index("path"), rows[0].index("speaker")
        rows = rows[1:]
    return [(str(path.parent / row[where]), row[who]) for row in rows]


def write_manifest(path: Path, rows: Iterable[Row]) -> Path:
    """Write a two-column manifest: paths below its folder relative to it, others absolute."""
    lines = []
    for recording, speaker in rows:
        place = Path(recording)
        inside = place.is_relative_to(path.parent)
        lines.append(f"{place.relative_to(path.parent) if inside else place.resolve()}\t{speaker}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def by_speaker(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Recordings of each speaker, in the manifest's order."""
    recordings: dict[str, list[str]] = {}
    for recording, speaker in rows:
        recordings.setdefault(speaker, []).append(recording)
    return recordings


def check_rank_1(answers: Any, probes: Sequence[Row]) -> None:
    """Print how many probes found their speaker first, and insist on enough of them."""
    found = [answer["hits"][0]["speaker"] if answer["hits"] else None for answer in answers["queries"]]
    if len(found) != len(probes):
        raise DemoError(f"the search answered {len(found)} queries of {len(probes)}")
    right = sum(speaker == wanted for speaker, (_, wanted) in zip(found, probes, strict=True))
    print(f"rank-1: {right} of {len(probes)} probes found their speaker first ({right / len(probes):.1%})")
    if right < RANK_1_WANTED * len(probes):
        raise DemoError(f"rank-1 is {right / len(probes):.1%}, below {RANK_1_WANTED:.0%}")


def ask(store: str, queries: Path, probes: Sequence[Row]) -> None:
    """Verify and search: one recording against one, one against a speaker, one against all, many against all."""
    recordings = by_speaker(probes)
    (speaker, own), (_, others) = list(recordings.items())[:2]
    say("Is this the same person? Two recordings of one speaker, then of two.")
    run(["vecsv", "verify", own[0], own[1], "--store", store], meaning="same speaker")
    run(["vecsv", "verify", own[0], others[0], "--store", store], expected=1, meaning="different speakers")
    run(["vecsv", "verify", own[0], "--speaker", speaker, "--store", store], meaning="same speaker")
    say("Who is this? One recording, then a list of them.")
    run(["vecsv", "search", own[0], "--top-k", "5", "--store", store])
    answers = run_for_json(["vecsv", "search", "--queries", str(queries), "--json", "--store", store])
    check_rank_1(answers, probes)


def erase(store: str, speaker: str, recording: str) -> None:
    """Take one speaker out of the store, and see that nothing is left to find."""
    say(f"{speaker} wants to be forgotten.")
    run(["vecsv", "erase", "--speaker", speaker, "--yes", "--store", store])
    listed = run_for_text(["vecsv", "speakers", "--store", store], lines_shown=15)
    if speaker in listed.split():
        raise DemoError(f"{speaker} is still listed after being erased")
    verify = ["vecsv", "verify", recording, "--speaker", speaker, "--store", store]
    run(verify, expected=2, meaning="nobody of that name")


def synthetic() -> None:
    """Run the demonstration on voices made on the spot."""
    say(f"Recordings of {SPEAKERS} synthetic speakers, one folder each.")
    voices, store = WORK / "voices", str(WORK / "index")
    count = ["--speakers", str(SPEAKERS), "--utterances", str(UTTERANCES), "--seed", str(SEED)]
    run(["python", "-m", "tests.fixtures.voices", str(voices), *count])

    say("The model: fetched once, then kept in the cache.")
    run(["vecsv", "models", "pull", "ge2e"])
    run(["vecsv", "models", "list"])

    say("A manifest from the folders. Part of the recordings goes into the database; the last speaker stays out.")
    listing = voices / "all.tsv"
    run(["vecsv", "manifest", "make", str(voices), "-o", str(listing)])
    recordings = by_speaker(read_manifest(listing))
    *known, newcomer = recordings
    train = [(path, speaker) for speaker in known for path in recordings[speaker][:ENROLLED_UTTERANCES]]
    probes = [(path, speaker) for speaker in known for path in recordings[speaker][ENROLLED_UTTERANCES:]]
    manifest = write_manifest(WORK / "train.tsv", train)
    queries = write_manifest(WORK / "probe.tsv", probes)

    say("Embeddings, an index over them, and thresholds from them.")
    run(["vecsv", "embed", "--manifest", str(manifest), "--store", store])
    run(["vecsv", "index", "build", "--store", store])
    run(["vecsv", "index", "info", "--store", store])
    run(["vecsv", "calibrate", "--store", store])
    run(["vecsv", "calibrate", "--search", "--fpir", "0.1", "--store", store])

    ask(store, queries, probes)

    say("How good is it, are the labels right, and a page to hand on.")
    run(["vecsv", "eval", "--store", store, "--all-pairs"])
    run(["vecsv", "audit", "--store", store, "--top", "3"])
    run(["vecsv", "report", "--store", store, "--out", str(WORK / "report")])

    say(f"{newcomer} is new: enrolled beside the index, found at once.")
    enrolment, probe = recordings[newcomer][:-1], recordings[newcomer][-1]
    run(["vecsv", "enroll", "--speaker", newcomer, *enrolment[:2], "--store", store])
    run(["vecsv", "speakers", "--store", store])
    run(["vecsv", "verify", probe, "--speaker", newcomer, "--store", store], meaning="same speaker")
    run(["vecsv", "search", probe, "--top-k", "3", "--store", store])

    erase(store, known[0], recordings[known[0]][0])


def real(speech: Path) -> None:
    """Run the demonstration on real recordings: thresholds from some speakers, the search among others."""
    calibration, gallery = str(WORK / "calibration"), str(WORK / "gallery")
    say("The model: fetched once, then kept in the cache.")
    run(["vecsv", "models", "pull", "ge2e"])

    say("Thresholds come from speakers that are not searched for: dev.tsv without librispeech-test-other.")
    dev = [row for row in read_manifest(speech / "dev.tsv") if CALIBRATION_EXCLUDES not in row[0]]
    manifest = write_manifest(WORK / "calibration.tsv", dev)
    run(["vecsv", "embed", "--manifest", str(manifest), "--store", calibration])
    run(["vecsv", "calibrate", "--store", calibration])

    say("The gallery: enroll.tsv beside the distractors of train.tsv.")
    for name in ("train.tsv", "enroll.tsv"):
        run(["vecsv", "embed", "--manifest", str(speech / name), "--store", gallery])
    run(["vecsv", "index", "build", "--store", gallery])
    run(["vecsv", "index", "info", "--store", gallery])
    run(["vecsv", "calibrate", "--store", gallery, "--from", calibration])
    run(["vecsv", "calibrate", "--search", "--fpir", "0.05", "--store", gallery])

    probes = read_manifest(speech / "probe.tsv")
    ask(gallery, speech / "probe.tsv", probes)
    erase(gallery, probes[0][1], probes[0][0])


def main() -> int:
    """Run one of the two demonstrations."""
    parser = argparse.ArgumentParser(description="Show vecsv at work.")
    parser.add_argument("--speech", type=Path, help="folder of real recordings with their manifests")
    speech: Path | None = parser.parse_args().speech
    if speech is not None and not (speech / "probe.tsv").is_file():
        print(f"demo: {speech} holds no recordings with manifests (no probe.tsv)", file=sys.stderr)
        return 2
    if speech is not None:
        speech = Path(os.path.relpath(speech, ROOT))
    os.chdir(ROOT)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    began = time.monotonic()
    try:
        if speech is None:
            synthetic()
        else:
            real(speech)
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    print(f"\nAll as it should be, in {time.monotonic() - began:.0f} s. The store is under {WORK}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
