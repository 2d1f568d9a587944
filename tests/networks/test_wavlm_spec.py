from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import ModelError
from vecsv.networks.wavlm_spec import WavLMSpec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def test_a_field_that_is_left_out_is_as_the_package_has_it() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.WavLMConfig()
    ours = WavLMSpec().to_json()
    # The package leaves this one open, and it means nothing where the others are left out.
    assert ours.pop("tie_last_hidden_states") is True
    for name, value in ours.items():
        found = getattr(theirs, name)
        assert (list(found) if isinstance(found, tuple) else found) == value, name


def test_a_spec_survives_json() -> None:
    spec = WavLMSpec(hidden_size=48, conv_bias=True, layer_norm_eps=1e-6, tdnn_dilation=(1, 1, 1, 2, 2))
    assert WavLMSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_whole_numbers_and_fractions_make_equal_specs() -> None:
    assert WavLMSpec.from_config({"layer_norm_eps": 0.1}).to_json()["layer_norm_eps"] == 0.1
    with pytest.raises(ModelError, match=r"layer_norm_eps is 1\.0, but has to be in"):
        WavLMSpec.from_config({"layer_norm_eps": 1})


@pytest.mark.parametrize("values", [{}, {**WavLMSpec().to_json(), "hidden": 1}])
def test_a_bundle_s_spec_has_every_field_and_no_other(values: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="unknown or missing"):
        WavLMSpec.from_json(values)


def test_the_published_size_needs_a_third_of_a_second() -> None:
    # 400 samples for the first frame and 320 for each of the 15 others that two pooled frames rest on.
    assert WavLMSpec().min_samples == 400 + 15 * 320


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hidden_size": 10**12}, "hidden_size is 1000000000000, but has to be between 1 and 4096"),
        ({"hidden_size": 10**4000}, r"hidden_size is 1000\d+\.\.\., but"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True, which is no int"),
        ({"num_hidden_layers": "12"}, "num_hidden_layers is '12', which is no int"),
        ({"num_hidden_layers": 12.0}, "num_hidden_layers is 12.0, which is no int"),
        ({"hidden_act": "__import__('os')"}, "hidden_act is .*, this version knows gelu, gelu_new, relu, silu"),
        ({"hidden_act": ["gelu"]}, "which is no str"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm is 'batch', this version knows group, layer"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"layer_norm_eps": 10**400}, "layer_norm_eps is inf"),
        ({"conv_bias": 1}, "conv_bias is 1, which is no bool"),
        ({"conv_dim": 512}, "conv_dim is 512, which is no list of integers"),
        ({"conv_dim": [512, None]}, "which is no list of integers"),
        ({"conv_dim": [], "conv_stride": [], "conv_kernel": []}, "conv_dim has 0 entries"),
        ({"conv_dim": [512] * 10**5}, "conv_dim has 100000 entries"),
        ({"conv_dim": [512] * 6}, "conv_dim, conv_stride, conv_kernel are of different lengths"),
        ({"tdnn_kernel": [5, 3]}, "tdnn_dim, tdnn_kernel, tdnn_dilation are of different lengths"),
        ({"tdnn_dilation": [1, 2, 3, 1, 10**9]}, "tdnn_dilation is 1000000000"),
        ({"do_stable_layer_norm": True, "use_weighted_layer_sum": True}, "were one network to .* another to"),
        (
            {"do_stable_layer_norm": True, "use_weighted_layer_sum": True, "tie_last_hidden_states": 1},
            "tie_last_hidden_states is 1, which is no bool",
        ),
        ({"num_attention_heads": 7}, "hidden_size 768 is no multiple of num_attention_heads 7"),
        ({"num_conv_pos_embedding_groups": 5}, "no multiple of num_conv_pos_embedding_groups 5"),
        ({"num_buckets": 4096}, "max_bucket_distance 800 is too small for 4096 buckets"),
        # A frame for each sample would make attention's memory 100,000 times as large.
        ({"conv_stride": [1] * 7}, "a frame stands for 1 samples"),
        ({"conv_stride": [64] * 7}, "a frame stands for 4398046511104 samples"),
        ({"conv_dim": [4096] * 7}, "its convolutions make 26009600 numbers of a second"),
        ({"tdnn_kernel": [64] * 5, "tdnn_dilation": [64] * 5}, "no recording under 403 s is long enough"),
    ],
)
def test_an_impossible_or_absurd_size_is_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint) as refusal:
        WavLMSpec.from_config(change)
    assert len(str(refusal.value)) < 250


def test_where_the_last_layer_is_taken_matters_only_where_it_makes_a_difference() -> None:
    stable = {"do_stable_layer_norm": True, "use_weighted_layer_sum": True}
    assert WavLMSpec.from_config({**stable, "tie_last_hidden_states": False}).tie_last_hidden_states is False
    assert WavLMSpec.from_config({**stable, "tie_last_hidden_states": True}).tie_last_hidden_states is True
    assert WavLMSpec.from_config({"use_weighted_layer_sum": True, "tie_last_hidden_states": False}) == WavLMSpec(
        use_weighted_layer_sum=True
    )


@given(st.dictionaries(st.sampled_from([field.name for field in fields(WavLMSpec)]), JSON))
def test_whatever_a_configuration_holds_it_is_read_or_refused(values: dict[str, object]) -> None:
    try:
        spec = WavLMSpec.from_config(values)
    except ModelError as refusal:
        assert "\n" not in str(refusal)
    else:
        found = spec.to_json()
        assert all(found[name] == value for name, value in values.items() if name != "tie_last_hidden_states")
