from pathlib import Path

import pytest

from vecsv import config


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path))
    assert config.cache_dir() == tmp_path


def test_without_a_choice_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VECSV_CACHE", raising=False)
    assert config.cache_dir().name == "vecsv"


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline_is_what_the_variable_says(monkeypatch: pytest.MonkeyPatch, value: str, offline: bool) -> None:
    monkeypatch.setenv("VECSV_OFFLINE", value)
    assert config.offline() is offline


def test_the_default_store_is_the_variables_or_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSV_STORE", "calls")
    assert config.default_store() == Path("calls")
    monkeypatch.delenv("VECSV_STORE")
    assert config.default_store() == Path("index")


def test_enrolments_are_sealed_only_where_a_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSV_ENROLMENT_KEY_FILE", "~/enrolment.key")
    assert config.enrolment_key_file() == Path.home() / "enrolment.key"
    monkeypatch.delenv("VECSV_ENROLMENT_KEY_FILE")
    assert config.enrolment_key_file() is None
