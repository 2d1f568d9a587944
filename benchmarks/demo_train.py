"""From recordings to a model of one's own and its answers: train, embed, index, calibrate, verify, search.

``make demo-train`` runs it on synthetic voices, with noises and rooms made by NumPy, in a few minutes; ``make
demo-train SPEECH=folder`` on the folder's ``train.tsv``, ``noise`` and ``rir``, with the small recipe as it is. The
speakers in the database are none that the model has learnt from. It stops with exit code 1 as soon as a command ends
otherwise than it should, or the model is not good enough.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.demo import (
    CALIBRATION_EXCLUDES,
    DemoError,
    Row,
    by_speaker,
    read_manifest,
    run,
    run_for_json,
    say,
    write_manifest,
)
from vecsv.cli import show

# Relative, so that the commands shown are the ones a user would type in the project's folder.
WORK = Path("build/demo-train")
RATE = 16000
SPEAKERS, UTTERANCES, SEED = 44, 12, 3
IN_DATABASE, ENROLLED_UTTERANCES, DEV_SPEAKERS = 14, 6, 6
# What follows from chance alone is 50% and 1 in 14.
EER_WANTED = {"synthetic": 0.10, "real": 0.15}
RANK_1_WANTED = 0.8

Signal: TypeAlias = NDArray[np.float64]


@dataclass
class Times:
    """What took how long, and what came of it."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what is put into the list is told beside it."""
        began, results = time.monotonic(), list[str]()
        yield results
        self.rows.append((name, show.duration(time.monotonic() - began), ", ".join(results)))


def coloured(generator: np.random.Generator, samples: int, slope: float) -> Signal:
    """Noise whose power falls as frequency to the power of `slope`: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-slope / 2)
    spectrum[0] = 0
    return np.fft.irfft(spectrum, samples)


def make_noises(folder: Path, *, seed: int, seconds: float = 10.0) -> None:
    """Write noises as there are in rooms: hiss, rumble, a hum with its harmonics, a machine that beats."""
    generator = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    times = np.arange(samples) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * number * times + number) / number for number in range(1, 12))
    beat = 1 + 0.9 * np.sign(np.sin(2 * np.pi * 3.1 * times))
    made = {
        "hiss": coloured(generator, samples, 0),
        "fan": coloured(generator, samples, 1),
        "rumble": coloured(generator, samples, 2),
        "hum": hum + coloured(generator, samples, 1),
        "machine": beat * coloured(generator, samples, 1),
    }
    folder.mkdir(parents=True)
    for name, noise in made.items():
        soundfile.write(folder / f"{name}.wav", 0.1 * noise / noise.std() / 3, RATE, "PCM_16")


def make_rooms(folder: Path, *, seed: int) -> None:
    """Write impulse responses: a direct sound, then noise that has fallen by 60 dB after the room's time."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for decay_s in (0.2, 0.35, 0.5, 0.8):
        times = np.arange(round(decay_s * RATE)) / RATE
        response = 0.05 * generator.standard_normal(len(times)) * 10 ** (-3 * times / decay_s)
        response[: round(0.002 * RATE)] = 0
        response[0] = 1
        soundfile.write(folder / f"{decay_s:g}s.wav", 0.9 * response / np.abs(response).max(), RATE, "PCM_16")


def train(times: Times, manifest: Path, *options: str) -> None:
    """Train a model called ``demo``."""
    with times.step("train") as results:
        folder = WORK / "run"
        command = ["vecsv", "train", "ecapa", "--manifest", str(manifest), "--name", "demo", "--out", str(folder)]
        run([*command, *options])
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
        best = min(history, key=lambda epoch: epoch["dev_eer"])
        results.append(f"EER {best['dev_eer']:.2%} on unseen speakers after epoch {best['epoch']} of {len(history)}")
    run(["vecsv", "models", "list", "--cached"])


def database(times: Times, store: str, manifests: Sequence[Path], *calibrate: str) -> None:
    """Embed, index and calibrate."""
    with times.step("embed"):
        for manifest in manifests:
            run(["vecsv", "embed", "--manifest", str(manifest), "--model", "demo", "--store", store])
    with times.step("index build"):
        run(["vecsv", "index", "build", "--store", store])
    with times.step("calibrate"):
        run(["vecsv", "calibrate", "--store", store, *calibrate])


def ask(times: Times, store: str, queries: Path, probes: Sequence[Row], *, eer_wanted: float) -> None:
    """Verify and search, and insist on a model that is good enough."""
    (speaker, own), (_, others) = list(by_speaker(probes).items())[:2]
    with times.step("verify"):
        say("Speakers that the model has never heard: one of them against a recording, then against another's.")
        run(["vecsv", "verify", own[0], "--speaker", speaker, "--store", store], meaning="same speaker")
        different = ["vecsv", "verify", others[0], "--speaker", speaker, "--store", store]
        run(different, expected=1, meaning="different speakers")
    with times.step("search") as results:
        answers = run_for_json(["vecsv", "search", "--queries", str(queries), "--json", "--store", store])
        results.append(f"rank-1 {check_rank_1(answers, probes):.1%} of {len(probes)} probes")
    with times.step("eval") as results:
        found = run_for_json(["vecsv", "eval", "--store", store, "--all-pairs", "--json"], lines_shown=3)
        eer = found["metrics"]["eer"]
        results.append(f"EER {eer:.2%} on all pairs of the database")
    if eer > eer_wanted:
        raise DemoError(f"EER is {eer:.2%}, above {eer_wanted:.0%}")


def check_rank_1(answers: Any, probes: Sequence[Row]) -> float:
    """How many probes found their speaker first; insists on enough of them."""
    found = [answer["hits"][0]["speaker"] if answer["hits"] else None for answer in answers["queries"]]
    right = sum(bool(one == wanted) for one, (_, wanted) in zip(found, probes, strict=True))
    part: float = right / len(probes)
    if part < RANK_1_WANTED:
        raise DemoError(f"rank-1 is {part:.1%}, below {RANK_1_WANTED:.0%}")
    return part


def synthetic(times: Times, epochs: int) -> None:
    """Run the demonstration on voices made on the spot."""
    say(f"Recordings of {SPEAKERS} synthetic speakers; noises and rooms to train with.")
    voices, store = WORK / "voices", str(WORK / "index")
    count = ["--speakers", str(SPEAKERS), "--utterances", str(UTTERANCES), "--seed", str(SEED)]
    with times.step("make voices"):
        run(["python", "-m", "tests.fixtures.voices", str(voices), *count])
        make_noises(WORK / "noise", seed=SEED)
        make_rooms(WORK / "rooms", seed=SEED)

    say(
        f"{IN_DATABASE} of them go into the database, the others into the training; {DEV_SPEAKERS} of those measure it."
    )
    listing = voices / "all.tsv"
    run(["vecsv", "manifest", "make", str(voices), "-o", str(listing)])
    recordings = by_speaker(read_manifest(listing))
    known, learnt = list(recordings)[:IN_DATABASE], list(recordings)[IN_DATABASE:]
    manifest = write_manifest(WORK / "train.tsv", [(path, one) for one in learnt for path in recordings[one]])
    enrolled = [(path, one) for one in known for path in recordings[one][:ENROLLED_UTTERANCES]]
    probes = [(path, one) for one in known for path in recordings[one][ENROLLED_UTTERANCES:]]
    queries = write_manifest(WORK / "probe.tsv", probes)

    sounds = ["--noise", str(WORK / "noise"), "--rooms", str(WORK / "rooms")]
    settings = [f"data.dev_speakers={DEV_SPEAKERS}", "optimiser.warm_up_steps=50", "loss.warm_up=[1, 4]"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    train(times, manifest, *sounds, *overrides, "--epochs", str(epochs))
    database(times, store, [write_manifest(WORK / "enrol.tsv", enrolled)])
    ask(times, store, queries, probes, eer_wanted=EER_WANTED["synthetic"])


def real(times: Times, speech: Path, epochs: int | None) -> None:
    """Run the demonstration on real recordings; who is searched for is in no other list."""
    calibration, store = str(WORK / "calibration"), str(WORK / "index")
    dev = [row for row in read_manifest(speech / "dev.tsv") if CALIBRATION_EXCLUDES not in row[0]]
    manifest = write_manifest(WORK / "dev.tsv", dev)
    sounds = ["--noise", str(speech / "noise"), "--rooms", str(speech / "rir")]
    length = [] if epochs is None else ["--epochs", str(epochs)]
    train(times, speech / "train.tsv", "--dev", str(manifest), *sounds, *length)
    say("Thresholds come from speakers that are not searched for.")
    run(["vecsv", "embed", "--manifest", str(manifest), "--model", "demo", "--store", calibration])
    run(["vecsv", "calibrate", "--store", calibration])
    database(times, store, [speech / "enroll.tsv"], "--from", calibration)
    probes = read_manifest(speech / "probe.tsv")
    ask(times, store, speech / "probe.tsv", probes, eer_wanted=EER_WANTED["real"])


def main() -> int:
    """Run one of the two demonstrations."""
    parser = argparse.ArgumentParser(description="Train a model and use it.")
    parser.add_argument("--speech", type=Path, help="folder of real recordings with their manifests, noise and rir")
    parser.add_argument("--epochs", type=int, help="instead of the demonstration's 6, or of the recipe's own")
    given = parser.parse_args()
    speech: Path | None = given.speech
    if speech is not None and not (speech / "train.tsv").is_file():
        print(f"demo-train: {speech} holds no recordings with manifests (no train.tsv)", file=sys.stderr)
        return 2
    if speech is not None:
        speech = Path(os.path.relpath(speech, ROOT))
    os.chdir(ROOT)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    # The model called demo is to be nobody else's.
    os.environ["VECSV_CACHE"] = str(WORK / "cache")
    times = Times()
    try:
        if speech is None:
            synthetic(times, given.epochs or 6)
        else:
            real(times, speech, given.epochs)
    except DemoError as error:
        print(f"\ndemo-train: {error}", file=sys.stderr)
        return 1
    print(flush=True)
    show.table(["step", "took", "result"], times.rows)
    print(f"\nAll as it should be. The run is under {WORK / 'run'}, the model in the cache {WORK / 'cache'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
