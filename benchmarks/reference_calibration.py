"""Make a model's reference calibration: the thresholds it brings along for users who have not calibrated yet.

    python benchmarks/reference_calibration.py SPEECH_FOLDER

embeds the folder's ``dev.tsv`` (LibriSpeech test-other, VCTK, AMI and AISHELL-1 excerpts), calibrates on all its pairs
and writes the result into ``configs/ge2e.yaml``. It changes with the model's fingerprint only.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import yaml

import vecsv

MODEL = "ge2e"
SOURCE = "pairs of excerpts of LibriSpeech test-other, VCTK, AMI and AISHELL-1 (CC BY 4.0 and Apache-2.0)"
CARD = Path(__file__).resolve().parents[1] / "configs" / f"{MODEL}.yaml"
HEADING = "reference_calibration:"


def main() -> None:
    """Calibrate and write the card."""
    parser = argparse.ArgumentParser(description="Make the reference calibration of the default model.")
    parser.add_argument("speech", type=Path, help="folder with dev.tsv and its recordings")
    speech = parser.parse_args().speech
    with tempfile.TemporaryDirectory() as folder:
        vecsv.embed(speech / "dev.tsv", folder, model=MODEL)
        calibration = vecsv.Store(folder).calibrate()
    document = calibration.to_json() | {"name": "reference", "origin": "reference", "source": SOURCE}
    text = CARD.read_text(encoding="utf-8").partition(HEADING)[0]
    CARD.write_text(text + yaml.safe_dump({HEADING[:-1]: document}, sort_keys=False, width=120), encoding="utf-8")
    for point in calibration.points:
        print(f"{point.name:14s} {point.threshold:.4f}  FMR {point.fmr:.3%}  FNMR {point.fnmr:.2%}")


if __name__ == "__main__":
    main()
