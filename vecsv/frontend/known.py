"""The front ends of model families that have one, each read from its toolkit's own code."""

from __future__ import annotations

from typing import Final

from vecsv.frontend.spec import KaldiSpec, LogMelSpec, WaveformSpec

SPEECHBRAIN: Final = LogMelSpec()
"""SpeechBrain's ECAPA-TDNN on VoxCeleb: ``Fbank(n_mels=80)`` and ``InputNormalization(norm_type="sentence",
std_norm=False)``.

Source: speechbrain 1.1, ``processing/features.py`` (STFT, Filterbank, InputNormalization) and ``lobes/features.py``
(Fbank); the settings stand in ``hyperparams.yaml`` beside its checkpoints.
"""

WESPEAKER: Final = KaldiSpec()
"""WeSpeaker: 80 bands, Hamming window, samples as 16-bit numbers, the recording's mean taken away.

Source: wespeaker, ``wespeaker/cli/speaker.py`` and ``wespeaker/dataset/processor.py`` (compute_fbank, apply_cmvn),
which call ``torchaudio.compliance.kaldi.fbank``.
"""

THREE_D_SPEAKER: Final = KaldiSpec(window="povey", scale=1.0)
"""3D-Speaker (CAM++, ERes2Net): as WeSpeaker, but the Povey window, and samples in [-1, 1].

Source: 3D-Speaker, ``speakerlab/process/processor.py`` (FBank with ``mean_nor``), which calls
``torchaudio.compliance.kaldi.fbank`` with its default window.
"""

REDIMNET: Final = LogMelSpec(
    n_fft=512,
    padding="reflect",
    preemphasis=0.97,
    preemphasis_edge="reflect",
    mels=72,
    mel_shape="triangle",
    f_min=20.0,
    f_max=7600.0,
    log="ln",
    log_floor=0.0,
    log_offset=1e-6,
    range_db=None,
)
"""ReDimNet with ``feat_type="pt"``: ``MelBanks`` of 72 bands, without ``norm_signal`` and with ``spec_norm="mn"``.

Source: ReDimNet, ``redimnet/layers/features.py`` (PreEmphasis, MelBanks), which calls
``torchaudio.transforms.MelSpectrogram``. Its networks take the waveform and hold these layers themselves; this is for
graphs exported without them.
"""

TITANET: Final = LogMelSpec(
    n_fft=512,
    window="hann-symmetric",
    padding="reflect",
    preemphasis=0.97,
    mel_scale="slaney",
    mel_shape="triangle",
    mel_norm="slaney",
    log="ln",
    log_floor=0.0,
    log_offset=2.0**-24,
    range_db=None,
    normalise="mean-std",
)
"""NeMo's TitaNet, as trained: ``FilterbankFeatures`` of NeMo 1, 80 bands, ``normalize="per_feature"``.

NeMo 2 and later see zeros instead of the waveform's reflection beyond its ends, and one frame less at the end:
``dataclasses.replace(TITANET, padding="zeros", frames="whole-hops")``.

Source: nemo_toolkit 1.23.0 and 3.0.0, ``nemo/collections/asr/parts/preprocessing/features.py`` (FilterbankFeatures,
normalize_batch); the settings stand in ``examples/speaker_tasks/recognition/conf/titanet-large.yaml``.
"""

NORMALISED_WAVEFORM: Final = WaveformSpec(normalise=True)
"""Models of the Wav2Vec 2.0 kind whose ``preprocessor_config.json`` says ``do_normalize``.

Source: transformers, ``models/wav2vec2/feature_extraction_wav2vec2.py`` (zero_mean_unit_var_norm).
"""
