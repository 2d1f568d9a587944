from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from tests.training.corpora import small_config, write_corpus  # noqa: E402
from vecsv.audio.activity import detect  # noqa: E402
from vecsv.audio.decode import Clip, read  # noqa: E402
from vecsv.calibration.metrics import eer  # noqa: E402
from vecsv.errors import TrainingError, UsageError  # noqa: E402
from vecsv.models import registry  # noqa: E402
from vecsv.models.bundle import read_bundle  # noqa: E402
from vecsv.training.development import pair_counts  # noqa: E402
from vecsv.training.records import EpochRecord  # noqa: E402
from vecsv.training.run import prepared, train  # noqa: E402
from vecsv.training.settings import TrainSettings  # noqa: E402
from vecsv.training.state import load_best, load_state, save_best  # noqa: E402
from vecsv.training.stepping import Stepper  # noqa: E402
from vecsv.training.trainer import Outcome  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), speakers=range(8), takes=4)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("dev"), speakers=range(8, 13), takes=3)


class StopError(Exception):
    """What a progress callback ends a run with."""


def settings(tmp_path: Path, manifest: Path, name: str = "ours", **changes: object) -> TrainSettings:
    values: dict[str, object] = {
        "config": small_config(),
        "manifest": manifest,
        "dev": None,
        "out": tmp_path / name,
        "name": name,
        "workers": 0,
        "device": "cpu",
    }
    return TrainSettings(**(values | changes))


def learnt(wanted: TrainSettings, stop_at: int | None = None) -> tuple[Outcome, tuple[EpochRecord, ...]]:
    def progress(step: int, steps: int, remark: str) -> None:
        if step == stop_at:
            raise StopError

    with prepared(wanted) as run:
        outcome = run.learn(progress)
        return outcome, run.history


def weights(folder: Path) -> dict[str, Tensor]:
    state = load_state(folder)
    assert state is not None
    return state.learner


def test_four_crops_of_eight_speakers_are_learnt_by_heart(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "crops", speakers=range(8), takes=4, seconds=1.0)
    config = small_config(run={"epochs": 12, "batch": 16}, data={"epoch_crops": 128})
    _, history = learnt(settings(tmp_path, manifest, config=config))
    assert history[-1].accuracy == 1.0
    assert history[0].accuracy < 0.6


def test_shuffled_labels_teach_nothing_about_unheard_recordings(tmp_path: Path) -> None:
    held_out = {"epoch_crops": 128, "held_out": "utterances", "held_out_part": 0.5}
    config = small_config(run={"epochs": 6, "batch": 16}, data=held_out)
    accuracies: dict[str, float] = {}
    for name, shuffled in (("true", None), ("shuffled", np.random.default_rng(5))):
        manifest = write_corpus(tmp_path / f"{name}-corpus", speakers=range(8), takes=6, shuffled=shuffled)
        _, history = learnt(settings(tmp_path, manifest, name, config=config))
        accuracies[name] = history[-1].held_out_accuracy or 0.0
    # Chance is 1 in 8.
    assert accuracies["true"] > 0.4
    assert accuracies["shuffled"] < 0.3


@pytest.mark.parametrize("stop_at", [3, 8])
def test_a_stopped_and_resumed_run_ends_with_the_same_weights(tmp_path: Path, corpus: Path, stop_at: int) -> None:
    config = small_config(
        augmentation={"speed": {}, "gain": {}, "babble": {"probability": 0.5}, "spectrum": {}},
        run={"epochs": 3, "batch": 8, "save_every_steps": 2},
        data={"epoch_crops": 40},
    )
    whole = settings(tmp_path, corpus, "whole", config=config)
    _, whole_history = learnt(whole)
    broken = settings(tmp_path, corpus, "broken", config=config)
    with pytest.raises(StopError):
        learnt(broken, stop_at=stop_at)
    _, history = learnt(replace(broken, resume=True))
    ours, theirs = weights(whole.out), weights(broken.out)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [record.epoch for record in history] == [0, 1, 2]
    for ours_epoch, theirs_epoch in zip(whole_history, history, strict=True):
        assert (ours_epoch.loss, ours_epoch.accuracy) == (theirs_epoch.loss, theirs_epoch.accuracy)


def test_a_run_is_not_the_same_without_what_was_saved(tmp_path: Path, corpus: Path) -> None:
    config = small_config(run={"epochs": 2, "seed": 1})
    one = settings(tmp_path, corpus, "one", config=config)
    two = settings(tmp_path, corpus, "two", config=small_config(run={"epochs": 2, "seed": 2}))
    learnt(one)
    learnt(two)
    assert not torch.equal(weights(one.out)["head.weight"], weights(two.out)["head.weight"])


def test_a_killed_process_leaves_a_state_to_resume_from(tmp_path: Path, corpus: Path) -> None:
    config = small_config(run={"epochs": 3, "save_every_steps": 1}, data={"epoch_crops": 40})
    whole = settings(tmp_path, corpus, "whole", config=config)
    learnt(whole)
    script = (
        "import sys, time, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from tests.training.corpora import small_config\n"
        "from vecsv.training.run import prepared\n"
        "from vecsv.training.settings import TrainSettings\n"
        "if __name__ == '__main__':\n"
        "    config = small_config(run={'epochs': 3, 'save_every_steps': 1}, data={'epoch_crops': 40})\n"
        f"    wanted = TrainSettings(config=config, manifest=Path({str(corpus)!r}), dev=None,\n"
        f"        out=Path({str(tmp_path / 'killed')!r}), name='killed', workers=0, device='cpu')\n"
        "    with prepared(wanted) as run:\n"
        "        run.learn(lambda step, steps, remark: (print(step, flush=True), time.sleep(0.02)))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 7:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    state = load_state(tmp_path / "killed")
    assert state is not None and 0 < state.step < 15
    learnt(settings(tmp_path, corpus, "killed", config=config, resume=True))
    ours, theirs = weights(whole.out), weights(tmp_path / "killed")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_model_goes_by_its_name_and_tells_unheard_speakers_apart(tmp_path: Path, corpus: Path, dev: Path) -> None:
    config = small_config(run={"epochs": 6, "batch": 16}, data={"epoch_crops": 128}, loss={"margin": 0.2})
    result = train(settings(tmp_path, corpus, config=config, dev=dev))
    assert result is not None
    eers = [record.error for record in result.history]
    assert result.best.dev_eer == min(eers)
    assert min(eers) < 0.25
    embedder = registry.load("ours")
    rows = [line.split("\t") for line in dev.read_text().splitlines()]
    prepared = [read(Clip(Path(path))) for path, _ in rows]
    vectors = embedder.embed([embedder.prepare(wave, detect(wave)) for wave in prepared])
    speakers = np.array([speaker for _, speaker in rows])
    assert eer(pair_counts(vectors, speakers)) == pytest.approx(result.best.dev_eer, abs=0.04)


def test_the_best_epoch_is_kept_and_patience_ends_a_run(tmp_path: Path, corpus: Path, dev: Path) -> None:
    config = small_config(
        run={"epochs": 9, "patience": 2}, optimiser={"learning_rate": 1e-9, "warm_up_steps": 0, "weight_decay": 0.0}
    )
    result, _ = learnt(settings(tmp_path, corpus, config=config, dev=dev))
    assert result.stopped_early
    assert result.epochs == result.best_epoch + 3 < 9
    best = load_best(tmp_path / "ours")
    assert best is not None and best.epoch == result.best_epoch


def test_fine_tuning_starts_from_a_run_with_its_classifier(tmp_path: Path, corpus: Path) -> None:
    first = settings(tmp_path, corpus, "first", config=small_config(augmentation={"speed": {}}))
    learnt(first)
    messages: list[str] = []
    second = settings(
        tmp_path,
        corpus,
        "second",
        config=small_config(run={"epochs": 1, "frozen_norms": True}, data={"crop_s": 1.2}),
        start_from=first.out,
    )
    with prepared(second, messages.append) as run:
        run.learn()
    assert any("8 of its classes are known" in message for message in messages)
    norm = "network.stem.norm.running_mean"
    best = load_best(first.out)
    assert best is not None
    assert torch.equal(weights(second.out)[norm], best.learner[norm])
    assert not torch.equal(weights(second.out)["head.weight"], best.learner["head.weight"][:8])


def test_a_resumed_run_of_another_configuration_is_refused(tmp_path: Path, corpus: Path) -> None:
    learnt(settings(tmp_path, corpus))
    other = settings(tmp_path, corpus, config=small_config(loss={"margin": 0.3}), resume=True)
    before = (tmp_path / "ours" / "config.yaml").read_bytes()
    with pytest.raises(TrainingError, match="another configuration"):
        learnt(other)
    assert (tmp_path / "ours" / "config.yaml").read_bytes() == before
    with pytest.raises(UsageError, match="cannot start from itself"):
        learnt(settings(tmp_path, corpus, start_from=tmp_path / "ours", replace=True))
    assert load_best(tmp_path / "ours") is not None
    with pytest.raises(TrainingError, match="holds a run already"):
        learnt(settings(tmp_path, corpus))


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path, corpus: Path) -> None:
    first = settings(tmp_path, corpus, "first", config=small_config(run={"epochs": 1}))
    learnt(first)
    best = load_best(first.out)
    assert best is not None
    best.learner["network.projection.weight"].fill_(torch.nan)
    save_best(first.out, best)
    with pytest.raises(TrainingError, match=r"no number any more.*lower optimiser.learning_rate"):
        learnt(settings(tmp_path, corpus, "second", start_from=first.out))


def test_speakers_in_both_manifests_are_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(TrainingError, match="trained on too"):
        learnt(settings(tmp_path, corpus, dev=corpus))


def test_rows_that_are_left_out_are_listed(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", speakers=range(4), takes=2)
    soundfile.write(tmp_path / "short.wav", np.zeros(1600), 16000)
    with manifest.open("a", encoding="utf-8") as file:
        file.write(f"{tmp_path / 'short.wav'}\tspeaker0\n")
    messages: list[str] = []
    config = small_config(optimiser={"warm_up_steps": 0})
    with prepared(settings(tmp_path, manifest, config=config), messages.append):
        listed = (tmp_path / "ours" / "left_out.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[:2] for line in listed] == [["what", "line"], ["too short", "9"]]
    assert any("1 too short" in message for message in messages)


def test_dev_speakers_are_taken_out_and_thresholds_measured_on_them(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", speakers=range(8), takes=4)
    config = small_config(
        run={"epochs": 1},
        optimiser={"warm_up_steps": 0},
        data={"dev_speakers": 4, "held_out": "utterances"},
        finish={"calibrate": True},
    )
    result = train(settings(tmp_path, manifest, config=config))
    assert result is not None
    assert result.speakers == 4
    assert result.best.dev_eer is not None and result.best.held_out_accuracy is not None
    bundle = read_bundle(result.bundle)
    assert bundle.source["development"]["speakers"] == 4
    assert bundle.reference_calibration is not None


def test_a_loader_that_dies_during_a_step_is_one_line(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(*_: object) -> None:
        # PyTorch's handler of SIGCHLD raises this in the middle of whatever runs.
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(Stepper, "take", take)
    with pytest.raises(TrainingError, match=r"loads recordings died: DataLoader worker .*fewer --workers"):
        learnt(settings(tmp_path, corpus))


def test_noise_that_is_wanted_and_not_given_is_refused(tmp_path: Path, corpus: Path) -> None:
    config = small_config(augmentation={"noise": {}})
    with pytest.raises(TrainingError, match="--noise"):
        learnt(settings(tmp_path, corpus, config=config))


def test_a_batch_may_be_cut_into_parts(tmp_path: Path, corpus: Path) -> None:
    frozen = {"frozen_norms": True, "epochs": 1}
    one = settings(tmp_path, corpus, "one", config=small_config(run=frozen))
    two = settings(tmp_path, corpus, "two", config=small_config(run={**frozen, "accumulate": 2}))
    (_, one_history), (_, two_history) = learnt(one), learnt(two)
    assert one_history[0].loss == pytest.approx(two_history[0].loss, rel=1e-3)
    ours, theirs = weights(one.out), weights(two.out)
    assert torch.allclose(ours["network.projection.weight"], theirs["network.projection.weight"], atol=2e-3)


def test_what_is_computed_in_bfloat16_is_kept_in_float32(tmp_path: Path, corpus: Path) -> None:
    _, history = learnt(settings(tmp_path, corpus, config=small_config(run={"precision": "bf16"})))
    assert np.isfinite(history[-1].loss)
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(tmp_path / "ours").values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_learns_by_heart_too_in_bfloat16(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "crops", speakers=range(8), takes=4, seconds=1.0)
    config = small_config(run={"epochs": 12, "batch": 16, "precision": "bf16"}, data={"epoch_crops": 128})
    _, history = learnt(settings(tmp_path, manifest, config=config, device="cuda"))
    assert history[-1].accuracy == 1.0
