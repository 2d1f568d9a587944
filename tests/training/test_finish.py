from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from tests.fixtures.stores import write_speakers
from vecsv.api import Store
from vecsv.calibration.record import Calibration
from vecsv.durable import sha256_of
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError, TrainingError
from vecsv.frontend.spec import LogMelSpec
from vecsv.health.behaviour import distances, vectors
from vecsv.health.signals import speech_like
from vecsv.models import registry
from vecsv.models.bundle import CARD_FILE, ONNX_FILE, TENSORS_FILE, read_bundle, verify_bundle
from vecsv.models.conversion import Conversion
from vecsv.networks.ecapa_spec import tensor_shapes
from vecsv.networks.ecapa_tdnn import EcapaTdnn
from vecsv.query.thresholds import in_force
from vecsv.training.configuration import TrainingConfig, config_from
from vecsv.training.facts import DataFacts, DevelopmentFacts, TrainingFacts, started_from
from vecsv.training.families import ecapa
from vecsv.training.families.protocol import ParameterGroup
from vecsv.training.finish import MODEL_FOLDER, Finished, require_installable, trained_vectors, write_trained
from vecsv.training.reference import reference_calibration, write_part

torch.set_num_threads(1)

FRONT_END = LogMelSpec(mels=16)
NETWORK = {
    "channels": [8, 8, 24],
    "kernels": [5, 3, 1],
    "dilations": [1, 2, 1],
    "scale": 2,
    "se_width": 4,
    "attention_width": 4,
    "dim": 12,
}
CONFIG = TrainingConfig(front_end=FRONT_END, network=NETWORK, description="a tiny ECAPA-TDNN")
SPEAKERS, UTTERANCES = 10, 3


def ecapa_of(trainable: ecapa.EcapaTraining) -> EcapaTdnn:
    network = trainable.network
    assert isinstance(network, EcapaTdnn)
    return network


@dataclass
class Graphless:
    """A family whose bundle has no ONNX graph: quick to write, and run by PyTorch."""

    inner: ecapa.EcapaTraining
    stand_in: ecapa.EcapaTraining | None = None

    @property
    def front_end(self) -> Any:
        return self.inner.front_end

    @property
    def network(self) -> Any:
        return self.inner.network

    @property
    def dim(self) -> int:
        return self.inner.dim

    def groups(self) -> list[ParameterGroup]:
        return self.inner.groups()

    def start_epoch(self, epoch: int) -> bool:
        return False

    def conversion(self) -> Conversion:
        spec, state = self.inner._network.spec, (self.stand_in or self.inner).network.state_dict()
        tensors = {name: state[name].numpy().copy() for name in tensor_shapes(spec)}
        return Conversion("ecapa-tdnn", spec.dim, FRONT_END, tensors, spec.to_json(), None)


def learner(seed: int) -> ecapa.EcapaTraining:
    """A network in training mode whose BatchNorms have seen something."""
    made = ecapa.start(FRONT_END, NETWORK, start_from=None, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(3):
            made.network(torch.randn(4, 50, 16, generator=generator) * 2.0 + 1.0)
    return made


def facts(name: str, manifest: Path, **changes: Any) -> TrainingFacts:
    digest = sha256_of(manifest)
    given: dict[str, Any] = {
        "config": CONFIG,
        "data": DataFacts("train.tsv", "0" * 64, recordings=40, speakers=20, hours=0.5, narrow=10),
        "development": DevelopmentFacts(manifest.name, digest, SPEAKERS * UTTERANCES, SPEAKERS, 30, 405),
        "history": tuple(
            {"epoch": epoch, "loss": 3.0 - epoch, "dev_eer": 0.2 + 0.1 * abs(epoch - 1), "crops_per_second": 99.5}
            for epoch in range(3)
        ),
        "best_epoch": 1,
        "licence": "MIT",
        **changes,
    }
    return TrainingFacts(name=name, **given)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speakers(tmp_path_factory.mktemp("dev"), SPEAKERS, UTTERANCES)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the process that tries a model: where it matters it is done in full."""
    monkeypatch.setattr("vecsv.models.add.self_test", lambda folder, *, where: None)


@dataclass(frozen=True)
class Whole:
    """A network that went all the way, and how it was before."""

    trainable: ecapa.EcapaTraining
    finished: Finished
    state: dict[str, Any]
    said: list[str]
    base: Path


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    base = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VECSV_CACHE", str(base / "cache"))
        trainable, said = learner(1), []
        ecapa_of(trainable).blocks.eval()
        state = {name: tensor.clone() for name, tensor in trainable.network.state_dict().items()}
        finished = write_trained(
            trainable,
            facts("ours", manifest),
            run=base / "run",
            calibrate_on=manifest,
            workers=1,
            on_message=said.append,
        )
        yield Whole(trainable, finished, state, said, base)


class TestWhole:
    def test_the_model_is_installed_under_its_name_with_a_copy_in_the_run(self, whole: Whole) -> None:
        assert whole.finished.folder == whole.base / "cache" / "models" / "ours"
        assert whole.finished.copy == whole.base / "run" / MODEL_FOLDER
        assert verify_bundle(whole.finished.folder) == verify_bundle(whole.finished.copy) == whole.finished.bundle
        assert set(whole.finished.bundle.sha256) == {TENSORS_FILE, ONNX_FILE, CARD_FILE}
        assert [path.name for path in (whole.base / "run").iterdir()] == [MODEL_FOLDER]
        assert whole.said[-1] == f"ours is ready: {whole.finished.folder}"
        listed = {model.name: model for model in registry.listing()}["ours"]
        assert (listed.state, listed.licence, listed.dim) == ("cached", "MIT", 12)
        assert listed.eer is not None

    @pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
    def test_it_gives_the_embeddings_of_the_network_that_was_trained(self, engine: str, whole: Whole) -> None:
        model = registry.load("ours", EngineSettings(engine=engine))
        for seconds in (0.7, 3.0, 5.3):
            waves = np.stack([speech_like(seconds, seed) for seed in (1, 2, 3)])
            assert distances(vectors(model, waves), trained_vectors(whole.trainable, waves)).max() < 1e-9

    def test_those_of_another_state_are_told_apart(self, whole: Whole) -> None:
        waves = np.stack([speech_like(3.0, seed) for seed in (1, 2, 3)])
        other = learner(1)
        assert distances(trained_vectors(other, waves), trained_vectors(whole.trainable, waves)).max() < 1e-12
        statistics = ecapa_of(other).pooling_norm.running_var
        assert statistics is not None
        statistics *= torch.linspace(0.5, 1.5, 48)
        assert distances(trained_vectors(other, waves), trained_vectors(whole.trainable, waves)).max() > 1e-3

    def test_the_network_is_as_it_was(self, whole: Whole) -> None:
        found = whole.trainable.network.state_dict()
        assert found.keys() == whole.state.keys()
        assert all(torch.equal(tensor, found[name]) for name, tensor in whole.state.items())
        modes = {name: module.training for name, module in whole.trainable.network.named_modules()}
        assert modes == {name: not name.startswith("blocks") for name in modes}

    def test_the_source_says_what_it_was_trained_with(self, whole: Whole, manifest: Path) -> None:
        source = whole.finished.bundle.source
        assert source["kind"] == "training"
        assert config_from(source["config"], where="bundle.json") == CONFIG
        assert source["best"] == {"epoch": 1, "loss": 2.0, "dev_eer": 0.2}
        assert source["epochs"] == 3
        assert source["parameters"] == sum(one.numel() for one in whole.trainable.network.parameters())
        assert source["data"]["recordings"] == 40
        assert source["development"] == {
            "manifest": "train.tsv", "sha256": sha256_of(manifest), "recordings": 30, "speakers": 10, "targets": 30,
            "non_targets": 405,
        }  # fmt: skip
        assert {"python", "vecsv", "torch", "numpy"} <= source["versions"].keys()

    def test_nothing_in_it_tells_of_this_machine(self, whole: Whole, manifest: Path) -> None:
        for file in ("bundle.json", CARD_FILE):
            text = (whole.finished.folder / file).read_text(encoding="utf-8")
            assert str(whole.base.parent) not in text
            assert str(manifest.parent) not in text

    def test_the_thresholds_are_those_that_a_user_s_store_of_the_same_recordings_gets(
        self, whole: Whole, manifest: Path, tmp_path: Path
    ) -> None:
        store = Store(tmp_path / "store", model="ours")
        store.embed(manifest)
        expected = store.calibrate()
        reference = whole.finished.bundle.reference_calibration
        assert reference is not None
        found = Calibration.from_json(reference, where="bundle.json")
        assert found.points == expected.points
        assert found.basis == expected.basis
        assert (found.origin, found.name) == ("reference", "reference")
        assert (
            found.source == "pairs of 30 recordings of 10 speakers of train.tsv, which the epoch of its training was "
            "chosen by too"
        )

    def test_they_decide_until_there_are_others(self, whole: Whole) -> None:
        bundle = whole.finished.bundle
        threshold = in_force(None, bundle.reference_calibration, bundle.fingerprint)
        assert threshold is not None
        assert threshold.origin == "reference"
        assert "made on other recordings than yours" in threshold.warnings[0]

    def test_the_card_has_the_epochs_and_the_thresholds(self, whole: Whole) -> None:
        text = (whole.finished.folder / CARD_FILE).read_text(encoding="utf-8")
        assert text.startswith("# ours\n")
        assert "| 1 | 2 | 20.00% | this model |" in text
        assert "measured on pairs of 30 recordings" in text

    def test_its_name_is_free_to_the_run_that_installed_it_alone(self, whole: Whole) -> None:
        with pytest.raises(ModelError, match="a model ours in the cache already"):
            require_installable("ours", whole.base / "elsewhere")
        require_installable("ours", whole.base / "run")
        require_installable("ours", whole.base / "elsewhere", replace=True)


class TestThresholds:
    @pytest.mark.parametrize("given", ["one speaker", "no file", "unreadable"])
    def test_where_nothing_carries_them_the_model_comes_without_and_says_so(
        self, given: str, manifest: Path, tmp_path: Path, cache: Path, untried: None
    ) -> None:
        on, said = tmp_path / "dev.tsv", []
        if given == "one speaker":
            row = manifest.parent / manifest.read_text(encoding="utf-8").split("\t")[0]
            on.write_text(f"{row}\tann\n", encoding="utf-8")
        elif given == "unreadable":
            on.write_text("nowhere.wav\tann\n", encoding="utf-8")
        finished = write_trained(
            Graphless(learner(2)),
            facts("bare", manifest),
            run=tmp_path / "run",
            calibrate_on=on,
            on_message=said.append,
        )
        assert verify_bundle(finished.folder).reference_calibration is None
        (told,) = [line for line in said if line.startswith("the model brings no thresholds along: ")]
        assert str(on) in told
        assert "brings no thresholds along" in (finished.folder / CARD_FILE).read_text(encoding="utf-8")

    def test_recordings_that_cannot_be_embedded_are_counted(self, whole: Whole, manifest: Path, tmp_path: Path) -> None:
        on, said = write_part(manifest, ["speaker-000", "speaker-001"], tmp_path / "dev.tsv"), []
        with on.open("a", encoding="utf-8") as file:
            file.write("\tnowhere.wav\tann\t\t\t\t\n")
        found = reference_calibration(whole.finished.copy, on, chose_epoch=False, workers=1, on_message=said.append)
        assert said == ["1 of 7 rows of dev.tsv gave no embedding to calibrate on"]
        assert found["source"] == "pairs of 6 recordings of 2 speakers of dev.tsv"
        assert found["held_out"] is None

    def test_they_are_not_made_unless_asked_for(
        self, manifest: Path, tmp_path: Path, cache: Path, untried: None
    ) -> None:
        # What a process that was killed at this point left behind.
        (tmp_path / "run" / ".finishing" / "bare").mkdir(parents=True)
        finished = write_trained(Graphless(learner(2)), facts("bare", manifest), run=tmp_path / "run")
        assert finished.bundle.reference_calibration is None
        assert set(finished.bundle.sha256) == {TENSORS_FILE, CARD_FILE}
        assert [path.name for path in (tmp_path / "run").iterdir()] == [MODEL_FOLDER]


class TestRefusals:
    def test_a_bundle_that_is_not_the_network_is_not_written(
        self, manifest: Path, tmp_path: Path, cache: Path, untried: None
    ) -> None:
        wrong = Graphless(learner(3), stand_in=learner(4))
        with pytest.raises(TrainingError, match=r"gives other embeddings than the network .*; nothing was written"):
            write_trained(wrong, facts("wrong", manifest), run=tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == []
        assert not registry.installed("wrong")

    def test_a_name_that_is_taken_leaves_the_model_in_the_run_with_the_command_to_add_it(
        self, manifest: Path, tmp_path: Path, cache: Path, untried: None
    ) -> None:
        theirs = write_trained(Graphless(learner(3)), facts("taken", manifest), run=tmp_path / "first").bundle
        with pytest.raises(ModelError) as refusal:
            write_trained(Graphless(learner(4)), facts("taken", manifest), run=tmp_path / "second")
        assert "the trained model was not installed: there is a model taken in the cache already" in str(refusal.value)
        assert f"vecsv models add {tmp_path / 'second' / 'model'} --name NAME" in str(refusal.value)
        assert read_bundle(registry.cached_folder("taken")) == theirs
        ours = verify_bundle(tmp_path / "second" / MODEL_FOLDER)
        assert ours.fingerprint != theirs.fingerprint
        again = write_trained(Graphless(learner(4)), facts("taken", manifest), run=tmp_path / "second", replace=True)
        assert again.bundle.fingerprint == ours.fingerprint

    def test_a_run_that_went_on_replaces_what_it_installed(
        self, manifest: Path, tmp_path: Path, cache: Path, untried: None
    ) -> None:
        first = write_trained(Graphless(learner(3)), facts("longer", manifest), run=tmp_path / "run").bundle
        second = write_trained(Graphless(learner(4)), facts("longer", manifest), run=tmp_path / "run").bundle
        assert second.fingerprint != first.fingerprint
        assert read_bundle(registry.cached_folder("longer")) == second

    @pytest.mark.parametrize("name", ["ge2e", "../up", "Ours"])
    def test_a_name_that_no_model_may_have_is_refused_before_training(
        self, name: str, tmp_path: Path, cache: Path
    ) -> None:
        with pytest.raises(ModelError, match="name"):
            require_installable(name, tmp_path)

    def test_a_run_folder_that_cannot_be_written_is_one_error(
        self, manifest: Path, tmp_path: Path, cache: Path
    ) -> None:
        (tmp_path / "run").write_text("a file", encoding="utf-8")
        with pytest.raises(ModelError, match="cannot be written"):
            write_trained(Graphless(learner(3)), facts("ours", manifest), run=tmp_path / "run")


class TestFacts:
    def test_what_it_started_from_is_described_by_its_bundle_wherever_that_is(
        self, manifest: Path, tmp_path: Path, cache: Path, untried: None
    ) -> None:
        run = tmp_path / "run"
        bundle = write_trained(Graphless(learner(3)), facts("first", manifest), run=run).bundle
        expected = {"name": "first", "licence": "MIT", "fingerprint": bundle.fingerprint}
        assert started_from("first") == started_from(run / MODEL_FOLDER) == started_from(str(run)) == expected
        assert started_from("other") == {"name": "other"}

    def test_what_a_training_before_it_followed_is_left_to_that_one_s_bundle(self, manifest: Path) -> None:
        earlier = facts("first", manifest).source(parameters=1)
        given = facts("second", manifest, started_from={"model": "first", "source": earlier})
        assert given.source(parameters=1)["started_from"] == {"model": "first"}
        pulled = {"model": "wavlm", "source": {"repo": "owner/repo"}}
        assert facts("second", manifest, started_from=pulled).source(parameters=1)["started_from"] == pulled

    def test_pairs_are_counted_without_those_of_a_recording_and_itself(self, manifest: Path) -> None:
        speakers = ["ann"] * 4 + ["bob"] * 3 + ["zoë"]
        found = DevelopmentFacts.of_speakers(manifest, speakers)
        pairs = [(a, b) for place, a in enumerate(speakers) for b in speakers[place + 1 :]]
        same = sum(a == b for a, b in pairs)
        assert (found.recordings, found.speakers) == (8, 3)
        assert (found.targets, found.non_targets) == (same, len(pairs) - same)

    def test_a_path_in_what_it_started_from_is_cut_to_its_name(self, manifest: Path) -> None:
        given = facts("ours", manifest, started_from={"name": "/home/zoe/wavlm", "licence": "MIT"})
        source = given.source(parameters=1)
        assert source["started_from"] == {"name": "wavlm", "licence": "MIT"}
        json.dumps(source, allow_nan=False)

    def test_a_corpus_is_counted(self, tmp_path: Path) -> None:
        from vecsv.training.data.recordings import read_corpus

        listed = write_speakers(tmp_path, ["ann", "bob"], 2)
        corpus = read_corpus(listed, sample_rate=16000, min_s=0.5)
        found = DataFacts.of(listed, corpus, noises=3)
        assert found == DataFacts(
            "train.tsv", sha256_of(listed), recordings=4, speakers=2, hours=round(4 / 3600, 4), noises=3
        )

    def test_the_best_epoch_is_the_one_that_was_chosen(self, manifest: Path) -> None:
        assert facts("ours", manifest, best_epoch=2).best == {"epoch": 2, "loss": 1.0, "dev_eer": pytest.approx(0.3)}
        assert facts("ours", manifest, best_epoch=9).best == {"epoch": 9}
