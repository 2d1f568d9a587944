from __future__ import annotations

import pytest

from vecsv.frontend.spec import FrontendSpec, KaldiSpec, MfccSpec, SpectrogramSpec, WaveformSpec
from vecsv.models.graph_interface import bands_of


@pytest.mark.parametrize(
    ("spec", "bands"),
    [(KaldiSpec(mels=64), 64), (SpectrogramSpec(), 201), (MfccSpec(coefficients=13), 13), (WaveformSpec(), None)],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_a_graph_is_fed_as_many_bands_as_its_front_end_gives(spec: FrontendSpec, bands: int | None) -> None:
    assert bands_of(spec) == bands
