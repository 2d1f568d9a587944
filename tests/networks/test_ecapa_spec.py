from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vecsv.errors import ModelError
from vecsv.networks.ecapa_spec import ORIGINAL, SPEECHBRAIN, VARIANTS, WESPEAKER_512_GLOBAL, EcapaSpec


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
def test_a_spec_survives_json(spec: EcapaSpec) -> None:
    assert EcapaSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_original_design_is_what_the_paper_has_without_global_context() -> None:
    assert ORIGINAL.channels == (512, 512, 512, 512, 1536)
    assert (ORIGINAL.bands, ORIGINAL.attention_width, ORIGINAL.dim) == (80, 128, 192)
    assert (ORIGINAL.padding, ORIGINAL.global_context) == ("zero", False)


def test_reflection_needs_one_frame_more_than_it_mirrors() -> None:
    assert SPEECHBRAIN.paddings == (2, 2, 3, 4, 0)
    assert SPEECHBRAIN.min_frames == 5
    assert replace(SPEECHBRAIN, dilations=(1, 2, 3, 7, 1)).min_frames == 8


def test_a_sample_deviation_needs_two_frames() -> None:
    assert WESPEAKER_512_GLOBAL.min_frames == 2
    assert ORIGINAL.min_frames == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"channels": (512, 512, 1536)}, "as many as each other"),
        ({"channels": (512, 512, 512, 516, 1536)}, "8 equal parts"),
        ({"channels": (512, 512, 512, 0, 1536)}, "channels is"),
        ({"kernels": (4, 3, 3, 3, 1)}, "have to be odd"),
        ({"dilations": (1, 2, 0, 4, 1)}, "dilations is"),
        ({"scale": 1}, "1 equal parts"),
        ({"padding": "mirror"}, "padding is 'mirror', this version knows zero, reflect"),
        ({"passed_part": "middle"}, "passed_part is 'middle'"),
        ({"context_deviation": "robust"}, "context_deviation is 'robust'"),
        ({"variance_floor": 0.0}, "has to be positive"),
        ({"se_width": 0}, "se_width is 0"),
    ],
)
def test_an_impossible_design_is_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        EcapaSpec.from_json({**ORIGINAL.to_json(), **change})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dim": "192"}, "dim is '192', which is no int"),
        ({"dim": True}, "dim is True"),
        ({"channels": [512, 512.5, 512, 512, 1536]}, "which is no tuple"),
        ({"global_context": 1}, "which is no bool"),
        ({"heads": 4}, "unknown or missing: heads"),
    ],
)
def test_json_that_is_no_spec_is_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        EcapaSpec.from_json({**ORIGINAL.to_json(), **change})


def test_a_field_left_out_is_refused() -> None:
    values = ORIGINAL.to_json()
    del values["padding"]
    with pytest.raises(ModelError, match="unknown or missing: padding"):
        EcapaSpec.from_json(values)
