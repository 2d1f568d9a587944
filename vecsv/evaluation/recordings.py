"""Who and where the recordings of a trial list are: in a manifest, in a store, or simply files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vecsv.arrays import Vectors
from vecsv.audio.decode import Clip, sha256
from vecsv.errors import ManifestError
from vecsv.manifest import ManifestRow, read_manifest
from vecsv.store.reader import Snapshot
from vecsv.store.schema import vectors_of


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording that trials name.

    Attributes
    ----------
    name : str
        As the trials have it.
    clip : Clip
        Where it is.
    speaker : str or None
        Who speaks, where a manifest or the store says so.
    columns : mapping of str to str
        What is known about it: ``speaker``, ``session``, ``channel`` and the manifest's other columns.
    vector : ndarray or None
        Its embedding, float32 ``(dim,)``, where the store has it.
    """

    name: str
    clip: Clip
    speaker: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    vector: Vectors | None = None


@dataclass(frozen=True, eq=False)
class _Stored:
    utt_id: str
    clip: Clip
    audio_sha256: str
    speaker: str
    columns: Mapping[str, str]
    vector: Vectors | None


def find_recordings(
    names: Sequence[str], *, root: Path, manifest: Path | None = None, store: Snapshot | None = None
) -> list[Recording]:
    """Find the recordings of these names.

    A name is a row of the manifest by its utterance id, or by its path where the row is the whole file; what no row
    matches is a file. The store's embedding is taken by utterance id or path, never for another recording: the path has
    to be the store's, or the bytes, or the file must be gone.

    Parameters
    ----------
    names : sequence of str
    root : Path
        The folder that relative names are relative to.
    manifest : Path, optional
    store : Snapshot, optional

    Returns
    -------
    list of Recording
        In the order of `names`. Whether a file is there is not checked.

    Raises
    ------
    ManifestError
        When the manifest cannot be read, or gives a name twice.
    """
    base = str(root.resolve())
    paths = [os.path.normpath(os.path.join(base, name)) for name in names]  # noqa: PTH118 - takes absolute names as well
    rows = _Rows({}, {}) if manifest is None else _Rows.wanted(manifest, set(names), set(paths))
    found, ids = [], []
    for name, path in zip(names, paths, strict=True):
        row = rows.get(name, path)
        found.append(Recording(name, Clip(Path(path))) if row is None else _of_row(name, row))
        ids.append(name if row is None else row.utt_id)
    return found if store is None else _with_store(found, ids, store)


def rows_of(manifest: Path) -> Iterator[ManifestRow]:
    """The rows of a manifest that has to be whole.

    Raises
    ------
    ManifestError
        When it cannot be read, at the first bad row too.
    """
    for row in read_manifest(manifest):
        if not isinstance(row, ManifestRow):
            raise ManifestError(row.reason, where=f"{manifest}, line {row.line}")
        yield row


def recordings_of(rows: Sequence[ManifestRow], *, store: Snapshot | None = None) -> list[Recording]:
    """Rows of a manifest as recordings, with the store's embeddings where it has them."""
    found = [_of_row(row.utt_id, row) for row in rows]
    return found if store is None else _with_store(found, [row.utt_id for row in rows], store)


def columns_of(
    speaker: str, session: str | None, channel: int | None, extra: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """What is known about a recording, by column; what is empty or null is not there."""
    known = {"speaker": speaker, "session": session, "channel": None if channel is None else str(channel)}
    return {name: value for name, value in (*extra, *known.items()) if value}


@dataclass(frozen=True)
class _Rows:
    """The rows of a manifest that trials name."""

    by_id: Mapping[str, ManifestRow]
    by_path: Mapping[str, ManifestRow]

    @classmethod
    def wanted(cls, manifest: Path, names: set[str], paths: set[str]) -> _Rows:
        by_id: dict[str, ManifestRow] = {}
        by_path: dict[str, ManifestRow] = {}
        for row in rows_of(manifest):
            if row.utt_id in names:
                _put(by_id, row.utt_id, row, manifest)
            path = os.path.normpath(row.path)
            if path in paths and _is_whole(row):
                _put(by_path, path, row, manifest)
        return cls(by_id, by_path)

    def get(self, name: str, path: str) -> ManifestRow | None:
        return self.by_id.get(name) or self.by_path.get(path)


def _put(rows: dict[str, ManifestRow], key: str, row: ManifestRow, manifest: Path) -> None:
    before = rows.setdefault(key, row)
    if before is not row:
        raise ManifestError(
            f"the trials' {key!r} stands in line {before.line} too",
            where=f"{manifest}, line {row.line}",
            hint="give each row a utt_id of its own",
        )


def _is_whole(row: ManifestRow) -> bool:
    return row.channel is None and row.start_s is None and row.end_s is None


def _of_row(name: str, row: ManifestRow) -> Recording:
    clip = Clip(Path(os.path.normpath(row.path)), row.channel, row.start_s, row.end_s)
    return Recording(name, clip, row.speaker, columns_of(row.speaker, row.session, row.channel, row.extra))


def _read_stored(store: Snapshot, ids: set[str], paths: set[str]) -> list[_Stored]:
    """The store's rows of these utterance ids or paths, one shard at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted_ids, wanted_paths = pa.array(sorted(ids), pa.string()), pa.array(sorted(paths), pa.string())
    found: list[_Stored] = []
    # A window's vector is not that of its recording, which is embedded again.
    whole = not store.generation.has_window_rows
    names = ["utt_id", "path", "channel", "start_s", "end_s", "audio_sha256", "speaker", "session", "extra"]
    for table in store.iterate([*names, "embedding"]):
        matches = pc.or_(pc.is_in(table.column("utt_id"), wanted_ids), pc.is_in(table.column("path"), wanted_paths))
        chosen = table.filter(matches)
        # A copy, or one wanted row would keep the whole shard in memory.
        vectors = vectors_of(chosen.column("embedding")).copy()
        for row, vector in zip(chosen.select(names).to_pylist(), vectors, strict=True):
            found.append(
                _Stored(
                    row["utt_id"],
                    Clip(Path(row["path"]), row["channel"], row["start_s"], row["end_s"]),
                    row["audio_sha256"],
                    row["speaker"],
                    columns_of(row["speaker"], row["session"], row["channel"], row["extra"]),
                    vector if whole else None,
                )
            )
    return found


def _with_store(found: Sequence[Recording], ids: Sequence[str], store: Snapshot) -> list[Recording]:
    """The recordings with what the store knows of them."""
    stored = _read_stored(store, set(ids), {str(one.clip.path) for one in found})
    by_id = {one.utt_id: one for one in stored}
    by_path = {one.clip.path: one for one in stored if one.clip == Clip(one.clip.path)}
    return [
        _with_stored(one, by_id.get(utt_id) or by_path.get(one.clip.path))
        for one, utt_id in zip(found, ids, strict=True)
    ]


def _with_stored(recording: Recording, stored: _Stored | None) -> Recording:
    if stored is None or not _is_same(recording, stored):
        return recording
    return Recording(
        recording.name,
        recording.clip,
        recording.speaker or stored.speaker,
        recording.columns or stored.columns,
        stored.vector,
    )


def _is_same(recording: Recording, stored: _Stored) -> bool:
    here, there = recording.clip, stored.clip
    # A name that no manifest explains may be the id of a cut; where a manifest does, the cuts have to agree.
    if recording.columns and (here.channel, here.start_s, here.end_s) != (there.channel, there.start_s, there.end_s):
        return False
    if here.path == Path(os.path.normpath(there.path)) or not here.path.is_file():
        return True
    return sha256(here.path) == stored.audio_sha256
