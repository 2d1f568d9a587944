"""The thresholds that a trained model brings along: a calibration of vecsv's own, of its development recordings."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from vecsv.calibration.record import Calibration
from vecsv.calibration.run import calibrate
from vecsv.durable import write_text
from vecsv.embedding.run import EmbedSettings, embed_manifest
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import CalibrationError
from vecsv.manifest import ManifestRow, read_manifest
from vecsv.models import registry

#: What `vecsv.query.thresholds` calls thresholds that came with a model.
NAME: Final = "reference"

_COLUMNS: Final = ("utt_id", "path", "speaker", "session", "channel", "start_s", "end_s")


def reference_calibration(
    folder: Path,
    manifest: Path,
    *,
    chose_epoch: bool = True,
    engine: EngineSettings | None = None,
    workers: int = 0,
    on_message: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Calibrate a model on pairs of a manifest's recordings, embedded as users will embed theirs.

    Parameters
    ----------
    folder : Path
        The model's bundle.
    manifest : Path
        Recordings with speakers that the model has not heard.
    chose_epoch : bool
        Whether they were measured on to choose among epochs, which flatters the error rates; the source says so.
    engine : EngineSettings, optional
        What the model is run on.
    workers : int
        Threads that embed; 0: one for each core.
    on_message : callable, optional
        Told, in one line, how many recordings gave no embedding.

    Returns
    -------
    dict
        As `vecsv.models.bundle.Bundle.reference_calibration` holds it: JSON values.

    Raises
    ------
    CalibrationError
        When there are too few pairs of one speaker, or of two, or no recording can be embedded.
    VecsvError
        When the manifest cannot be read or the model cannot be loaded.
    """
    embedder = registry.load(folder, engine or EngineSettings())
    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        summary = embed_manifest(manifest, Path(scratch), embedder, EmbedSettings(workers=workers))
        if summary.embedded == 0:
            raise CalibrationError("none of its recordings gave an embedding", where=str(manifest))
        if summary.failed and on_message is not None:
            on_message(f"{summary.failed} of {summary.rows} rows of {manifest.name} gave no embedding to calibrate on")
        try:
            calibration = calibrate(Path(scratch))
        except CalibrationError as error:
            # The store it was made in is gone by now.
            raise CalibrationError(error.what, where=str(manifest), hint=error.hint) from error
    described = dataclasses.replace(
        calibration, name=NAME, origin=NAME, source=_source(calibration, manifest.name, chose_epoch=chose_epoch)
    )
    document: dict[str, Any] = json.loads(json.dumps(described.to_json(), allow_nan=False))
    return document


def _source(calibration: Calibration, manifest: str, *, chose_epoch: bool) -> str:
    basis = calibration.basis
    chose = ", which the epoch of its training was chosen by too" if chose_epoch else ""
    return f"pairs of {basis.utterances} recordings of {basis.speakers} speakers of {manifest}{chose}"


def write_part(manifest: Path, speakers: Collection[str], target: Path) -> Path:
    """Write the rows of some speakers of a manifest as a manifest of their own, with absolute paths.

    For speakers who were taken out of a training manifest to measure on. Columns without a meaning are left out.

    Parameters
    ----------
    manifest : Path
        The manifest.
    speakers : collection of str
        Whose rows.
    target : Path
        The file; one that is there is replaced.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    ManifestError
        When the manifest cannot be read.
    """
    lines = ["\t".join(_COLUMNS)]
    lines += [
        "\t".join(_fields(row))
        for row in read_manifest(manifest)
        if isinstance(row, ManifestRow) and row.speaker in speakers
    ]
    write_text(target, "\n".join(lines) + "\n")
    return target


def _fields(row: ManifestRow) -> list[str]:
    values: Mapping[str, Any] = {"path": os.fspath(row.path), **{name: getattr(row, name) for name in _COLUMNS[2:]}}
    values = {"utt_id": row.utt_id, **values}
    return ["" if values[name] is None else str(values[name]) for name in _COLUMNS]
