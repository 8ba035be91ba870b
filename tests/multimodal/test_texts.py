import pytest

from core.data.dataset import read_dataset
from core.encoders.words import text_of, words_from_json
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.extract import extract_clips, stored_texts
from core.multimodal.config import FinetuneSettings
from core.multimodal.texts import features_for, read_texts
from core.workspace import Workspace
from tests.conftest import write_clip
from tests.tiny_models import tiny_recogniser, voice

pytest.importorskip("torch")


def test_a_recogniser_of_a_fine_tuning_is_told_its_language():
    settings = FinetuneSettings(text="whisper=some/whisper@German")
    assert settings.text == "whisper=some/whisper@de"
    assert settings.recogniser == "some/whisper"
    assert settings.transcript == "transcript:whisper=some/whisper@de"
    assert features_for(settings, ExtractSettings()).features[-1] == settings.transcript
    assert FinetuneSettings(text="whisper=some/whisper").transcript == "transcript:whisper=some/whisper"
    assert FinetuneSettings(text="column=said").transcript is None
    with pytest.raises(ParameterError, match="Whisper knows no language 'xx'"):
        FinetuneSettings(text="whisper=some/whisper@xx")


def test_texts_are_those_of_the_set_that_the_settings_name(make_dataset, tmp_path):
    settings = FinetuneSettings(text=f"whisper={tiny_recogniser(tmp_path / 'whisper')}@en")
    workspace = Workspace(tmp_path / "w")
    rows = read_dataset(make_dataset(3, test=0)).train
    for seed, row in enumerate(rows):
        write_clip(row.path, voice(3.0, seed=seed), sr=16000)
    extract = ExtractSettings(features=(settings.transcript, "metadata"), workers=0)  # wherever it stands among the sets
    paths = [row.path for row in rows]
    extraction = extract_clips(paths, extract, cache_path=workspace.cache)
    texts = read_texts(rows, settings, extract, extraction, workspace)
    stored = stored_texts(paths, settings.transcript, extract, extraction, cache_path=workspace.cache)
    assert texts == [text_of(words_from_json(stored[path])) for path in paths]
    assert any(texts)
