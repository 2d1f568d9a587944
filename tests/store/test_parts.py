from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.rows import DIM, FINGERPRINT, embedded, failed, make_store
from vecsv.durable import sha256_of
from vecsv.errors import StoreError
from vecsv.store.generation import Generation
from vecsv.store.parts import failed_rows, read_part, schema_of, write_embeddings, write_failures
from vecsv.store.schema import vectors_of

GENERATION = Generation(1, model="test", fingerprint=FINGERPRINT, dim=DIM)


def test_rows_come_back_as_they_were_with_consecutive_ids(tmp_path: Path) -> None:
    rows = [embedded(1), embedded(2, session="s", channel=2, start_s=0.5, end_s=1.25, snr_db=None, extra=())]
    part = write_embeddings(tmp_path, GENERATION, rows, first_row_id=40, part=3)
    table = read_part(tmp_path, part)
    assert table.column("row_id").to_pylist() == [40, 41]
    for name in ("utt_id", "speaker", "session", "path", "channel", "start_s", "end_s", "speech_s", "audio_sha256"):
        assert table.column(name).to_pylist() == [getattr(row, name) for row in rows]
    assert table.column("extra").to_pylist() == [[("device", "phone")], []]
    assert np.array_equal(vectors_of(table.column("embedding")), np.stack([row.embedding for row in rows]))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_survives_the_round_trip(tmp_path: Path, texts: list[str]) -> None:
    rows = [embedded(n, speaker=text, utt_id=text, path=text, extra=((text, text),)) for n, text in enumerate(texts)]
    table = read_part(tmp_path, write_embeddings(tmp_path, GENERATION, rows, first_row_id=0, part=0))
    assert table.column("speaker").to_pylist() == texts
    assert table.column("extra").to_pylist() == [[(text, text)] for text in texts]


def test_the_name_carries_the_contents_hash(tmp_path: Path) -> None:
    part = write_embeddings(tmp_path, GENERATION, [embedded(1)], first_row_id=0, part=42)
    assert part.file == f"embeddings/part-00042-{part.sha256[:8]}.parquet"
    assert sha256_of(tmp_path / part.file) == part.sha256


def test_equal_rows_make_equal_files(tmp_path: Path) -> None:
    one = write_embeddings(tmp_path / "a", GENERATION, [embedded(1)], first_row_id=0, part=0)
    two = write_embeddings(tmp_path / "b", GENERATION, [embedded(1)], first_row_id=0, part=0)
    assert one == two


def test_every_shard_says_which_model_it_is_of(tmp_path: Path) -> None:
    part = write_embeddings(tmp_path, GENERATION, [embedded(1)], first_row_id=0, part=0)
    metadata = read_part(tmp_path, part).schema.metadata
    assert metadata[b"vecsv.fingerprint"].decode() == FINGERPRINT
    assert metadata[b"vecsv.model"] == b"test"
    assert schema_of(GENERATION).metadata == metadata


def test_a_shard_says_what_computed_it(tmp_path: Path) -> None:
    engine = "openvino 2026.4.1, cpu, bf16"
    part = write_embeddings(tmp_path, GENERATION, [embedded(1)], first_row_id=0, part=0, engine=engine)
    assert read_part(tmp_path, part).schema.metadata[b"vecsv.engine"].decode() == engine


def test_failures_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [failed(1), failed(2, speaker=None, code="bad-row", reason="3 columns")]
    assert failed_rows(read_part(tmp_path, write_failures(tmp_path, rows, part=0))) == rows


def test_a_damaged_shard_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    generation = make_store(tmp_path, [embedded(1)])
    path = tmp_path / generation.shards[0].file
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match=rf"{path.name}: damaged"):
        read_part(tmp_path, generation.shards[0])
