"""From a network that has learnt to a model that every command takes by name."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import WINDOW_SECONDS, Activity
from vecsv.durable import make_folder, sync_folder
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError, TrainingError, VecsvError
from vecsv.health.behaviour import distances
from vecsv.health.signals import speech_like
from vecsv.models import registry
from vecsv.models.add import add, require_addable
from vecsv.models.bundle import Bundle, is_bundle, put_in_place, read_bundle
from vecsv.models.conversion import as_bundle, write_conversion
from vecsv.networks.features import feature_module
from vecsv.training.facts import MODEL_FOLDER, TrainingFacts
from vecsv.training.families.protocol import Trainable
from vecsv.training.model_card import model_card
from vecsv.training.reference import reference_calibration

__all__ = ["MODEL_FOLDER", "Finished", "require_installable", "trained_vectors", "write_trained"]

Messages = Callable[[str], None]

#: Largest cosine distance of a bundle's embedding to the trained network's. GPUs round matrix products to 10 bits by
#: themselves, which gives 1e-6; a tensor left out or a layer in training mode gives 1e-2.
TOLERANCE: Final = 1e-4

_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Finished:
    """A model that was trained and installed.

    Attributes
    ----------
    bundle : Bundle
        What it says of itself.
    folder : Path
        Where it is in the cache, under its name.
    copy : Path
        The same bundle in the run's folder.
    """

    bundle: Bundle
    folder: Path
    copy: Path


def require_installable(name: str, run: Path, *, replace: bool = False) -> None:
    """Refuse a name that a training's model could not be installed under; worth asking before training.

    Parameters
    ----------
    name : str
        The model's name.
    run : Path
        The run's folder; need not exist. The model that this very run has installed may be replaced by it.
    replace : bool
        Whether any other model that was added under the name may be, too.

    Raises
    ------
    ModelError
        When the name is impossible, or vecsv's own, or taken.
    """
    require_addable(name, replace=replace or _is_of(run, name))


def write_trained(
    trainable: Trainable,
    facts: TrainingFacts,
    *,
    run: Path,
    calibrate_on: Path | None = None,
    replace: bool = False,
    engine: EngineSettings | None = None,
    workers: int = 0,
    on_message: Messages | None = None,
) -> Finished:
    """Write a trained network as a bundle with a model card, and install it under its name.

    The bundle is compared with the network first. It is put into the run's folder, whole or not at all, then into the
    cache as `vecsv.models.add.add` puts any model there: checked, tried out in a process of its own, beside others that
    may be at it too.

    Parameters
    ----------
    trainable : Trainable
        What has learnt, in its best state; it is as it was afterwards.
    facts : TrainingFacts
        What the training was.
    run : Path
        The run's folder.
    calibrate_on : Path, optional
        A manifest of other speakers, to measure the thresholds on that the model brings along. Where it cannot carry
        them the model comes without, and a message says why.
    replace : bool
        Whether to replace a model that was added under the name before. One that this run installed is, in any case.
    engine : EngineSettings, optional
        What embeds the recordings to calibrate on.
    workers : int
        Threads for that; 0: one for each core.
    on_message : callable, optional
        Told, in one line each, what is going on.

    Raises
    ------
    ModelError
        When the bundle cannot be written, or not be installed; in the second case it is in the run's folder.
    TrainingError
        When the bundle gives other embeddings than the network; nothing is written then.
    """
    say = on_message or _say_nothing
    folder = run / MODEL_FOLDER
    own = _is_of(run, facts.name)
    conversion = trainable.conversion()
    for note in conversion.notes:
        say(f"note: {note}")
    parameters = sum(parameter.numel() for parameter in trainable.network.parameters())
    bundle = as_bundle(
        conversion,
        name=facts.name,
        description=facts.description,
        licence=facts.licence,
        source=facts.source(parameters=parameters),
    )
    try:
        with _scratch(run) as scratch:
            fresh = scratch / facts.name
            write_conversion(fresh, conversion, bundle, card=model_card(bundle, facts.history))
            _require_same(fresh, trainable)
            if calibrate_on is not None:
                bundle = _calibrated(
                    bundle,
                    fresh,
                    calibrate_on,
                    chose_epoch=facts.development is not None,
                    engine=engine,
                    workers=workers,
                    say=say,
                )
                write_conversion(fresh, conversion, bundle, card=model_card(bundle, facts.history), replace=True)
            put_in_place(fresh, folder, replace=True)
            sync_folder(run)
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    installed = _install(folder, facts.name, replace=replace or own or _is_of(run, facts.name), say=say)
    return Finished(read_bundle(installed), installed, folder)


def _install(folder: Path, name: str, *, replace: bool, say: Messages) -> Path:
    try:
        return add(folder, name=name, replace=replace, on_message=say)
    except ModelError as error:
        place = f"{error.where}: " if error.where not in {None, str(folder)} else ""
        hint = f"install it with `vecsv models add {folder} --name NAME`"
        raise ModelError(
            f"the trained model was not installed: {place}{error.what}",
            where=str(folder),
            hint=hint if error.hint is None else f"{error.hint}; {hint}",
        ) from error


def _calibrated(
    bundle: Bundle,
    fresh: Path,
    manifest: Path,
    *,
    chose_epoch: bool,
    engine: EngineSettings | None,
    workers: int,
    say: Messages,
) -> Bundle:
    say(f"calibrating on {manifest.name}")
    try:
        reference = reference_calibration(
            fresh, manifest, chose_epoch=chose_epoch, engine=engine, workers=workers, on_message=say
        )
    except VecsvError as error:
        # Hours of training are not to be lost for want of a threshold.
        say(f"the model brings no thresholds along: {error}")
        return bundle
    return replace(bundle, reference_calibration=reference)


def _is_of(run: Path, name: str) -> bool:
    """Whether the model in the cache is the one in the run's folder."""
    folder = run / MODEL_FOLDER
    if not registry.installed(name) or not is_bundle(folder):
        return False
    try:
        return read_bundle(registry.cached_folder(name)).fingerprint == read_bundle(folder).fingerprint
    except ModelError:
        return False


def _require_same(folder: Path, trainable: Trainable) -> None:
    """Compare the bundle, as users will run it, with the network that was trained."""
    model = registry.load(folder, EngineSettings())
    # They need not pass for speech, nor at another rate.
    speech = Activity(np.ones(int(_SECONDS / WINDOW_SECONDS), dtype=np.bool_))
    waves = np.stack([speech_like(_SECONDS, seed) for seed in (61, 62)])
    ours = model.embed([model.prepare(wave, speech) for wave in waves])
    largest = float(distances(ours, trained_vectors(trainable, waves)).max())
    if not largest <= TOLERANCE:
        raise TrainingError(
            f"the model's bundle gives other embeddings than the network it was made of: cosine distance "
            f"{largest:.1e}, at most {TOLERANCE:g} is allowed; nothing was written"
        )


def trained_vectors(trainable: Trainable, waves: Waveform) -> Vectors:
    """Embed waveforms with a network itself, in evaluation mode; it is in the mode it was in afterwards.

    Parameters
    ----------
    trainable : Trainable
        The network, on any device.
    waves : ndarray
        Float32 ``(batch, samples)`` at the network's rate.

    Returns
    -------
    ndarray
        Float32 ``(batch, dim)``, rows of unit length.
    """
    network = trainable.network
    modes = [(module, module.training) for module in network.modules()]
    device = next(network.parameters()).device
    front_end = feature_module(trainable.front_end).to(device)
    try:
        network.eval()
        with torch.no_grad():
            raw = network(front_end(torch.from_numpy(waves).to(device)))
    finally:
        for module, training in modes:
            module.training = training
    unit = torch.nn.functional.normalize(raw.double(), dim=1)
    vectors: Vectors = unit.float().cpu().numpy()
    return vectors


@contextlib.contextmanager
def _scratch(run: Path) -> Iterator[Path]:
    """A folder beside the bundle's place; it goes whatever happens, with what a killed process left there."""
    make_folder(run)
    scratch = run / ".finishing"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _say_nothing(message: str) -> None:
    """Tell nobody."""
