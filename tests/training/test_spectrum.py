from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.training.specs import SpectrumSpec
from vecsv.training.spectrum import draw_masks

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch")

from vecsv.training.spectrum import mask_spectrum  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def bars(*values: tuple[float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 2)


def plainly(
    features: NDArray[np.float32], time_masks: NDArray[np.float32], band_masks: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The same by loops."""
    masked = features.copy()
    _, frames, bands = features.shape
    for crop, result, times, rows in zip(features, masked, time_masks, band_masks, strict=True):
        means = crop.mean(axis=0)
        for start, width in times:
            first, count = int(start * np.float32(frames)), int(width * np.float32(frames))
            result[first : first + count] = means
        for start, width in rows:
            first, count = int(start * np.float32(bands)), int(width * np.float32(bands))
            result[:, first : first + count] = means[first : first + count]
    return masked


@given(st.integers(0, 4), st.floats(0.0, 1.0), st.integers(0, 4), st.floats(0.0, 1.0), st.integers(0, 2**63))
def test_bars_lie_inside_and_are_no_wider_than_allowed(
    times: int, time_part: float, rows: int, band_part: float, seed: int
) -> None:
    spec = SpectrumSpec(times, time_part, rows, band_part)
    drawn = draw_masks(spec, generator(seed))
    for masks, count, widest in zip(drawn, (times, rows), (time_part, band_part), strict=True):
        assert masks.shape == (count, 2)
        assert masks.dtype == np.float32
        assert (masks >= 0.0).all()
        assert (masks[:, 1] <= widest + 1e-7).all()
        assert (masks.sum(axis=1) <= 1.0 + 1e-6).all()
    again = draw_masks(spec, generator(seed))
    assert all((first == second).all() for first, second in zip(drawn, again, strict=True))


def test_widths_and_starts_are_spread_evenly() -> None:
    draws = generator(1)
    times = np.concatenate([draw_masks(SpectrumSpec(2, 0.4, 0), draws)[0] for _ in range(1000)])
    np.testing.assert_allclose(np.quantile(times[:, 1], [0.25, 0.5, 0.75]), [0.1, 0.2, 0.3], atol=0.02)
    free = times[:, 0] / (1.0 - times[:, 1])
    np.testing.assert_allclose(np.quantile(free, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)


def test_without_a_spec_there_are_no_bars_and_nothing_is_drawn() -> None:
    draws = generator(1)
    time_masks, band_masks = draw_masks(None, draws)
    assert time_masks.shape == band_masks.shape == (0, 2)
    assert draws.random() == generator(1).random()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 1000),
)
def test_cells_under_bars_become_their_bands_mean_and_no_others(
    batch: int, frames: int, bands: int, times: int, rows: int, seed: int
) -> None:
    draws = generator(seed)
    features = draws.standard_normal((batch, frames, bands)).astype(np.float32)
    masks = [draw_masks(SpectrumSpec(times, 0.6, rows, 0.6), draws) for _ in range(batch)]
    time_masks, band_masks = (np.stack(kind) for kind in zip(*masks, strict=True))
    masked = mask_spectrum(*(torch.from_numpy(array) for array in (features, time_masks, band_masks)))
    np.testing.assert_allclose(masked.numpy(), plainly(features, time_masks, band_masks), atol=1e-5)


def test_a_bar_begins_and_ends_at_whole_cells_rounded_down() -> None:
    features = torch.arange(1.0, 11.0).reshape(1, 10, 1)
    masked = mask_spectrum(features, bars((0.29, 0.35)), bars())
    hidden = (masked != features)[0, :, 0].nonzero()[:, 0].tolist()
    assert hidden == [2, 3, 4]
    assert masked[0, 2:5, 0].tolist() == [5.5] * 3
    assert (features[0, :, 0] == torch.arange(1.0, 11.0)).all()


def test_a_bar_up_to_the_end_hides_the_last_cell() -> None:
    features = torch.arange(8.0).reshape(1, 1, 8) + torch.tensor([0.0, 1.0]).reshape(1, 2, 1)
    masked = mask_spectrum(features, bars(), bars((0.75, 0.25)))
    assert (masked != features).any(dim=1)[0].tolist() == [False] * 6 + [True] * 2


def test_features_without_a_mean_are_hidden_by_zeros() -> None:
    features = torch.from_numpy(generator(2).standard_normal((2, 20, 6)).astype(np.float32))
    features = features - features.mean(dim=1, keepdim=True)
    masked = mask_spectrum(features, bars((0.0, 0.5)).expand(2, -1, -1), bars((0.5, 0.5)).expand(2, -1, -1))
    assert masked[:, :10].abs().max() < 1e-6
    assert masked[:, :, 3:].abs().max() < 1e-6
    assert (masked[:, 10:, :3] == features[:, 10:, :3]).all()


def test_each_crop_has_bars_of_its_own() -> None:
    features = torch.from_numpy(generator(3).standard_normal((2, 10, 4)).astype(np.float32))
    masked = mask_spectrum(features, torch.cat([bars((0.0, 0.2)), bars((0.8, 0.2))]), torch.zeros(2, 0, 2))
    changed = (masked != features).any(dim=2)
    assert changed[0].nonzero()[:, 0].tolist() == [0, 1]
    assert changed[1].nonzero()[:, 0].tolist() == [8, 9]


def test_no_bars_change_nothing() -> None:
    features = torch.from_numpy(generator(4).standard_normal((2, 10, 4)).astype(np.float32))
    assert torch.equal(mask_spectrum(features, torch.zeros(2, 0, 2), torch.zeros(2, 0, 2)), features)
    assert torch.equal(mask_spectrum(features, torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)), features)


def test_half_precision_stays_half_precision() -> None:
    features = torch.ones(1, 10, 4, dtype=torch.bfloat16)
    assert mask_spectrum(features, bars((0.0, 0.5)), bars()).dtype == torch.bfloat16
