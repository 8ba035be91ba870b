"""A feature set in, the hash of everything that its numbers depend on besides the audio out: by it stored vectors stay in use."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

from core import features
from core.data import augment, fingerprints
from core.data.audio import ANALYSIS_RATE_HZ, MIN_SAMPLES
from core.data.treatment import AS_RECORDED, MIX, Treatment
from core.encoders.registry import source_of
from core.encoders.source import ENCODER_WINDOWS, TO_CLIP
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.features.sets import kinds
from core.runtime.cache import Stored
from core.runtime.device import CPU, Device
from core.runtime.weights import is_here

FINGERPRINT = "fingerprint"  # what is stored of a clip beside its feature sets
_STORED_NAME = re.compile(r"(.*?)(?:, channel (\w+))?(?:, slowed down (\d[\d.]*(?:e\+?\d+)?) times)?(?:, copy (\d+))?", re.DOTALL)
_NUMERIC_LIBRARIES = ("numpy", "scipy", "librosa", "soxr", "soundfile", "numba")
_DECODING_LIBRARIES = ("soxr", "soundfile", "librosa")


def definition_hash(
    set_name: str,
    max_seconds: float,
    copy: int = 0,
    *,
    device: Device = CPU,
    encoder_window: str = TO_CLIP,
    treatment: Treatment = AS_RECORDED,
) -> bytes:
    """Hash of everything that a set's numbers depend on besides the audio [16 bytes].

    Columns with their definitions, the version of the set's code, the parameters of decoding, and the versions of the libraries
    that compute; the channel and the slowing down where clips are not taken as they are; over windows also their length and how
    they are pooled, for a copy of the clip also its number and how copies are made; of an encoder its weights, the precision of the
    device, and how clips are cut and normalised, but not which of its layers are chosen. A set of the table depends on its name
    alone, and the fingerprint of a clip on no setting.

    Raises
    ------
    ParameterError
        The weights of an encoder are not on this machine.
    """
    if set_name == FINGERPRINT:
        return digest(decoding(fingerprints.LONGEST_S) | {"set": FINGERPRINT, "version": fingerprints.VERSION})
    feature_set = features.parse_set(features.parse_set(set_name).stored)
    if feature_set.on_device:
        definition = source_of(feature_set.name).definition(feature_set, device=device, encoder_window=encoder_window)
        return digest(decoding(max_seconds, copy, treatment) | {"torch": definition})
    if feature_set.of_group:
        inner = definition_hash(
            feature_set.of_group, max_seconds, copy, device=device, encoder_window=encoder_window, treatment=treatment
        )
        return hashlib.blake2b(set_name.encode(errors="surrogateescape") + inner, digest_size=16).digest()
    if not feature_set.of_audio:
        return hashlib.blake2b(set_name.encode(errors="surrogateescape"), digest_size=16).digest()
    definition = {
        "set": feature_set.name,
        "version": kinds()[feature_set.base].version(feature_set),
        "columns": _described_columns(feature_set.name),
    } | _common(max_seconds, copy, treatment, _NUMERIC_LIBRARIES)
    if feature_set.window_s is not None:
        definition["windows"] = {"version": features.WINDOWS_VERSION, "seconds": feature_set.window_s}
    return digest(definition)


def decoding(max_seconds: float, copy: int = 0, treatment: Treatment = AS_RECORDED) -> dict[str, Any]:
    """What a waveform depends on besides the bytes of the file."""
    return _common(max_seconds, copy, treatment, _DECODING_LIBRARIES)


def digest(definition: Mapping[str, Any]) -> bytes:
    """Hash of a definition [16 bytes]."""
    return hashlib.blake2b(json.dumps(definition, sort_keys=True).encode(), digest_size=16).digest()


def definitions_of(settings: ExtractSettings) -> dict[str, str]:
    """Definition hash of each feature set, in hexadecimal: equal while numbers that were extracted are what this version computes.

    A set whose weights are not on this machine has none (an empty text).
    """
    device = settings.choose_device()
    hashes = {}
    for name in settings.features:
        try:
            hashes[name] = definition_hash(
                name, settings.max_seconds, device=device, encoder_window=settings.encoder_window, treatment=settings.treatment
            ).hex()
        except ParameterError:
            hashes[name] = ""
    return hashes


def stored_name(set_name: str, copy: int, treatment: Treatment = AS_RECORDED) -> str:
    """Under which name the definition of a set is noted, for the clip itself or for a copy.

    Examples
    --------
    >>> stored_name("ultra", 2, Treatment("left", 10))
    'ultra, channel left, slowed down 10 times, copy 2'
    """
    return ", ".join(part for part in (set_name, treatment.words, f"copy {copy}" if copy else "") if part)


def is_current(stored: Stored) -> bool:
    """Whether vectors would be used by this version: what they are of is defined as it was when they were computed.

    What an encoder said stays, however it was computed, while its weights are not at hand to tell.
    """
    if stored.set_name == FINGERPRINT:
        return definition_hash(FINGERPRINT, stored.max_seconds) == stored.definition
    match = _STORED_NAME.fullmatch(stored.set_name)
    assert match is not None  # every part of the pattern may be empty
    name, channel, slow_down, copy = match.groups()
    treatment = Treatment(channel or MIX, float(slow_down or 1))
    try:
        feature_set = features.parse_set(name)
    except ParameterError:  # of a version that has other sets
        return False
    if feature_set.model and not is_here(feature_set.model):
        return True
    devices = [CPU, replace(CPU, precision="bf16")] if feature_set.model else [CPU]
    windows = ENCODER_WINDOWS if feature_set.model else ENCODER_WINDOWS[:1]
    return any(
        definition_hash(name, stored.max_seconds, int(copy or 0), device=device, encoder_window=window, treatment=treatment)
        == stored.definition
        for device in devices
        for window in windows
    )


def _described_columns(set_name: str) -> list[tuple[str, str, str, str]]:
    return [(column.name, column.unit, column.definition, column.nan_when) for column in features.columns(set_name)]


def _common(max_seconds: float, copy: int, treatment: Treatment, libraries: Sequence[str]) -> dict[str, Any]:
    """What all numbers of audio depend on."""
    import soundfile

    definition: dict[str, Any] = {
        "analysis_rate_hz": ANALYSIS_RATE_HZ,
        "max_seconds": max_seconds,
        "min_samples": MIN_SAMPLES,
        "libraries": {name: _version(name) for name in libraries} | {"libsndfile": soundfile.__libsndfile_version__},
    } | treatment.definition()
    if copy:
        definition["copy"] = {"number": copy, **augment.definition()}
    return definition


@cache
def _version(library: str) -> str:
    return version(library)
