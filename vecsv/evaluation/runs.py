"""An evaluation kept on disk: the figures as JSON, and the scores they come from.

A run is a folder with ``metrics.json`` (what ``vecsv eval --json`` prints, with the digest of the scores) and
``scores.parquet`` (a trial a row: ``enrol``, ``test``, ``enrol_speaker`` and ``test_speaker`` as numbers, ``target``,
``score``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecsv.arrays import Flags, Scores
from vecsv.calibration.populations import Positions
from vecsv.durable import sha256_of, write_file, write_text
from vecsv.errors import StoreError
from vecsv.evaluation.record import Evaluation

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
METRICS_FILE = "metrics.json"
SCORES_FILE = "scores.parquet"


@dataclass(frozen=True, eq=False)
class Run:
    """An evaluation as it was kept.

    Attributes
    ----------
    folder : Path
    document : dict
        What ``metrics.json`` says.
    enrol, test : ChunkedArray of string
        Names of the two sides of each trial.
    enrol_speakers, test_speakers : int64 ``(trials,)``
        Numbers that are equal where the speakers are.
    labels : bool ``(trials,)``
        True for target trials.
    scores : float32 ``(trials,)``
    """

    folder: Path
    document: dict[str, Any]
    enrol: pa.ChunkedArray
    test: pa.ChunkedArray
    enrol_speakers: Positions
    test_speakers: Positions
    labels: Flags
    scores: Scores


def write_run(folder: Path, evaluation: Evaluation) -> None:
    """Keep an evaluation in a folder, which is made when it is not there; a run that is there is replaced."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    trials = evaluation.listed_trials()
    names = pa.array([side.name for side in trials.sides], pa.string())
    table = pa.table(
        {
            "enrol": pa.DictionaryArray.from_arrays(pa.array(trials.first.astype(np.int32)), names),
            "test": pa.DictionaryArray.from_arrays(pa.array(trials.second.astype(np.int32)), names),
            "enrol_speaker": evaluation.speakers[trials.first],
            "test_speaker": evaluation.speakers[trials.second],
            "target": trials.labels,
            "score": trials.scores,
        }
    )
    write_file(folder / SCORES_FILE, lambda path: pq.write_table(table, path, compression="zstd"))
    digest = sha256_of(folder / SCORES_FILE)
    document = {"format": FORMAT_VERSION, **evaluation.to_json(), "scores_sha256": digest}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(folder / METRICS_FILE, text)


def read_run(folder: Path) -> Run:
    """Read what `write_run` kept.

    Raises
    ------
    StoreError
        When there is no run in the folder, or its two files are not of one evaluation.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    metrics, scores = folder / METRICS_FILE, folder / SCORES_FILE
    again = "evaluate again: vecsv eval ... --out " + str(folder)
    try:
        document = json.loads(metrics.read_text(encoding="utf-8"))
        if document["format"] != FORMAT_VERSION:
            raise StoreError(f"run format {document['format']} is unknown", where=str(metrics), hint=again)
        if document["scores_sha256"] != sha256_of(scores):
            raise StoreError(f"{METRICS_FILE} and {SCORES_FILE} are not of one run", where=str(folder), hint=again)
        table = pq.ParquetFile(scores).read()
        return Run(
            folder,
            document,
            *(table.column(name).cast(pa.string()) for name in ("enrol", "test")),
            *(table.column(name).to_numpy() for name in ("enrol_speaker", "test_speaker", "target", "score")),
        )
    except FileNotFoundError as error:
        raise StoreError("no evaluation here", where=str(folder), hint=again) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"damaged: {error}", where=str(folder), hint=again) from error


def write_scores(out: Path, evaluation: Evaluation) -> None:
    """Write the trials with their scores: a header, then label, enrolment, test and score, separated by tabs."""
    trials = evaluation.listed_trials()
    names = [side.name for side in trials.sides]
    columns = (trials.labels.tolist(), trials.first.tolist(), trials.second.tolist(), trials.scores.tolist())

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write("label\tenrol\ttest\tscore\n")
            for label, first, second, score in zip(*columns, strict=True):
                # Nine digits name a float32 without loss.
                file.write(f"{int(label)}\t{names[first]}\t{names[second]}\t{score:.9g}\n")

    write_file(out, write)
