from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.models.onnx_graphs import Exported
from vecsv.durable import sha256_of
from vecsv.errors import ModelError, UsageError
from vecsv.models import registry
from vecsv.models.add import add, require_addable
from vecsv.models.bundle import read_bundle, verify_bundle, write_bundle
from vecsv.models.presets import find_preset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return Exported().write(tmp_path / "model.onnx")


def with_card(bundle: Path, folder: Path) -> Path:
    """Write a bundle again, with a model card."""
    from safetensors.numpy import load_file

    graph = (bundle / "model.onnx").read_bytes()
    tensors = load_file(bundle / "model.safetensors")
    return write_bundle(folder, read_bundle(bundle), tensors=tensors, graph=graph, card="# Theirs\n")


def left(cache: Path) -> list[str]:
    models = cache / "models"
    return sorted(path.name for path in models.iterdir()) if models.is_dir() else []


class TestOnnx:
    def test_a_graph_becomes_a_model_that_can_be_loaded(self, graph: Path, cache: Path) -> None:
        said: list[str] = []
        folder = add(graph, name="mine", preset="wespeaker", licence="MIT", on_message=said.append)
        assert folder == cache / "models" / "mine"
        assert left(cache) == ["mine"]
        bundle = verify_bundle(folder)
        assert (bundle.name, bundle.family, bundle.dim, bundle.licence) == ("mine", "onnx", 16, "MIT")
        assert bundle.frontend == find_preset("wespeaker").frontend
        assert bundle.source == {"path": "model.onnx", "sha256": sha256_of(graph)}
        assert bundle.reference_calibration is None
        assert registry.load("mine").fingerprint == bundle.fingerprint
        assert said[0] == "recognised an ONNX file"
        assert "note: front end of the preset wespeaker (as asked for)" in said
        assert said[-1] == f"mine is ready: {folder}"

    def test_no_path_of_this_machine_is_recorded(self, graph: Path, tmp_path: Path) -> None:
        folder = add(graph, name="mine", preset="wespeaker")
        assert str(tmp_path) not in (folder / "bundle.json").read_text(encoding="utf-8")

    def test_without_what_it_was_trained_on_it_is_refused(self, graph: Path, cache: Path) -> None:
        with pytest.raises(ModelError, match="preset"):
            add(graph, name="mine")
        assert left(cache) == []


class TestNames:
    @pytest.mark.parametrize("name", ["", "../mine", "Mine", ".mine", "a/b", "a b", "mine\n"])
    def test_an_impossible_name_is_refused(self, name: str, graph: Path, cache: Path) -> None:
        with pytest.raises(ModelError, match="cannot be a model's name"):
            add(graph, name=name, preset="wespeaker")
        assert not cache.exists()

    def test_a_known_model_s_name_is_refused(self, graph: Path, cache: Path) -> None:
        with pytest.raises(ModelError, match=r"ge2e is the name of a model that vecsv knows \(choose another"):
            add(graph, name="ge2e", preset="wespeaker", replace=True)
        assert not cache.exists()

    def test_whether_a_name_can_be_had_is_told_before_there_is_a_model(self, graph: Path, cache: Path) -> None:
        assert require_addable("mine") == cache / "models" / "mine"
        add(graph, name="mine", preset="wespeaker")
        with pytest.raises(ModelError, match="in the cache already"):
            require_addable("mine")
        assert require_addable("mine", replace=True) == cache / "models" / "mine"
        with pytest.raises(ModelError, match="that vecsv knows"):
            require_addable("ge2e", replace=True)

    def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced(self, graph: Path, tmp_path: Path) -> None:
        first = read_bundle(add(graph, name="mine", preset="wespeaker"))
        other = Exported(seed=1).write(tmp_path / "other.onnx")
        with pytest.raises(ModelError, match=r"a model mine in the cache already \(choose another name, or give --re"):
            add(other, name="mine", preset="wespeaker")
        assert read_bundle(registry.cached_folder("mine")) == first
        second = read_bundle(add(other, name="mine", preset="wespeaker", replace=True))
        assert second.fingerprint != first.fingerprint
        assert second.source["path"] == "other.onnx"

    def test_of_two_that_add_a_name_at_once_one_is_refused(self, graph: Path, cache: Path) -> None:
        def attempt(number: int) -> str:
            try:
                add(graph, name="mine", preset="wespeaker", description=f"number {number}")
            except ModelError as error:
                return str(error)
            return "added"

        with ThreadPoolExecutor(3) as pool:
            outcomes = sorted(pool.map(attempt, range(3)))
        assert outcomes[0] == "added"
        assert all("in the cache already" in outcome for outcome in outcomes[1:])
        assert left(cache) == ["mine"]


class TestFailure:
    def test_a_model_that_fails_its_trial_leaves_nothing(
        self, graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(folder: Path, *, where: str) -> None:
            verify_bundle(folder)
            raise ModelError("gives embeddings that are not finite", where=where)

        monkeypatch.setattr("vecsv.models.add.self_test", refuse)
        with pytest.raises(ModelError, match=rf"^{graph}: gives embeddings that are not finite"):
            add(graph, name="mine", preset="wespeaker")
        assert left(cache) == []

    def test_a_failed_replacement_leaves_the_old_model(
        self, graph: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = read_bundle(add(graph, name="mine", preset="wespeaker"))
        bad = tmp_path / "bad.onnx"
        bad.write_bytes(graph.read_bytes()[:-100])
        with pytest.raises(ModelError):
            add(bad, name="mine", preset="wespeaker", replace=True)
        assert verify_bundle(registry.cached_folder("mine")) == first
        assert left(cache) == ["mine"]

    def test_a_cache_that_cannot_be_written_is_one_error(
        self, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("x")
        monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "file"))
        with pytest.raises(ModelError, match="cannot be written"):
            add(graph, name="mine", preset="wespeaker")

    @pytest.mark.parametrize(("option", "words"), [("preset", "leave --preset out"), ("key", "leave --key out")])
    def test_options_that_do_not_fit_are_refused(self, option: str, words: str, tmp_path: Path) -> None:
        name = "weights.ckpt" if option == "preset" else "model.onnx"
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UsageError, match=words):
            add(tmp_path / name, name="mine", **{option: "wespeaker"})

    def test_an_unknown_family_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "weights.pt").write_bytes(b"x")
        with pytest.raises(ModelError, match="family other"):
            add(tmp_path / "weights.pt", name="mine", family="other")


class TestBundle:
    @pytest.fixture
    def bundle(self, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("VECSV_CACHE", str(tmp_path / "elsewhere"))
            return add(graph, name="theirs", preset="wespeaker", licence="MIT", description="of theirs")

    def test_it_is_copied_under_its_new_name(self, bundle: Path, cache: Path) -> None:
        (bundle / "notes.txt").write_text("not copied")
        folder = add(bundle, name="mine")
        found, given = verify_bundle(folder), verify_bundle(bundle)
        assert (found.name, found.licence, found.description) == ("mine", "MIT", "of theirs")
        assert (found.fingerprint, found.source, found.sha256) == (given.fingerprint, given.source, given.sha256)
        assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "model.onnx", "model.safetensors"]

    def test_its_model_card_comes_along(self, bundle: Path, tmp_path: Path) -> None:
        carded = with_card(bundle, tmp_path / "carded")
        folder = add(carded, name="mine")
        assert (folder / "README.md").read_text(encoding="utf-8") == "# Theirs\n"
        assert verify_bundle(folder).sha256 == verify_bundle(carded).sha256

    def test_a_changed_model_card_is_refused(self, bundle: Path, tmp_path: Path, cache: Path) -> None:
        carded = with_card(bundle, tmp_path / "carded")
        (carded / "README.md").write_text("# Ours\n", encoding="utf-8")
        with pytest.raises(ModelError, match=r"README\.md: is not the file that the bundle was made with"):
            add(carded, name="mine")
        assert left(cache) == []

    def test_a_file_called_like_a_model_card_is_not_copied(self, bundle: Path) -> None:
        (bundle / "README.md").write_text("somebody's notes", encoding="utf-8")
        folder = add(bundle, name="mine")
        assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "model.onnx", "model.safetensors"]

    def test_a_licence_and_a_description_given_count(self, bundle: Path) -> None:
        found = read_bundle(add(bundle, name="mine", licence="CC-BY-4.0", description="ours"))
        assert (found.licence, found.description) == ("CC-BY-4.0", "ours")

    @pytest.mark.parametrize("file", ["bundle.json", "model.onnx", "model.safetensors"])
    def test_a_changed_or_missing_file_is_refused_by_its_own_name(self, file: str, bundle: Path, cache: Path) -> None:
        content = (bundle / file).read_bytes()
        (bundle / file).write_bytes(content[:-3])
        with pytest.raises(ModelError) as refusal:
            add(bundle, name="mine")
        assert str(refusal.value).startswith(f"{bundle / file}: ")
        (bundle / file).unlink()
        with pytest.raises(ModelError):
            add(bundle, name="mine")
        assert left(cache) == []

    def test_a_graph_that_reads_other_files_is_refused_although_its_checksum_is_right(
        self, bundle: Path, cache: Path
    ) -> None:
        import onnx

        model = onnx.load(bundle / "model.onnx")
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value="../../../../../etc/passwd")
        (bundle / "model.onnx").write_bytes(model.SerializeToString())
        old = read_bundle(bundle).sha256["model.onnx"]
        described = (bundle / "bundle.json").read_text().replace(old, sha256_of(bundle / "model.onnx"))
        (bundle / "bundle.json").write_text(described)
        with pytest.raises(ModelError, match="in another file, which is never opened"):
            add(bundle, name="mine")
        assert left(cache) == []

    def test_other_tensors_are_refused_although_their_checksum_is_right(self, bundle: Path, cache: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(bundle / "model.safetensors")
        name = min(tensors)
        save_file({**tensors, name: tensors[name] + np.ones_like(tensors[name])}, bundle / "model.safetensors")
        old = read_bundle(bundle).sha256["model.safetensors"]
        described = (bundle / "bundle.json").read_text().replace(old, sha256_of(bundle / "model.safetensors"))
        (bundle / "bundle.json").write_text(described)
        with pytest.raises(ModelError, match="have fingerprint"):
            add(bundle, name="mine")
        assert left(cache) == []

    def test_a_file_of_the_bundle_that_is_no_safetensors_is_refused_in_one_line(
        self, bundle: Path, cache: Path
    ) -> None:
        (bundle / "model.safetensors").write_bytes(b"\xff" * 100)
        old = read_bundle(bundle).sha256["model.safetensors"]
        described = (bundle / "bundle.json").read_text().replace(old, sha256_of(bundle / "model.safetensors"))
        (bundle / "bundle.json").write_text(described)
        with pytest.raises(ModelError, match=r"model\.safetensors: not a PyTorch checkpoint"):
            add(bundle, name="mine")


def test_the_default_model_can_be_added_under_another_name(ge2e_folder: Path) -> None:
    # The fixture's folder is in the cache that other tests use, and is found before this test's own is set.
    folder = add(ge2e_folder, name="copy")
    assert read_bundle(folder).fingerprint == read_bundle(ge2e_folder).fingerprint
