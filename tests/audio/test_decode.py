from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fixtures.sounds import cut_in_half, noise, tone, write
from vecsv.arrays import Waveform
from vecsv.audio.decode import Clip, blocks, read, sha256
from vecsv.errors import AudioError


def one_go(path: Path) -> Waveform:
    """The whole file decoded, averaged and resampled at once."""
    values, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono: NDArray[np.float32] = values.mean(axis=1, dtype=np.float64).astype(np.float32)
    result: Waveform = mono if rate == 16000 else soxr.resample(mono, rate, 16000, quality="HQ")
    return result


def failure(clip: Clip | Path) -> AudioError:
    """The error that reading gives; one line, and it begins with the file."""
    clip = clip if isinstance(clip, Clip) else Clip(clip)
    with pytest.raises(AudioError) as caught:
        read(clip)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{clip.path}: ")
    assert "libsndfile error" not in message.lower()
    return caught.value


def stereo(seconds: float, rate: int) -> NDArray[np.float32]:
    return np.stack([noise(seconds, rate, seed=1), tone(seconds, rate)], axis=1)


# What can be read


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_U8"}),
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "PCM_32"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.wav", {"subtype": "ULAW"}),
        ("a.flac", {}),
        ("a.ogg", {}),
        ("a.mp3", {}),
        ("a.aiff", {}),
        ("a.sph", {"format": "NIST"}),
    ],
)
def test_every_format_and_rate_gives_what_one_go_gives(
    tmp_path: Path, name: str, options: dict[str, str], rate: int
) -> None:
    path = write(tmp_path / name, stereo(1.3, rate), rate, **options)
    result = read(Clip(path))
    assert result.dtype == np.float32
    assert abs(result.size - 1.3 * 16000) <= 1 or name == "a.mp3"
    np.testing.assert_allclose(result, one_go(path), rtol=0, atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_integers_and_floats_are_scaled_alike(tmp_path: Path, subtype: str) -> None:
    waveform = tone(0.5)
    result = read(Clip(write(tmp_path / "a.wav", waveform, subtype=subtype)))
    np.testing.assert_allclose(result, waveform, atol=2**-15)


def test_a_constant_offset_is_left_alone(tmp_path: Path) -> None:
    waveform = np.full(16000, 0.25, dtype=np.float32)
    np.testing.assert_array_equal(read(Clip(write(tmp_path / "a.wav", waveform))), waveform)


@settings(max_examples=25, deadline=None)
@given(block_s=st.floats(0.01, 3.0), rate=st.sampled_from([8000, 16000, 44100]), samples=st.integers(8000, 60000))
def test_the_block_length_changes_no_sample(
    tmp_path_factory: pytest.TempPathFactory, block_s: float, rate: int, samples: int
) -> None:
    path = write(tmp_path_factory.mktemp("blocks") / "a.flac", noise(1, samples), rate)
    parts = list(blocks(Clip(path), block_s=block_s))
    size = round(block_s * 16000)
    assert all(part.size == size for part in parts[:-1])
    assert 0 < parts[-1].size <= size
    np.testing.assert_allclose(np.concatenate(parts), one_go(path), rtol=0, atol=1e-6)


def test_recordings_longer_than_a_decoded_chunk_stay_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", stereo(30, 44100), 44100)
    np.testing.assert_allclose(np.concatenate(list(blocks(Clip(path), block_s=7.0))), one_go(path), rtol=0, atol=1e-6)


def test_another_sampling_rate_can_be_asked_for(tmp_path: Path) -> None:
    assert read(Clip(write(tmp_path / "a.wav", tone(1.0))), sample_rate=8000).size == 8000


def test_reading_stops_after_the_seconds_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(3.0))
    np.testing.assert_array_equal(read(Clip(path), max_s=1.5), read(Clip(path))[:24000])
    assert read(Clip(path), max_s=10.0).size == 48000


def test_six_channels_at_48_khz_are_averaged(tmp_path: Path) -> None:
    channels = np.stack([noise(1.0, 48000, seed=seed) for seed in range(6)], axis=1)
    path = write(tmp_path / "a.wav", channels, 48000, subtype="FLOAT")
    expected = soxr.resample(channels.mean(axis=1), 48000, 16000, quality="HQ")
    np.testing.assert_allclose(read(Clip(path)), expected, atol=1e-6)


@pytest.mark.parametrize("channel", [1, 2, 3])
def test_a_channel_is_picked_counting_from_one(tmp_path: Path, channel: int) -> None:
    channels = np.stack([noise(0.5, seed=seed) for seed in range(3)], axis=1)
    path = write(tmp_path / "a.wav", channels, subtype="FLOAT")
    np.testing.assert_array_equal(read(Clip(path, channel=channel)), channels[:, channel - 1])


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.opus.ogg"])
@pytest.mark.parametrize(("start_s", "end_s"), [(None, 1.0), (0.5, None), (0.3123, 2.7), (2.9, 3.05), (2.99, None)])
def test_a_cut_is_the_same_samples_as_in_the_whole(
    tmp_path: Path, name: str, start_s: float | None, end_s: float | None
) -> None:
    options = {"format": "OGG", "subtype": "OPUS"} if "opus" in name else {}
    path = write(tmp_path / name, noise(3.0), 16000, **options)
    whole = read(Clip(path))
    first = round((start_s or 0.0) * 16000)
    last = None if end_s is None else round(end_s * 16000)
    np.testing.assert_allclose(read(Clip(path, None, start_s, end_s)), whole[first:last], rtol=0, atol=1e-6)


def test_a_cut_at_another_rate_is_cut_before_resampling(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(2.0, 8000), 8000, subtype="FLOAT")
    expected = soxr.resample(noise(2.0, 8000)[4000:12000], 8000, 16000, quality="HQ")
    np.testing.assert_allclose(read(Clip(path, None, 0.5, 1.5)), expected, atol=1e-6)


def test_a_flac_without_a_length_is_read_to_its_end_by_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.flac", tone(2.0))
    expected = read(Clip(path))
    content = bytearray(path.read_bytes())
    # STREAMINFO begins at byte 8; its number of samples is the low 36 bits of bytes 18 to 25 (RFC 9639, 8.2).
    packed = int.from_bytes(content[18:26], "big") & ~((1 << 36) - 1)
    content[18:26] = packed.to_bytes(8, "big")
    path.write_bytes(content)
    if shutil.which("ffmpeg"):
        np.testing.assert_array_equal(read(Clip(path)), expected)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert failure(path).code == "needs-ffmpeg"


def test_memory_is_bounded_by_the_block_not_by_the_file(tmp_path: Path) -> None:
    seconds, rate, frame_bytes = 120, 48000, 12
    path = tmp_path / "long.wav"
    size = seconds * rate * frame_bytes
    header = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
    header += struct.pack("<HHIIHH", 1, 6, rate, rate * frame_bytes, frame_bytes, 16)
    header += struct.pack("<4sI", b"data", size)
    # A file with a hole in it: 69 MB that take no room.
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    tracemalloc.start()
    try:
        total = sum(block.size for block in blocks(Clip(path), block_s=10.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == seconds * 16000
    assert peak < 16 * 2**20


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(3.0))
    stream = blocks(Clip(path), block_s=0.5)
    next(stream)
    stream.close()
    opened = Path("/proc/self/fd")
    if opened.is_dir():
        assert str(path) not in [str(link.readlink()) for link in opened.iterdir() if link.is_symlink()]


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(1.0))
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


# What cannot be read


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = failure(tmp_path / "no.wav")
    assert error.code == "missing"
    assert str(error) == f"{tmp_path / 'no.wav'}: no such file"


def test_a_file_in_place_of_a_folder_is_a_missing_file(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(1.0))
    assert failure(tmp_path / "a.wav" / "b.wav").code == "missing"


@pytest.mark.parametrize("name", ["a\0b.wav", "\udcff\ud800.wav"])
def test_a_name_that_no_file_can_have_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError) as caught:
        read(Clip(tmp_path / name))
    assert caught.value.code == "missing"
    assert str(caught.value).isprintable()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert failure(tmp_path).code == "is-folder"


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe.wav")
    assert failure(tmp_path / "pipe.wav").code == "unreadable"


def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("permissions are set otherwise on this system")
    path = write(tmp_path / "a.wav", tone(1.0))
    path.chmod(0)
    # The superuser may read everything, so the attempt is made as nobody.
    as_nobody = "os.setgroups([]); os.setgid(65534); os.setuid(65534);" if os.geteuid() == 0 else ""
    script = (
        "import os, sys; from pathlib import Path; import soundfile, soxr;"
        "from vecsv.audio.decode import Clip, read; from vecsv.errors import AudioError\n"
        f"path = Path(sys.argv[1]); os.chdir(path.parent); {as_nobody}\n"
        "try:\n    read(Clip(Path(path.name)))\n"
        "except AudioError as error:\n    print(error.code, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "unreadable a.wav: permission denied (check who may read it)"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    error = failure(tmp_path / "a.wav")
    assert error.code == "empty"
    with pytest.raises(AudioError):
        sha256(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "au", "vox", "raw", "m4a", "webm"])
def test_text_is_not_audio_whatever_it_is_called(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_text("This is no recording, naïve as the name is. " * 200, encoding="utf-8")
    error = failure(path)
    assert error.code == "not-audio"
    assert str(error).endswith("is text, not audio")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "raw", "au"])
def test_noise_bytes_are_not_audio(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(np.random.default_rng(3).bytes(3000))
    assert failure(path).code == ("not-audio" if shutil.which("ffmpeg") else "needs-ffmpeg")


def test_without_ffmpeg_an_unknown_format_says_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x1cftypM4A \0\0\2\0" + bytes(500))
    monkeypatch.setenv("PATH", str(tmp_path))
    error = failure(path)
    assert error.code == "needs-ffmpeg"
    assert "install ffmpeg" in str(error)


@pytest.mark.parametrize("seconds", [2.0, 40.0])
def test_a_flac_cut_in_the_middle_is_truncated(tmp_path: Path, seconds: float) -> None:
    error = failure(cut_in_half(write(tmp_path / "a.flac", noise(seconds))))
    assert error.code == "truncated"
    assert f"its {seconds:.2f} s" in str(error)


def test_an_mp3_cut_in_the_middle_is_truncated(tmp_path: Path) -> None:
    assert failure(cut_in_half(write(tmp_path / "a.mp3", noise(4.0)))).code == "truncated"


def test_a_flac_damaged_in_the_middle_fails_while_iterating(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(60.0))
    content = bytearray(path.read_bytes())
    middle = len(content) * 9 // 10
    content[middle : middle + 20000] = bytes(20000)
    path.write_bytes(content)
    stream = blocks(Clip(path), block_s=10.0)
    assert next(stream).size == 160000
    with pytest.raises(AudioError) as caught:
        list(stream)
    assert caught.value.code == "truncated"


def test_the_sound_part_of_a_truncated_flac_can_be_cut_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(60.0))
    whole = read(Clip(path))
    assert np.array_equal(read(Clip(cut_in_half(path), end_s=1.0)), whole[:16000])


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
def test_a_header_without_samples_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, np.zeros(0, dtype=np.float32), 16000)
    assert failure(path).code == "no-samples"


def test_too_few_samples_for_one_at_16_khz_are_none(tmp_path: Path) -> None:
    assert failure(write(tmp_path / "a.wav", np.zeros(1, dtype=np.float32), 192000)).code == "no-samples"


def test_a_sampling_rate_that_carries_no_speech_is_refused(tmp_path: Path) -> None:
    error = failure(write(tmp_path / "a.wav", noise(1.0, 999), 999))
    assert error.code == "not-audio"
    assert "999 Hz" in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_refused_with_its_time(tmp_path: Path, value: float) -> None:
    waveform = tone(50.0, 8000)
    waveform[8000 * 45] = value
    error = failure(write(tmp_path / "a.wav", waveform, 8000, subtype="FLOAT"))
    assert error.code == "not-finite"
    assert "at 45.000 s" in str(error)


def test_infinities_that_cancel_in_the_mean_are_refused(tmp_path: Path) -> None:
    channels = stereo(1.0, 16000)
    channels[4000] = np.inf, -np.inf
    assert failure(write(tmp_path / "a.wav", channels, subtype="FLOAT")).code == "not-finite"


def test_what_is_not_read_need_not_be_finite(tmp_path: Path) -> None:
    channels = stereo(1.0, 16000)
    channels[8000:, 0] = np.nan
    path = write(tmp_path / "a.wav", channels, subtype="FLOAT")
    assert read(Clip(path, channel=2)).size == 16000
    assert read(Clip(path, end_s=0.5)).size == 8000


@pytest.mark.parametrize("channel", [0, -1, 3])
def test_a_channel_that_is_not_there_is_refused(tmp_path: Path, channel: int) -> None:
    error = failure(Clip(write(tmp_path / "a.wav", stereo(1.0, 16000)), channel=channel))
    assert error.code == "bad-channel"
    assert "has 2 channels" in str(error)


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [
        (1.0, 1.0),
        (1.5, 1.0),
        (-0.5, 1.0),
        (2.0, None),
        (5.0, 6.0),
        (None, 2.2),
        (0.0, 0.0),
        (float("nan"), None),
        (None, float("nan")),
        (0.5, float("inf")),
        (1.0, 1.00001),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_a_cut_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, start_s: float | None, end_s: float | None
) -> None:
    assert failure(Clip(write(tmp_path / name, tone(2.0)), None, start_s, end_s)).code == "bad-cut"


def test_a_cut_may_end_a_little_beyond_the_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(2.0))
    assert read(Clip(path, start_s=1.0, end_s=2.09)).size == 16000


@pytest.mark.speech
def test_real_recordings_equal_one_go(speech: Path) -> None:
    names = ["fsdd", "aishell", "ami", "vctk", "librispeech-test-other"]
    recordings = [next(path for path in sorted((speech / name).rglob("*")) if path.is_file()) for name in names]
    for recording in recordings:
        np.testing.assert_allclose(read(Clip(recording)), one_go(recording), rtol=0, atol=1e-6)
