from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.fixtures.sounds import cut_in_half, noise, tone, write
from vecsv.arrays import Waveform
from vecsv.errors import AudioError
from vecsv.training.data.crops import draw_crop
from vecsv.training.data.recordings import Recording

RATE = 16000


def recording_of(path: Path, *, channel: int | None = None, start: int = 0, stop: int | None = None) -> Recording:
    info = soundfile.info(path)
    stop = info.frames if stop is None else stop
    return Recording(path.name, path, channel, "ann", info.samplerate, start, stop, info.samplerate < RATE)


def crop_of(recording: Recording, samples: int = RATE, *, speed: float = 1.0, seed: int = 0) -> Waveform:
    generator = np.random.Generator(np.random.PCG64(seed))
    return draw_crop(recording, samples=samples, sample_rate=RATE, speed=speed, generator=generator)


def place_of(crop: Waveform, whole: Waveform) -> int | None:
    """Where a crop is in a recording, sample by sample."""
    for start in np.flatnonzero(whole == crop[0]).tolist():
        if np.array_equal(whole[start : start + crop.size], crop):
            return int(start)
    return None


def ramp(frames: int) -> Waveform:
    """Every sample tells where it is, in 16 bits."""
    return (np.arange(frames) / 32768.0).astype(np.float32)


@contextmanager
def bytes_read() -> Iterator[list[int]]:
    """What this process asks the system to read meanwhile."""
    counter = Path("/proc/self/io")
    if not counter.is_file():
        pytest.skip("the system does not count what a process reads")

    def count() -> int:
        return int(counter.read_text().split()[1])

    result: list[int] = []
    first = count()
    yield result
    result.append(count() - first)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_crops_begin_anywhere_in_a_recording(tmp_path: Path, name: str) -> None:
    whole = ramp(30000)
    write(tmp_path / name, whole)
    recording = recording_of(tmp_path / name)

    places = [place_of(crop_of(recording, 20000, seed=seed), whole) for seed in range(200)]

    assert None not in places
    found = np.array(places, dtype=float)
    # Evenly from 0 to 10000: a mean of 5000, give or take 204.
    assert 0 <= found.min() < 300
    assert 9700 < found.max() <= 10000
    assert abs(found.mean() - 5000) < 1000


def test_the_first_and_the_last_place_can_be_drawn(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", ramp(103))
    recording = recording_of(tmp_path / "a.wav")

    assert {place_of(crop_of(recording, 100, seed=seed), ramp(103)) for seed in range(40)} == {0, 1, 2, 3}


def test_a_cut_is_not_left(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", ramp(30000))
    recording = recording_of(tmp_path / "a.wav", start=10000, stop=12010)

    crops = [crop_of(recording, 2000, seed=seed) for seed in range(60)]

    assert {place_of(crop, ramp(30000)) for crop in crops} == set(range(10000, 10011))


def test_the_same_generator_draws_the_same_crop(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(5.0))
    recording = recording_of(tmp_path / "a.wav")

    assert np.array_equal(crop_of(recording, seed=3), crop_of(recording, seed=3))
    assert not np.array_equal(crop_of(recording, seed=3), crop_of(recording, seed=4))


@pytest.mark.parametrize(("name", "rate"), [("a.wav", 8000), ("a.flac", 16000), ("a.wav", 44100)])
@pytest.mark.parametrize("speed", [1.0, 0.9, 1.1])
@pytest.mark.parametrize("samples", [RATE, 1001])
def test_a_crop_is_what_reading_and_resampling_that_place_gives(
    tmp_path: Path, name: str, rate: int, speed: float, samples: int
) -> None:
    write(tmp_path / name, noise(2.0, rate), rate)
    whole, _ = soundfile.read(tmp_path / name, dtype="float32")
    needed = -(-samples * round(rate * speed) // RATE)

    crop = crop_of(recording_of(tmp_path / name), samples, speed=speed, seed=5)

    start = int(np.random.Generator(np.random.PCG64(5)).integers(whole.size - needed + 1))
    expected = whole[start : start + needed]
    if round(rate * speed) != RATE:
        expected = soxr.resample(expected, round(rate * speed), RATE, quality="HQ")
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, expected[:samples])


@pytest.mark.parametrize(("speed", "hertz"), [(0.9, 900.0), (1.0, 1000.0), (1.1, 1100.0), (2.0, 2000.0), (0.5, 500.0)])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_speed_changes_pitch(tmp_path: Path, speed: float, hertz: float, rate: int) -> None:
    write(tmp_path / "a.wav", tone(5.0, rate, hertz=1000.0), rate)

    crop = crop_of(recording_of(tmp_path / "a.wav"), RATE, speed=speed)

    # A second: the spectrum has a line for each hertz.
    spectrum = np.abs(np.fft.rfft(crop * np.hanning(crop.size)))
    assert abs(int(np.argmax(spectrum)) - hertz) <= 1


def test_of_a_narrow_recording_nothing_is_above_its_band(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(3.0, 8000), 8000)
    recording = recording_of(tmp_path / "a.wav")

    spectrum = np.abs(np.fft.rfft(crop_of(recording, RATE) * np.hanning(RATE))) ** 2

    assert recording.narrow
    assert spectrum[4200:].sum() < 1e-4 * spectrum[:3600].sum()


@pytest.mark.parametrize("channel", [None, 1, 2])
def test_channels_are_chosen_or_averaged(tmp_path: Path, channel: int | None) -> None:
    left, right = ramp(4000), noise(0.25)[:4000]
    write(tmp_path / "a.wav", np.stack([left, right], axis=1))
    whole, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")

    crop = crop_of(recording_of(tmp_path / "a.wav", channel=channel), 4000)

    expected = whole.mean(axis=1, dtype=np.float32) if channel is None else whole[:, channel - 1]
    np.testing.assert_allclose(crop, expected, atol=1e-7)


def test_a_short_recording_is_repeated(tmp_path: Path) -> None:
    whole = ramp(1000)
    write(tmp_path / "a.wav", whole)

    crop = crop_of(recording_of(tmp_path / "a.wav"), 2500)

    np.testing.assert_array_equal(crop, np.concatenate([whole, whole, whole[:500]]))


def test_a_recording_that_is_too_short_only_at_a_higher_speed_is_repeated(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(1.0))

    crop = crop_of(recording_of(tmp_path / "a.wav"), RATE, speed=1.25)

    np.testing.assert_array_equal(crop[12800:], crop[:3200])


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_little_more_than_the_crop_is_read(tmp_path: Path, name: str) -> None:
    seconds = 120.0
    write(tmp_path / name, noise(seconds))
    recording = recording_of(tmp_path / name)
    share = tmp_path.joinpath(name).stat().st_size / seconds

    for seed in range(5):
        with bytes_read() as read:
            crop_of(recording, 3 * RATE, seed=seed)
        # To find a place in a FLAC, a few blocks of it are looked at.
        assert read[0] < 8 * share


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_no_more_is_decoded_than_the_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write(tmp_path / name, noise(20.0))
    recording = recording_of(tmp_path / name)
    decoded: list[int] = []
    read = soundfile.SoundFile.read

    def counted(file: soundfile.SoundFile, *arguments: object, **options: object) -> Waveform:
        values = read(file, *arguments, **options)
        decoded.append(len(values))
        return values

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    crop_of(recording, 3 * RATE, speed=0.9)

    assert sum(decoded) == round(3 * RATE * 0.9)


@pytest.mark.parametrize(("subtype", "tolerance"), [("MPEG_LAYER_III", 1e-6), ("VORBIS", 1e-6), ("OPUS", 0.01)])
def test_crops_of_lossy_formats_are_parts_of_what_the_file_holds(
    tmp_path: Path, subtype: str, tolerance: float
) -> None:
    path = write(tmp_path / ("a.mp3" if subtype.startswith("MPEG") else "a.ogg"), noise(4.0), subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32")

    for seed in range(10):
        crop = crop_of(recording_of(path), RATE, seed=seed)

        start = int(np.random.Generator(np.random.PCG64(seed)).integers(whole.size - RATE + 1))
        np.testing.assert_allclose(crop, whole[start : start + RATE], atol=tolerance)


def test_a_file_that_was_cut_short_since_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", noise(4.0))
    recording = recording_of(tmp_path / "a.flac")
    cut_in_half(tmp_path / "a.flac")

    with pytest.raises(AudioError, match="damaged or cut short"):
        crop_of(recording, 4 * RATE)


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(4.0))
    recording = recording_of(tmp_path / "a.wav")
    (tmp_path / "a.wav").unlink()

    with pytest.raises(AudioError, match="no such file"):
        crop_of(recording)


@pytest.mark.parametrize("changed", [noise(4.0, 8000), np.stack([noise(4.0)] * 2, axis=1), noise(1.0)])
def test_a_file_that_is_another_one_than_it_was_is_an_error(tmp_path: Path, changed: Waveform) -> None:
    path = tmp_path / "a.wav"
    write(path, np.stack([noise(4.0)] * 3, axis=1))
    recording = recording_of(path, channel=3)
    write(path, changed, 8000 if changed.size == 32000 else RATE)

    with pytest.raises(AudioError, match="another file than when the training began"):
        crop_of(recording)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_file_that_is_shorter_than_it_was_is_an_error(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, noise(4.0))
    recording = recording_of(tmp_path / name)
    write(tmp_path / name, noise(2.0))

    for seed in range(5):
        with pytest.raises(AudioError, match=r"another file than|cut short"):
            crop_of(recording, 3 * RATE, seed=seed)


def test_a_sample_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    wave = noise(1.0)
    wave[100] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")

    with pytest.raises(AudioError, match="not a finite number"):
        crop_of(recording_of(tmp_path / "a.wav"))


def test_no_file_stays_open(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("the system does not list what a process has open")
    write(tmp_path / "a.wav", noise(1.0))
    recording = recording_of(tmp_path / "a.wav")

    for seed in range(3):
        crop_of(recording, 1000, seed=seed)

    assert not [link for link in descriptors.iterdir() if link.is_symlink() and "a.wav" in str(link.readlink())]
