"""What a training learns from and is measured on, read and checked before anything is learnt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vecsv.errors import TrainingError
from vecsv.training.augmentation.sounds import Sounds
from vecsv.training.configuration import TrainingConfig
from vecsv.training.data.classes import Classes
from vecsv.training.data.recordings import Corpus, read_corpus
from vecsv.training.data.splits import Split, hold_out, split_speakers
from vecsv.training.settings import TrainSettings

Messages = Callable[[str], None]


@dataclass(frozen=True)
class Inputs:
    """Everything that is learnt from and measured on.

    Attributes
    ----------
    split : Split
        What is learnt from, and what is held out of it.
    dev : Corpus or None
        Other speakers.
    classes : Classes
        What is told apart.
    noise, rooms : Sounds or None
        Where the configuration wants them.
    """

    split: Split
    dev: Corpus | None
    classes: Classes
    noise: Sounds | None
    rooms: Sounds | None

    @classmethod
    def read(cls, settings: TrainSettings, say: Messages) -> Inputs:
        """Read the manifests' recordings as far as their headers, and look for sounds; messages tell what was found.

        Raises
        ------
        TrainingError, ManifestError
            When too much of it is bad, speakers are in both manifests, or sounds are wanted and not given.
        """
        config = settings.config
        rate = config.front_end.sample_rate
        corpus = read_corpus(settings.manifest, sample_rate=rate, min_s=config.data.min_s)
        dev = None
        if settings.dev is not None:
            dev = read_corpus(settings.dev, sample_rate=rate, min_s=config.data.min_s)
            _require_apart(corpus, dev, settings)
        elif config.data.dev_speakers:
            corpus, dev = split_speakers(corpus, config.data.dev_speakers, config.run.seed)
        spec = config.data
        split = hold_out(corpus, how=spec.held_out, part=spec.held_out_part, min_s=spec.min_s, seed=config.run.seed)
        speed = config.augmentation.speed
        classes = Classes(
            corpus.speakers, config.augmentation.factors, new_speakers=speed is not None and speed.new_speakers
        )
        say(
            f"{len(split.train.recordings):,} recordings of {len(corpus.speakers):,} speakers, "
            f"{split.train.duration_s / 3600:.2f} hours, {classes.count:,} classes; "
            f"{len(corpus.bad)} unreadable, {len(corpus.short)} too short, {corpus.narrow} below {rate} Hz"
        )
        augmentation = config.augmentation
        return cls(
            split=split,
            dev=dev,
            classes=classes,
            noise=_sounds(settings.noise, wanted=augmentation.noise is not None, what="noise"),
            rooms=_sounds(settings.rooms, wanted=augmentation.room is not None, what="rooms"),
        )

    def digest(self, config: TrainingConfig) -> str:
        """What has to be the same for a run to be gone on with."""
        content = {
            "config": config.to_json(),
            "recordings": [
                [one.utt_id, one.speaker, one.channel, one.rate, one.start, one.stop]
                for one in self.split.train.recordings
            ],
            "classes": self.classes.to_json(),
            "sounds": [
                None
                if sounds is None
                else [[str(sound.path.relative_to(sounds.folder)), sound.frames] for sound in sounds.sounds]
                for sounds in (self.noise, self.rooms)
            ],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sounds(folder: Path | None, *, wanted: bool, what: str) -> Sounds | None:
    if not wanted:
        return None
    if folder is None:
        key = {"noise": "noise", "rooms": "room"}[what]
        raise TrainingError(
            f"the configuration wants {what}, but no folder of {what} is given",
            hint=f"give --{what} FOLDER, or switch it off: --set augmentation.{key}=null",
        )
    return Sounds.find(folder)


def _require_apart(corpus: Corpus, dev: Corpus, settings: TrainSettings) -> None:
    """Verification of speakers that were trained on would flatter."""
    if both := sorted(set(corpus.speakers) & set(dev.speakers)):
        raise TrainingError(
            f"{len(both)} speakers of it are trained on too, such as {both[0]}",
            where=str(settings.dev),
            hint="take them out of one of the two manifests",
        )
