from __future__ import annotations

import numpy as np
import pytest

from vecsv.errors import ModelError
from vecsv.models.fitting import listed, require_fit


def test_tensors_that_fit_pass() -> None:
    require_fit({"a": np.ones((2, 3))}, {"a": (2, 3)}, where="x")


def test_all_that_does_not_fit_is_listed_in_one_line() -> None:
    tensors = {"b": np.ones((2, 3)), "c": np.array([1.0, np.nan]), "d": np.array([np.inf]), "e": np.ones(1)}
    with pytest.raises(ModelError) as refusal:
        require_fit(tensors, {"a": (1,), "b": (3, 2), "c": (2,), "d": (1,)}, where="model.pt")
    assert str(refusal.value) == (
        "model.pt: its tensors do not fit: missing a; not expected e; of another shape b (2, 3) instead of (3, 2); "
        "not finite c, d"
    )


def test_a_long_list_and_a_long_name_stay_short() -> None:
    assert listed([f"t{number}" for number in range(1000)]) == "t0, t1, t2, t3, t4 and 995 more"
    assert len(listed(["x" * 10**6])) == 120
