"""Checkpoints as SpeechBrain and WeSpeaker write them, of the designs in `tests.fixtures.ecapa`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.fixtures import ecapa
from vecsv.health.original_networks import ecapa_shapes
from vecsv.health.signals import drawn
from vecsv.models.conversion import Conversion
from vecsv.models.ecapa_conversion import from_speechbrain, from_wespeaker
from vecsv.networks.ecapa_spec import SPEECHBRAIN, WESPEAKER_512, EcapaSpec

CASES: Final = [("speechbrain", case) for case in ecapa.SPEECHBRAIN] + [("wespeaker", case) for case in ecapa.WESPEAKER]


def spec_of(toolkit: str, case: str) -> EcapaSpec:
    """Write a case's design down, from the arguments that the toolkit is given."""
    if toolkit == "speechbrain":
        given = ecapa.SPEECHBRAIN[case]
        return replace(
            SPEECHBRAIN,
            channels=tuple(given["channels"]),
            kernels=tuple(given.get("kernel_sizes", SPEECHBRAIN.kernels)),
            scale=given.get("res2net_scale", 8),
            attention_width=given.get("attention_channels", 128),
            se_width=given.get("se_channels", 128),
            dim=given.get("lin_neurons", 192),
            global_context=given.get("global_context", True),
        )
    given = ecapa.WESPEAKER[case]
    return replace(
        WESPEAKER_512,
        channels=(given["channels"],) * 4 + (1536,),
        dim=given.get("embed_dim", 192),
        global_context=given.get("global_context_att", False),
        output_norm=given.get("emb_bn", False),
    )


def checkpoint(toolkit: str, case: str) -> dict[str, NDArray[np.float32]]:
    """Draw a case's state dict, under the toolkit's names."""
    return drawn(ecapa_shapes(toolkit, spec_of(toolkit, case)))


def conversion(toolkit: str, case: str) -> Conversion:
    """Read a case's state dict."""
    read = from_speechbrain if toolkit == "speechbrain" else from_wespeaker
    return read(checkpoint(toolkit, case), where=f"{toolkit} {case}")
