"""A power cut takes what was not flushed: all that a commit names must be on the disk before the commit is."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tests.crash.operations import ERASED
from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from vecsv.calibration.run import calibrate
from vecsv.embedding.run import EmbedSettings, embed_manifest
from vecsv.index.build import build_index
from vecsv.query.erase import erase
from vecsv.store.generation import MANIFESTS, manifest_path, require_latest


class Disk:
    """Remembers what was flushed: the content of files, and the names in folders.

    Parameters
    ----------
    root : Path
        A folder whose own name is on the disk already.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[int, tuple[int, int]] = {}
        self._names: dict[int, dict[str, int]] = {}
        self.commits = 0

    def flushed(self, descriptor: int) -> None:
        """Take down an fsync."""
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(descriptor) as entries:
                self._names[status.st_ino] = {entry.name: entry.inode() for entry in entries}
        else:
            self._files[status.st_ino] = status.st_size, status.st_mtime_ns

    def holds(self, path: Path) -> bool:
        """Whether a file or folder would be there after a power cut as it is now, with every name that leads to it."""
        status = path.stat()
        if path.is_file() and self._files.get(status.st_ino) != (status.st_size, status.st_mtime_ns):
            return False
        inside = path.relative_to(self._root)
        places = [self._root / place for place in (inside, *inside.parents[:-1])]
        return all(self._names.get(at.parent.stat().st_ino, {}).get(at.name) == at.stat().st_ino for at in places)

    def require_committable(self, store: Path, manifest: Path) -> None:
        """Fail unless all that a manifest names is on the disk, and the manifest's content too."""
        self.commits += 1
        status = manifest.stat()
        assert self._files[status.st_ino] == (status.st_size, status.st_mtime_ns)
        document: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        index = [] if document["index"] is None else [document["index"]["folder"]]
        parts = [part["file"] for part in (*document["shards"], *document["failures"])]
        for named in (*parts, *index, *document["calibrations"].values()):
            place = store / named
            for path in [place, *place.rglob("*")]:
                assert self.holds(path), f"{path.relative_to(store)} was not flushed before it was committed"


@contextmanager
def watching(disk: Disk, store: Path) -> Iterator[None]:
    """Take down every fsync, and check every commit just before it happens."""
    fsync, link = os.fsync, os.link

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        disk.flushed(descriptor)

    def watched_link(source: Path, target: Path, **options: bool) -> None:
        if Path(target).parent == store / MANIFESTS:
            disk.require_committable(store, Path(source))
        link(source, target, **options)

    with mock.patch.multiple(os, fsync=watched_fsync, link=watched_link):
        yield


def test_all_that_a_commit_names_is_flushed_before_it_and_the_commit_before_it_is_acknowledged(tmp_path: Path) -> None:
    manifest = write_speakers(tmp_path / "corpus", 4, 6)
    with manifest.open("a", encoding="utf-8") as file:
        file.write("speaker-002/lost.wav\tspeaker-002\n")
    store = tmp_path / "stores" / "one"
    settings = EmbedSettings(workers=2, rows_per_shard=8, seconds_per_commit=1e9)
    disk = Disk(tmp_path)
    steps: list[Callable[[], object]] = [
        lambda: embed_manifest(manifest, store, SpectralEmbedder(), settings),
        lambda: build_index(store),
        lambda: calibrate(store),
        lambda: erase(store, ERASED),
    ]
    with watching(disk, store):
        for step in steps:
            step()
            assert disk.holds(manifest_path(store, require_latest(store).number))
    # The empty store, three shards at least, an index, a calibration and an erasure.
    assert disk.commits >= 6
