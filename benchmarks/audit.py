"""What `vecsv audit` finds when labels are wrong on purpose: `python benchmarks/audit.py SPEECH`.

SPEECH is a folder with `dev.tsv`. All of it is embedded once; then, for each of 20 seeds, ten recordings of its
LibriSpeech and VCTK speakers get the label of another of those speakers, and the ten highest findings of the kind
`other-speaker` are held against them. Then two of those speakers are given one name, and one of them two (half of
the recordings each); counted is how often that very error is the first finding.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from vecsv import Store
from vecsv.curation.audit import Audit, Kind, Recordings, audit_recordings, read_recordings
from vecsv.store.reader import Snapshot

SWAPPED = 10
SEEDS = 20
CORPORA = ("librispeech", "vctk")


def main(speech: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        store.embed(speech / "dev.tsv")
        recordings = read_recordings(Snapshot.open(store.folder))
    clean = audit_recordings(recordings, "ge2e", "")
    print(f"{len(recordings.utt_ids)} recordings, {len(recordings.names)} speakers; as they are: {_kinds(clean)}")
    hits, alone = [], []
    for seed in range(SEEDS):
        swapped, rows = _swap(recordings, seed)
        found = audit_recordings(swapped, "ge2e", "")
        wrong = {recordings.utt_ids[row] for row in rows}
        ranked = [one.utt_id for one in found.findings if one.kind is Kind.OTHER_SPEAKER]
        hits.append(len(wrong.intersection(ranked[:SWAPPED])))
        alone.append(len(wrong.intersection(one.utt_id for one in found.findings[:SWAPPED])))
    print(f"top {SWAPPED} other-speaker, {SEEDS} seeds: precision = recall = {_shares(hits)}")
    print(f"top {SWAPPED} of all kinds, {SEEDS} seeds: precision = recall = {_shares(alone)}")
    merged = [_merge(recordings, seed) for seed in range(SEEDS)]
    halved = [_halve(recordings, seed) for seed in range(SEEDS)]
    print(f"two people under one name, found first: {sum(merged)} of {SEEDS}")
    print(f"one person under two names, found first: {sum(halved)} of {SEEDS}")


def _merge(recordings: Recordings, seed: int) -> bool:
    one, other = np.random.default_rng(seed).choice(_eligible(recordings), 2, replace=False)
    codes = np.where(recordings.codes == other, one, recordings.codes)
    used, codes = np.unique(codes, return_inverse=True)
    names = [recordings.names[code] for code in used]
    first = audit_recordings(replace(recordings, codes=codes.astype(np.int64), names=names), "ge2e", "").findings[0]
    return first.kind is Kind.TWO_PEOPLE and first.speaker == recordings.names[one]


def _halve(recordings: Recordings, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    one = rng.choice(_eligible(recordings))
    rows = rng.permutation(np.flatnonzero(recordings.codes == one))
    codes = recordings.codes.copy()
    codes[rows[: len(rows) // 2]] = len(recordings.names)
    names = [*recordings.names, "second name"]
    first = audit_recordings(replace(recordings, codes=codes, names=names), "ge2e", "").findings[0]
    return first.kind is Kind.SAME_PERSON and {first.speaker, first.other_speaker} == {recordings.names[one], names[-1]}


def _eligible(recordings: Recordings) -> np.ndarray:
    return np.array([code for code, name in enumerate(recordings.names) if name.startswith(CORPORA)])


def _swap(recordings: Recordings, seed: int) -> tuple[Recordings, np.ndarray]:
    rng = np.random.default_rng(seed)
    eligible = _eligible(recordings)
    rows = rng.choice(np.flatnonzero(np.isin(recordings.codes, eligible)), SWAPPED, replace=False)
    codes = recordings.codes.copy()
    for row in rows:
        codes[row] = rng.choice(eligible[eligible != codes[row]])
    return replace(recordings, codes=codes), rows


def _kinds(found: Audit) -> str:
    kinds = [one.kind for one in found.findings]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in Kind)


def _shares(counts: list[int]) -> str:
    shares = np.array(counts) / SWAPPED
    return f"{shares.mean():.1%} on average, {shares.min():.0%} at worst"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
