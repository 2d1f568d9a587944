from __future__ import annotations

import numpy as np
import pytest

from vecsv.query.search import Hit
from vecsv.serve import answers


@pytest.mark.parametrize(
    ("utt_id", "shown"),
    [
        ("ann/1.wav", "ann/1.wav"),
        ("/srv/calls/ann/1.wav", "1.wav"),
        ("/srv/calls/1.wav#t=0.5,2#speaker=a", "1.wav#t=0.5,2#speaker=a"),
        (r"C:\calls\1.wav", "1.wav"),
        ("clip-54224e11", "clip-54224e11"),
    ],
)
def test_no_folder_of_the_server_is_shown(utt_id: str, shown: str) -> None:
    fields = dict.fromkeys(Hit.__dataclass_fields__, None)
    values = {"rank": 1, "speaker": "ann", "score": float(np.float32(0.5)), "utt_id": utt_id, "enrolled": False}
    values |= {"segment": 0, "offset_s": 0.0, "duration_s": 1.0}
    hit = Hit(**{**fields, **values})
    assert answers._hit(hit).utterance == shown
