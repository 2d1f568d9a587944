"""A folder of recorded noises or room responses, read where and when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from vecsv.arrays import Waveform
from vecsv.audio.decode import MIN_RATE
from vecsv.audio.files import printable
from vecsv.errors import TrainingError
from vecsv.training.augmentation.waves import at_rate

SUFFIXES: Final = (".aif", ".aiff", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".w64", ".wav")
"""What the name of a sound ends in, in small or capital letters; such folders hold notes and licences as well."""

_HEADER_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Sound:
    """One file, as its header describes it.

    Attributes
    ----------
    path : Path
    rate : int
        In Hz.
    frames : int
        How many the header promises, at least 1.
    """

    path: Path
    rate: int
    frames: int


@dataclass(frozen=True)
class Sounds:
    """The sounds of a folder; of a file with several channels, the first.

    Attributes
    ----------
    folder : Path
    sounds : tuple of Sound
        At least one, sorted by their paths inside the folder.

    Examples
    --------
    >>> import tempfile, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(Path(folder) / "hum.wav", np.sin(np.arange(800) / 10), 8000)
    ...     sounds = Sounds.find(Path(folder))
    ...     stretch = sounds.draw(4000, sample_rate=16000, generator=np.random.default_rng(1))
    >>> len(sounds), stretch.shape, stretch.dtype
    (1, (4000,), dtype('float32'))
    """

    folder: Path
    sounds: tuple[Sound, ...]

    def __len__(self) -> int:
        return len(self.sounds)

    @classmethod
    def find(cls, folder: Path) -> Sounds:
        """Find all sounds in a folder and in the folders below it, and look at their headers.

        Raises
        ------
        TrainingError
            When there is no such folder, no sound in it, or one in it whose header cannot be read or promises nothing.
        """
        if not folder.is_dir():
            raise TrainingError("there is no such folder of sounds", where=printable(folder))
        paths = sorted(_sound_files(folder), key=lambda path: path.relative_to(folder).as_posix())
        if not paths:
            kinds = ", ".join(SUFFIXES)
            raise TrainingError("no sound in this folder or below it", where=printable(folder), hint=f"one of {kinds}")
        with ThreadPoolExecutor(_HEADER_THREADS) as pool:
            return cls(folder, tuple(pool.map(lambda path: _sound(path, folder), paths)))

    def draw(self, samples: int, *, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """Read a stretch of a sound: every file is equally likely, and in it every place.

        Parameters
        ----------
        samples : int
            Length of the stretch; a shorter sound goes round, from a random place of it.
        sample_rate : int
            Of the result, in Hz.
        generator : Generator
            What is drawn from.

        Returns
        -------
        ndarray
            Float32 ``(samples,)``, finite. Of the file, little more than this is decoded.

        Raises
        ------
        TrainingError
            When the file cannot be decoded there, or has numbers in it that are not finite.
        """
        sound = self.sounds[int(generator.integers(len(self.sounds)))]
        # One more where the rate changes, since the resampler may round its length down.
        needed = -(-samples * sound.rate // sample_rate) + (sound.rate != sample_rate)
        if sound.frames > needed:
            start = int(generator.integers(sound.frames - needed + 1))
            stretch = self._read(sound, start, needed)
        else:
            start = int(generator.integers(sound.frames))
            stretch = np.roll(self._read(sound, 0, sound.frames), -start)
        # A compressed file without a length in its header may be shorter than estimated.
        stretch = np.resize(stretch, needed) if stretch.size < needed else stretch
        return at_rate(stretch, sound.rate, sample_rate)[:samples]

    def whole(self, index: int, *, sample_rate: int, most_s: float) -> Waveform:
        """Read a sound from its beginning.

        Parameters
        ----------
        index : int
            Which one.
        sample_rate : int
            Of the result, in Hz.
        most_s : float
            No more than this is read, in seconds.

        Returns
        -------
        ndarray
            Float32 ``(samples,)``, finite.

        Raises
        ------
        TrainingError
            As `draw`.
        """
        sound = self.sounds[index]
        frames = min(sound.frames, max(1, round(most_s * sound.rate)))
        return at_rate(self._read(sound, 0, frames), sound.rate, sample_rate)

    def _read(self, sound: Sound, start: int, frames: int) -> Waveform:
        import soundfile

        try:
            # Where a codec's jump is inexact, another stretch of noise is as good.
            with soundfile.SoundFile(sound.path) as file:
                file.seek(start)
                decoded = file.read(frames, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as failure:
            raise _unusable(sound.path, self.folder, "cannot be decoded") from failure
        first: Waveform = np.ascontiguousarray(decoded[:, 0])
        if not first.size:
            raise _unusable(sound.path, self.folder, "ends before its header says")
        if not np.isfinite(first).all():
            raise _unusable(sound.path, self.folder, "has numbers in it that are not finite")
        return first

    def unusable(self, index: int, what: str) -> TrainingError:
        """What to raise about a sound that turns out to be of no use; `what` follows its name."""
        return _unusable(self.sounds[index].path, self.folder, what)


def _sound_files(folder: Path) -> Iterator[Path]:
    """Files with the name of a sound; links to folders are followed, since large corpora are often linked."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Names with a dot in front are what file managers leave beside copies, with the same endings.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(place) / name


def _sound(path: Path, folder: Path) -> Sound:
    import soundfile

    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as failure:
        raise _unusable(path, folder, "cannot be read as audio") from failure
    if header.frames < 1:
        raise _unusable(path, folder, "holds no samples")
    if header.samplerate < MIN_RATE:
        raise _unusable(path, folder, f"has a sampling rate of {header.samplerate} Hz")
    return Sound(path, int(header.samplerate), int(header.frames))


def _unusable(path: Path, folder: Path, what: str) -> TrainingError:
    return TrainingError(
        f"{printable(path.relative_to(folder))} {what}", where=printable(folder), hint="take it out, or replace it"
    )
