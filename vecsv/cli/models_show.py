"""`vecsv models show`: what a model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vecsv.cli.options import JsonOption


def show(
    name: Annotated[
        str, typer.Argument(help="A model's name, or the folder of a bundle.", show_default=False)
    ] = "ge2e",
    json: JsonOption = False,
) -> None:
    """Describe a model in the cache, after checking its files against its checksums.

    Example: `vecsv models show ge2e`
    """
    from vecsv.cli import show as printing
    from vecsv.models import registry
    from vecsv.models.bundle import BUNDLE_FILE, CARD_FILE, verify_bundle
    from vecsv.models.families import engines as engines_of

    folder = registry.locate(name, on_message=printing.message)
    bundle = verify_bundle(folder)
    sizes = {file: (folder / file).stat().st_size for file in (BUNDLE_FILE, *sorted(bundle.sha256))}
    engines = engines_of(bundle)
    if json:
        printing.as_json({**bundle.to_json(), "files": sizes, "engines": list(engines), "folder": str(folder)})
        return
    reference = bundle.reference_calibration
    source = dict(bundle.source)
    if isinstance(source.get("config"), Mapping) and CARD_FILE in bundle.sha256:
        # A training's, of a hundred lines.
        source["config"] = f"in {folder / CARD_FILE}"
    printing.facts(
        [
            ("name", bundle.name),
            ("what", bundle.description),
            ("family", bundle.family),
            *(("network" if first else "", text) for first, text in _lines(bundle.network)),
            ("front end", _front_end(_flat(bundle.frontend.to_json()))),
            ("dimensions", bundle.dim),
            ("sample rate", f"{bundle.sample_rate:,} Hz"),
            ("runs on", ", ".join(engines)),
            ("fingerprint", bundle.fingerprint),
            ("licence", bundle.licence),
            *(("source" if first else "", text) for first, text in _lines(source)),
            ("reference calibration", "none" if reference is None else reference["source"]),
            *(
                ("files" if position == 0 else "", f"{file} ({size / 1e6:,.1f} MB)")
                for position, (file, size) in enumerate(sizes.items())
            ),
            ("folder", folder),
        ]
    )


def _lines(values: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """One line for each value, values of an inner mapping a line each too; whether it is the first."""
    return [(position == 0, f"{key} {value}") for position, (key, value) in enumerate(_flat(values).items())]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of inner mappings beside the others, as ``outer.inner``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": found for inner, found in _flat(value).items()}
        else:
            flat[key] = value
    return flat


def _front_end(values: Mapping[str, Any]) -> str:
    """The front end in one line, without what is not set."""
    rest = [f"{key} {value}" for key, value in values.items() if key != "kind" and value not in (None, "none")]
    return ", ".join([str(values["kind"]), *rest])
