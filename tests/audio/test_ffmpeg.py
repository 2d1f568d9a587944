from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.fixtures.sounds import cut_in_half, noise, tone, write
from vecsv.audio.decode import Clip, blocks, read
from vecsv.audio.ffmpeg import FfmpegSource
from vecsv.errors import AudioError

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


def convert(source: Path, target: Path, *options: str) -> Path:
    assert FFMPEG is not None
    subprocess.run([FFMPEG, "-nostdin", "-v", "error", "-i", source, *options, target], check=True, timeout=60)
    return target


def lossless(tmp_path: Path, seconds: float, rate: int = 16000, channels: int = 1) -> Path:
    """Apple Lossless in an m4a: known to ffmpeg alone, and exact to 16 bits."""
    waveform = np.stack([noise(seconds, rate, seed=seed) for seed in range(channels)], axis=1)
    return convert(write(tmp_path / "source.wav", waveform, rate), tmp_path / "a.m4a", "-c:a", "alac")


@needs_ffmpeg
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (48000, 6)])
def test_lossless_m4a_gives_what_the_wav_gives(tmp_path: Path, rate: int, channels: int) -> None:
    path = lossless(tmp_path, 1.5, rate, channels)
    with pytest.raises(soundfile.SoundFileError):
        soundfile.SoundFile(path)
    np.testing.assert_allclose(read(Clip(path)), read(Clip(tmp_path / "source.wav")), rtol=0, atol=1e-6)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"), [("a.m4a", ["-c:a", "aac"]), ("a.webm", ["-c:a", "libopus"]), ("a.wma", ["-c:a", "wmav2"])]
)
def test_compressed_formats_sound_like_the_original(tmp_path: Path, name: str, options: list[str]) -> None:
    source = write(tmp_path / "source.wav", tone(2.0, 48000), 48000)
    result = read(Clip(convert(source, tmp_path / name, *options)))
    assert result.size / 16000 == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(result[8000:24000]))
    assert np.argmax(spectrum) == 440
    assert np.sqrt(np.mean(result[8000:24000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@needs_ffmpeg
def test_a_cut_and_a_channel_are_taken(tmp_path: Path) -> None:
    path = lossless(tmp_path, 3.0, 8000, 2)
    values, _ = soundfile.read(tmp_path / "source.wav", dtype="float32")
    expected = soxr.resample(values[4000:12001, 1], 8000, 16000, quality="HQ")
    result = read(Clip(path, channel=2, start_s=0.5, end_s=1.500125))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


@needs_ffmpeg
@pytest.mark.parametrize(("start_s", "end_s"), [(2.0, None), (5.0, 6.0), (None, 2.2), (0.0, 9.0)])
def test_a_cut_that_does_not_fit_is_refused(tmp_path: Path, start_s: float | None, end_s: float | None) -> None:
    with pytest.raises(AudioError) as caught:
        read(Clip(lossless(tmp_path, 2.0), None, start_s, end_s))
    assert caught.value.code == "bad-cut"
    assert "2.00 s" in str(caught.value)


@needs_ffmpeg
def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        read(Clip(lossless(tmp_path, 1.0), channel=2))
    assert caught.value.code == "bad-channel"


@needs_ffmpeg
def test_stopping_early_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))  # type: ignore[call-overload]
        return started[-1]

    # Ten minutes do not fit into a pipe, so the program would wait for ever.
    path = lossless(tmp_path, 600.0, 8000)
    monkeypatch.setattr(subprocess, "Popen", noted)
    stream = blocks(Clip(path), block_s=1.0)
    assert next(stream).size == 16000
    assert [process.returncode for process in started] == [None]
    stream.close()
    assert started[0].returncode is not None
    assert started[0].returncode != 0


@needs_ffmpeg
@pytest.mark.parametrize("options", [[], ["-movflags", "+faststart"]])
def test_an_m4a_cut_in_the_middle_gives_no_waveform(tmp_path: Path, options: list[str]) -> None:
    source = write(tmp_path / "source.wav", noise(20.0))
    path = cut_in_half(convert(source, tmp_path / "a.m4a", "-c:a", "aac", *options))
    with pytest.raises(AudioError) as caught:
        read(Clip(path))
    # Without its index, which stands at the end by default, nothing in it can be found.
    assert caught.value.code == ("truncated" if options else "not-audio")
    assert "\n" not in str(caught.value)


@needs_ffmpeg
def test_a_webm_cut_in_the_middle_is_truncated(tmp_path: Path) -> None:
    source = write(tmp_path / "source.wav", noise(20.0, 48000), 48000)
    with pytest.raises(AudioError) as caught:
        read(Clip(cut_in_half(convert(source, tmp_path / "a.webm", "-c:a", "libopus"))))
    assert caught.value.code == "truncated"


@needs_ffmpeg
def test_a_film_without_sound_is_not_audio(tmp_path: Path) -> None:
    assert FFMPEG is not None
    path = tmp_path / "a.mp4"
    picture = ["-f", "lavfi", "-i", "color=size=16x16:duration=1:rate=5", "-c:v", "mpeg4"]
    subprocess.run([FFMPEG, "-nostdin", "-v", "error", *picture, path], check=True, timeout=60)
    with pytest.raises(AudioError) as caught:
        read(Clip(path))
    assert caught.value.code == "not-audio"


@needs_ffmpeg
def test_a_name_that_looks_like_an_address_or_an_option_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lossless(tmp_path, 1.0)
    monkeypatch.chdir(tmp_path)
    for name in ("-i", "http:a.m4a"):
        shutil.copy(path, tmp_path / name)
        assert read(Clip(Path(name))).size == 16000


@needs_ffmpeg
@pytest.mark.parametrize("around", [(b"", b"\0"), (b"ID3\x04\0\0\0\0\0\0", b"")], ids=["nul", "id3"])
def test_a_playlist_in_disguise_opens_no_other_file(tmp_path: Path, around: tuple[bytes, bytes]) -> None:
    other = convert(lossless(tmp_path, 1.0), tmp_path / "other.ts", "-c:a", "aac")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:10", "#EXTINF:1,", f"file:{other}", "#EXT-X-ENDLIST", ""]
    playlist = tmp_path / "innocent.wav"
    playlist.write_bytes("\n".join(lines).encode().join(around))
    with pytest.raises(AudioError) as caught:
        read(Clip(playlist))
    assert caught.value.code == "not-audio"
    # The file it points at is one that would have been read.
    assert read(Clip(other)).size > 15000


def test_a_program_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(1.0))
    with pytest.raises(AudioError) as caught:
        FfmpegSource(str(tmp_path / "no-such-program"), path)
    assert caught.value.code == "needs-ffmpeg"
    assert "cannot be started" in str(caught.value)
