"""`vecsv audit`: likely label errors and near-duplicate recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vecsv.curation.audit import Audit, Finding

COLUMNS = (
    "rank",
    "kind",
    "score",
    "speaker",
    "utt_id",
    "path",
    "other_speaker",
    "other_utt_id",
    "other_path",
    "detail",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(audit)


def audit(
    store: StoreOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="TSV to write. Default: stdout.", show_default=False)
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="List this many at most. Default: all.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """List likely label errors and near-duplicate recordings, most striking first, as TSV.

    Kinds: `other-speaker` (an utterance closer to another speaker than to its own), `same-person` (two speakers who
    score like one), `two-people` (one speaker who scores like two), `near-duplicate` (a recording that is there
    twice). Only stored embeddings are read; listen before you change a label.

    Example: `vecsv audit --store calls -o audit.tsv`
    """
    from vecsv.api import Store
    from vecsv.cli import show
    from vecsv.durable import write_text

    found = Store(store).audit()
    listed = found.findings[:top]
    if json:
        show.as_json(found.to_json() | {"found": len(found.findings), "findings": _plain(listed)})
    elif out is None:
        show.line(_tsv(listed).rstrip("\n"))
    if out is not None:
        write_text(out, _tsv(listed))
    _say(found, len(listed))


def _plain(findings: Sequence[Finding]) -> list[dict[str, object]]:
    return [{name: getattr(one, name) for name in COLUMNS} for one in findings]


def _tsv(findings: Sequence[Finding]) -> str:
    rows = [COLUMNS, *(tuple(_cell(value) for value in one.values()) for one in _plain(findings))]
    return "".join("\t".join(row) + "\n" for row in rows)


def _cell(value: object) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    # A path on the disk may hold what a TSV cannot.
    return " ".join(text.split("\t")).replace("\n", " ").replace("\r", " ")


def _say(found: Audit, listed: int) -> None:
    from collections import Counter

    from vecsv.cli import show

    counts = Counter(one.kind for one in found.findings)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common()) or "nothing"
    show.message(f"found in {found.recordings:,} recordings of {found.speakers:,} speakers: {kinds}")
    if listed < len(found.findings):
        show.message(f"the first {listed:,} are listed")
    if found.recordings_not_judged:
        count = found.recordings_not_judged
        show.message(f"{count:,} recordings are their speaker's only one: whether it is theirs cannot be told")
    show.warnings(found.notes)
