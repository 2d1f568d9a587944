from __future__ import annotations

import numpy as np
import pytest

from vecsv.frontend.compute import bands_of, front_end
from vecsv.frontend.spec import (
    FrontendSpec,
    KaldiSpec,
    LogMelSpec,
    MelSpectrogramSpec,
    MfccSpec,
    SpectrogramSpec,
    WaveformSpec,
)


@pytest.mark.parametrize(
    ("spec", "bands"),
    [
        (MelSpectrogramSpec(mels=39), 39),
        (LogMelSpec(mels=72), 72),
        (KaldiSpec(mels=64), 64),
        (SpectrogramSpec(n_fft=512), 257),
        (SpectrogramSpec(n_fft=401), 201),
        (MfccSpec(coefficients=13), 13),
    ],
    ids=lambda value: value.kind if not isinstance(value, int) else str(value),
)
def test_bands_are_as_many_as_the_features_have(spec: FrontendSpec, bands: int) -> None:
    assert bands_of(spec) == bands
    assert front_end(spec)(np.zeros(1600, dtype=np.float32)).shape[1] == bands
    assert front_end(spec)(np.zeros(0, dtype=np.float32)).shape[1] == bands


def test_a_waveform_is_one_band() -> None:
    assert bands_of(WaveformSpec()) == 1
