import importlib.metadata
import json
from dataclasses import replace

import pytest
import soundfile

from core.data import augment
from core.data.treatment import Treatment
from core.encoders import source
from core.extraction import definitions
from core.extraction.config import FEATURE_SETS
from core.features import named_sets
from core.multimodal import frames
from core.runtime.cache import Stored
from core.runtime.device import CPU
from core.runtime.weights import find

BF16 = replace(CPU, precision="bf16")
ENCODER = {
    "model_type": "wav2vec2",
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "conv_dim": [8, 8],
}
WHISPER = {"model_type": "whisper", "encoder_layers": 2, "d_model": 16}
CTC = ENCODER | {"architectures": ["Wav2Vec2ForCTC"]}

# What existing caches were written with, where every library is of version 1.2.3: set, precision, copy.
OF_SETS = {
    ("ultra", "fp32", 0): "d3f96acfb2292b90aa6b44315e94db13",
    ("mfcc", "fp32", 0): "02ebcd7fc2462e6231a82ad168f75641",
    ("metadata", "fp32", 0): "9dd1350a83193500ed0bb434a641c6a0",
    ("ultra@5s", "fp32", 0): "ecbc0c67096ef99b538e8e3d33a12db8",
    ("mfcc@2.5s", "fp32", 0): "f9091902eb3adc675b082c3212b2a17d",
    ("table:age", "fp32", 0): "211fd9429238c56e97eab4ded7ba3b93",
    ("transcript:describe", "fp32", 0): "9134165c9d77f0cebf4bbad5b95c0d86",
    ("transcript:column=text", "fp32", 0): "9dd1350a83193500ed0bb434a641c6a0",
    ("torch200", "fp32", 0): "926f183c0b478e9f6ea36ff65351ded9",
    ("voice256", "fp32", 0): "91ab884e09c59c59c7619cb9bcd7d2fa",
    ("ultra", "fp32", 2): "e545479f12cf23598f23f1a3266d6dc8",
    ("torch200", "bf16", 1): "8db82375ea98bd6a7731e96776f85986",
    ("encoder:{encoder}", "fp32", 0): "2d275542265e9d50966b329504b0353d",
    ("encoder:{encoder}@L1-2", "bf16", 0): "b6a6c8d9b28f03c6cca9c08991a089b4",
    ("reading:{whisper}", "fp32", 0): "bf69d245a60f264cf2c1d8dafc8f6b74",
    ("reading:{whisper}:column=text", "bf16", 0): "16e3e044e9c4df0dcf60baf8369cfbf4",
    ("recognition:{whisper}", "fp32", 0): "2761a7019051f08f5383113b94e88495",
    ("recognition:{whisper}@en:column=text", "bf16", 0): "26e3717028a5886627b7518844761c95",
    ("pronunciation:{ctc}", "fp32", 0): "642f926e0f38b666b7e359ae95babb25",
    ("pronunciation:{ctc}:column=text", "bf16", 0): "a54d7db2f821b0e3057d3d353803f758",
    ("transcript:whisper={whisper}", "fp32", 0): "769b82ec2994fd559fb63aa870de6379",
    ("transcript:whisper={whisper}", "bf16", 0): "d4c50338b7f8f7188bf3d8b9ca834af4",
}
OF_WHISPER = {  # window, precision
    ("30", "fp32"): "c05b2ed479beecb509b0762170609c83",
    ("30", "bf16"): "89652255bc2fdeba9939153f0d3f9445",
    ("clip", "fp32"): "cdd884f9b556fa1aebccae5be27806f5",
}
OF_FRAMES = {  # model, precision, layer, encoded
    ("encoder", "fp32", None, True): "79f4e3ac5b2459de9703d475683ce252",
    ("encoder", "bf16", 1, True): "e08a90c5dec9afab93020c70b5352680",
    ("encoder", "bf16", None, False): "406470b0a319b228ea6859e9b52d7bd3",
    ("whisper", "fp32", None, True): "c38e9cbe5f7a7883c0547fa2b7572dec",
    ("whisper", "bf16", 1, True): "b9051d6ce7cf0eb45850b8474ddd2230",
    ("whisper", "bf16", None, False): "87fa3521791a3cdeee6ba555a1c04289",
}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Folders that look like models; and libraries that stay at one version."""
    for module in (augment, definitions, source):
        monkeypatch.setattr(module, "version", lambda name: "1.2.3")
    monkeypatch.setattr(soundfile, "__libsndfile_version__", "1.2.3")
    definitions._version.cache_clear()
    folders = {}
    kinds = (("encoder", ENCODER, {"do_normalize": True}), ("whisper", WHISPER, {}), ("ctc", CTC, {"do_normalize": True}))
    for name, config, preprocessor in kinds:
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "config.json").write_text(json.dumps(config))
        (folders[name] / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        (folders[name] / "model.safetensors").write_bytes(b"weights")
    (folders["ctc"] / "vocab.json").write_text('{"A": 1}')
    yield folders
    definitions._version.cache_clear()


def test_definitions_are_those_that_existing_caches_were_written_with(models):
    for (name, precision, copy), expected in OF_SETS.items():
        device = BF16 if precision == "bf16" else CPU
        assert definitions.definition_hash(name.format(**models), 45.0, copy, device=device).hex() == expected, name
    for (window, precision), expected in OF_WHISPER.items():
        device = BF16 if precision == "bf16" else CPU
        made = definitions.definition_hash(f"encoder:{models['whisper']}", 45.0, device=device, encoder_window=window)
        assert made.hex() == expected, (window, precision)
    for (model, precision, layer, encode), expected in OF_FRAMES.items():
        device = BF16 if precision == "bf16" else CPU
        checkpoint = find(str(models[model]))
        made = frames.definition_hash(checkpoint, device=device, layer=layer, encode=encode, max_seconds=45.0)
        assert made.hex() == expected, (model, layer, encode)


def test_every_default_set_has_a_definition_that_is_pinned():
    pinned = {name for name, _, _ in OF_SETS}
    assert set(FEATURE_SETS) <= pinned
    assert set(named_sets()) - {"wav2vec2", "hubert", "wavlm"} <= pinned  # these as encoder:FOLDER


def test_a_language_is_part_of_the_definition_of_a_transcript(models):
    name = f"transcript:whisper={models['whisper']}"
    hashes = {definitions.definition_hash(name + language, 45.0) for language in ("", "@en", "@de")}
    assert len(hashes) == 3


def test_versions_of_installed_libraries_count():
    assert definitions.decoding(45.0)["libraries"]["soxr"] == importlib.metadata.version("soxr")


def test_a_clip_taken_as_it_is_keeps_its_definition_and_a_channel_or_a_speed_makes_another(models):
    for name in ("ultra", "mfcc@5s", "torch200", f"encoder:{models['encoder']}"):
        plain = definitions.definition_hash(name, 45.0)
        assert definitions.definition_hash(name, 45.0, treatment=Treatment("mix", 1.0)) == plain
        treatments = Treatment("left"), Treatment("loudest"), Treatment(slow_down=10), Treatment("left", 10)
        assert len({plain} | {definitions.definition_hash(name, 45.0, treatment=one) for one in treatments}) == 5, name
    table = definitions.definition_hash("table:age", 45.0)
    assert definitions.definition_hash("table:age", 45.0, treatment=Treatment("left", 10)) == table


@pytest.mark.parametrize("treatment", [Treatment(), Treatment("3"), Treatment(slow_down=1 / 0.3), Treatment("loudest", 10)])
@pytest.mark.parametrize("copy", [0, 2])
def test_vectors_are_in_use_under_the_name_that_is_noted_with_them(treatment, copy):
    noted = definitions.stored_name("mfcc@5s", copy, treatment)
    definition = definitions.definition_hash("mfcc@5s", 45.0, copy, treatment=treatment)
    assert definitions.is_current(Stored(definition, noted, 45.0, 1, 1))
    assert not definitions.is_current(Stored(definition, definitions.stored_name("mfcc@5s", copy, Treatment("4")), 45.0, 1, 1))


def test_names_that_no_version_notes_are_of_no_use():
    for name in ("mfcc, copy x", "mfcc, channel", "mfcc, slowed down e times", "of another version", ""):
        assert not definitions.is_current(Stored(definitions.definition_hash("mfcc", 45.0), name, 45.0, 1, 1)), name
