from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from safetensors.numpy import load_file

from vecsv.models import ge2e
from vecsv.models.bundle import TENSORS_FILE
from vecsv.models.fingerprint import canonical_json, fingerprint
from vecsv.models.windows import POOLING, Pooling, Windowing

Tensors = dict[str, NDArray[Any]]
TENSORS: Tensors = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, 2], dtype=np.int64),
}


def mark(tensors: Tensors, **rules: Any) -> str:
    return fingerprint(tensors, **{"frontend": ge2e.FRONTEND, "windowing": ge2e.WINDOWING, "pooling": POOLING, **rules})


def test_a_fingerprint_is_the_hash_of_the_documented_text() -> None:
    """Written out once more: stores carry fingerprints, so no release may compute them differently."""
    rules = (
        '{"frontend":{"centre":true,"f_max":8000.0,"f_min":0.0,"hop":160,"kind":"mel-spectrogram","log":"none",'
        '"mel_norm":"slaney","mel_scale":"slaney","mels":40,"n_fft":400,"power":2.0,"sample_rate":16000,'
        '"trimming":{"aggressiveness":3,"detector":"webrtc","dilation_windows":7,"smoothing_windows":8,"window_s":0.03},'
        '"volume_dbfs":-30.0,"window":"hann-periodic"},'
        '"pooling":{"block_s":60.0,"blocks":"speech-weighted-mean","windows":"mean"},'
        '"windowing":{"frames":160,"min_coverage":0.75,"step":77}}\n'
    )
    text = (
        b'{"dtype":"int64","name":"a","shape":[2]}\n'
        + bytes([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])
        + b'{"dtype":"float32","name":"b","shape":[2,3]}\n'
        + bytes.fromhex("00000000 0000803f 00000040 00004040 00008040 0000a040")
        + rules.encode()
    )
    assert mark(TENSORS) == hashlib.sha256(text).hexdigest()


def test_the_default_model_keeps_the_fingerprint_that_stores_carry(ge2e_folder: Path) -> None:
    expected = "04506cbcad2a6f9981c98c3e75bd9b86bd020f49e46a781f4f95de64b069eeec"
    assert mark(load_file(ge2e_folder / TENSORS_FILE)) == expected
    assert ge2e.load(ge2e_folder).fingerprint == expected


def test_order_memory_layout_and_byte_order_do_not_matter() -> None:
    same = {
        "a": TENSORS["a"].astype(">i8"),
        "b": np.asfortranarray(TENSORS["b"]),
    }
    assert mark(same) == mark(TENSORS)


@given(
    arrays(np.float32, array_shapes(max_side=4), elements=st.floats(-1, 1, width=32)),
    st.data(),
)
def test_any_single_bit_matters(tensor: NDArray[np.float32], data: st.DataObject) -> None:
    changed = tensor.copy()
    bits = changed.view(np.uint32).reshape(-1)
    bits[data.draw(st.integers(0, bits.size - 1))] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
    assert mark({"t": tensor}) != mark({"t": changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"a": TENSORS["a"], "c": TENSORS["b"]},
        {"a": TENSORS["a"], "b": TENSORS["b"].reshape(3, 2)},
        {"a": TENSORS["a"].astype(np.int32), "b": TENSORS["b"]},
        {"a": TENSORS["a"]},
        {**TENSORS, "c": np.empty(0, dtype=np.float32)},
    ],
)
def test_names_shapes_types_and_presence_matter(changed: Tensors) -> None:
    assert mark(changed) != mark(TENSORS)


@pytest.mark.parametrize(
    "rules",
    [
        {"frontend": replace(ge2e.FRONTEND, hop=161)},
        {"frontend": replace(ge2e.FRONTEND, volume_dbfs=None)},
        {"frontend": replace(ge2e.FRONTEND, trimming=None)},
        {"windowing": Windowing(160, 80, 0.75)},
        {"pooling": Pooling(block_s=30.0)},
    ],
)
def test_every_rule_matters(rules: dict[str, Any]) -> None:
    assert mark(TENSORS, **rules) != mark(TENSORS)


def test_canonical_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"level": float("nan")})
