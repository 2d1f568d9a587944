from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.fixtures.sounds import noise, tone, write
from tests.training.augmentation.signals import amplitude_of, generator
from vecsv.arrays import Waveform
from vecsv.errors import TrainingError
from vecsv.training.augmentation.sounds import Sounds

SCALE = 2.0**-20


def ramp(samples: int) -> Waveform:
    """Every sample tells its place."""
    return (np.arange(samples) * SCALE).astype(np.float32)


def places(wave: Waveform) -> list[int]:
    return np.rint(wave / SCALE).astype(int).tolist()


def write_ramp(path: Path, samples: int, rate: int = 16000) -> None:
    write(path, ramp(samples), rate, subtype="FLOAT")


def test_sounds_are_found_in_folders_below_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("b/deep/z.flac", "b/a.WAV", "c.ogg"):
        write(tmp_path / name, noise(0.1))
    (tmp_path / "README.md").write_text("A note.")
    (tmp_path / "b" / "._a.wav").write_bytes(b"what a file manager leaves")
    found = Sounds.find(tmp_path)
    assert [sound.path.relative_to(tmp_path).as_posix() for sound in found.sounds] == [
        "b/a.WAV",
        "b/deep/z.flac",
        "c.ogg",
    ]
    assert len(found) == 3
    assert (found.sounds[0].rate, found.sounds[0].frames) == (16000, 1600)


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "hum.wav", noise(0.1))
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "round").symlink_to(folder, target_is_directory=True)
    assert [sound.path.name for sound in Sounds.find(folder).sounds] == ["hum.wav"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere: there is no such folder of sounds"):
        Sounds.find(tmp_path / "nowhere")
    path = write(tmp_path / "hum.wav", noise(0.1))
    with pytest.raises(TrainingError, match=r"hum\.wav: there is no such folder"):
        Sounds.find(path)


def test_a_folder_without_sounds_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(TrainingError, match=rf"{tmp_path.name}: no sound in this folder"):
        Sounds.find(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("deep/text.wav", b"no audio", "cannot be read as audio"),
        ("empty.flac", b"", "cannot be read as audio"),
    ],
)
def test_a_file_that_is_no_sound_is_named_with_its_folder(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    write(tmp_path / "hum.wav", noise(0.1))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=rf"{tmp_path.name}: {name} {reason}"):
        Sounds.find(tmp_path)


def test_a_sound_without_samples_or_with_an_unbelievable_rate_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "none.wav", np.zeros(0, np.float32))
    with pytest.raises(TrainingError, match=r"none\.wav holds no samples"):
        Sounds.find(tmp_path / "a")
    write(tmp_path / "b" / "slow.wav", noise(0.1), 100)
    with pytest.raises(TrainingError, match=r"slow\.wav has a sampling rate of 100 Hz"):
        Sounds.find(tmp_path / "b")


def test_a_stretch_is_cut_from_anywhere_in_a_longer_sound(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.wav", 1000)
    sounds = Sounds.find(tmp_path)
    starts = []
    for seed in range(200):
        stretch = places(sounds.draw(990, sample_rate=16000, generator=generator(seed)))
        assert stretch == list(range(stretch[0], stretch[0] + 990))
        starts.append(stretch[0])
    assert set(starts) == set(range(11))


def test_a_shorter_sound_goes_round_from_anywhere(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.wav", 10)
    sounds = Sounds.find(tmp_path)
    starts = set()
    for seed in range(100):
        stretch = places(sounds.draw(34, sample_rate=16000, generator=generator(seed)))
        assert stretch == [(stretch[0] + step) % 10 for step in range(34)]
        starts.add(stretch[0])
    assert starts == set(range(10))


def test_every_file_is_equally_likely_however_long(tmp_path: Path) -> None:
    write(tmp_path / "long.wav", np.full(50_000, 0.5, np.float32))
    write(tmp_path / "short.wav", np.full(10, -0.5, np.float32))
    sounds = Sounds.find(tmp_path)
    draws = generator(5)
    long = sum(sounds.draw(20, sample_rate=16000, generator=draws)[0] > 0 for _ in range(400))
    assert 160 < long < 240


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
@pytest.mark.parametrize("samples", [1, 777, 4000])
def test_a_sound_at_another_rate_keeps_its_pitch_and_gets_its_length(tmp_path: Path, rate: int, samples: int) -> None:
    write(tmp_path / "tone.wav", tone(1.0, rate, hertz=1000.0), rate)
    stretch = Sounds.find(tmp_path).draw(samples, sample_rate=16000, generator=generator(3))
    assert stretch.shape == (samples,)
    assert stretch.dtype == np.float32
    if samples == 4000:
        assert amplitude_of(stretch, 1000.0, 16000) == pytest.approx(0.5, rel=0.02)


def test_of_several_channels_the_first_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "stereo.wav", np.stack([np.full(50, 0.25), np.full(50, -0.25)], axis=1))
    sounds = Sounds.find(tmp_path)
    assert set(sounds.draw(20, sample_rate=16000, generator=generator()).tolist()) == {0.25}
    assert set(sounds.whole(0, sample_rate=16000, most_s=1.0).tolist()) == {0.25}


def test_little_more_than_the_stretch_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "long.flac", noise(20.0))
    sounds = Sounds.find(tmp_path)
    decoded = []
    read = soundfile.SoundFile.read

    def counting(file: soundfile.SoundFile, *arguments: Any, **options: Any) -> Any:
        result = read(file, *arguments, **options)
        decoded.append(len(result))
        return result

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    sounds.draw(1600, sample_rate=16000, generator=generator())
    assert decoded == [1600]


def test_equal_generators_draw_the_same_and_others_something_else(tmp_path: Path) -> None:
    write(tmp_path / "long.mp3", noise(3.0))
    sounds = Sounds.find(tmp_path)
    first, again, other = (sounds.draw(1600, sample_rate=16000, generator=generator(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_whole_sound_begins_at_its_beginning_and_is_no_longer_than_allowed(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.wav", 1000)
    sounds = Sounds.find(tmp_path)
    assert places(sounds.whole(0, sample_rate=16000, most_s=5.0)) == list(range(1000))
    assert places(sounds.whole(0, sample_rate=16000, most_s=0.01)) == list(range(160))
    assert sounds.whole(0, sample_rate=8000, most_s=5.0).size == 500


def test_a_sound_that_turns_out_unusable_is_named(tmp_path: Path) -> None:
    wave = noise(0.1)
    wave[700] = np.nan
    write(tmp_path / "nan.wav", wave, subtype="FLOAT")
    with pytest.raises(TrainingError, match=rf"{tmp_path.name}: nan\.wav has numbers in it that are not finite"):
        Sounds.find(tmp_path).draw(1600, sample_rate=16000, generator=generator())


def test_a_sound_that_is_gone_or_damaged_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "hum.flac", noise(1.0))
    sounds = Sounds.find(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:400])
    with pytest.raises(TrainingError, match=r"hum\.flac (cannot be decoded|ends before its header says)"):
        sounds.draw(16000, sample_rate=16000, generator=generator())
    path.unlink()
    with pytest.raises(TrainingError, match=r"hum\.flac cannot be decoded"):
        sounds.draw(1600, sample_rate=16000, generator=generator())
