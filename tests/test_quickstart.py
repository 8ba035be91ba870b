import os
import subprocess
import sys

import numpy as np
import pytest

from core.errors import DataError, ParameterError
from core.quickstart import EfficientAudioFeatureExtractor, combine_features, train_ensemble
from tests.conftest import ROOT, write_dataset

README_SCRIPT = """
from core.quickstart import (EfficientAudioFeatureExtractor, combine_features, ensemble_predict,
                             extract_gpu_features, extract_ultra_advanced_features, train_ensemble)
extractor = EfficientAudioFeatureExtractor()
train_features = extractor.extract_all(train_audio_files)     # float32 [n, 289]
test_features = extractor.extract_all(test_audio_files)
models = train_ensemble(train_features, train_labels)
predictions = ensemble_predict(models, test_features)
features = extract_ultra_advanced_features(audio_path)        # 160
gpu_features = extract_gpu_features(audio_path)               # 200, on a GPU where there is one
combined = combine_features(mfcc_features, ultra_features, metadata_features)   # 120 + 160 + 9 = 289
"""


@pytest.mark.slow
def test_the_quick_start_of_the_readme_works_in_a_plain_script(tmp_path, piano):
    assert README_SCRIPT.strip() in (ROOT / "README.md").read_text()
    before = f"""
import csv, pathlib
import numpy as np
root = pathlib.Path({str(piano)!r})
rows = list(csv.DictReader(open(root / "csvs/train.csv")))[:12]
train_audio_files = [root / "audios/train" / (row["filename"] + ".flac") for row in rows]
train_labels = [float(row["label"]) for row in rows]
test_audio_files = sorted((root / "audios/test").iterdir())[:3]
audio_path = test_audio_files[0]
mfcc_features, ultra_features, metadata_features = np.zeros(120), np.zeros(160), np.zeros(9)
"""
    after = """
assert train_features.shape == (12, 289) and train_features.dtype == np.float32
assert predictions.shape == (3,) and np.isfinite(predictions).all()
assert features.shape == (160,) and combined.shape == (289,)
assert np.array_equal(features, test_features[0, 120:280], equal_nan=True)
assert models.scores_["oof_rmse"] > 0
print("done")
"""
    script = tmp_path / "script.py"
    script.write_text(before + README_SCRIPT + after)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EARMARK_WORKSPACE": str(tmp_path / "workspace")}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=400, check=False
    )
    assert done.stdout == "done\n", done.stderr


def test_unreadable_clips_are_all_named(tmp_path, piano):
    (tmp_path / "bad.wav").write_bytes(b"")
    good = next((piano / "audios/test").iterdir())
    extractor = EfficientAudioFeatureExtractor(tmp_path / "workspace", workers=0)
    with pytest.raises(
        DataError, match=r"2 of 3 clips cannot be read, leave them out: bad\.wav: .*empty.*; nowhere\.wav: no such file"
    ):
        extractor.extract_all([tmp_path / "bad.wav", good, tmp_path / "nowhere.wav"])
    assert extractor.extract_all([]).shape == (0, 289)
    assert len(extractor.feature_names) == 289


def test_sets_are_combined_in_their_order():
    parts = [np.full((2, width), value) for width, value in ((120, 1), (160, 2), (9, 3))]
    combined = combine_features(*parts)
    assert combined.shape == (2, 289)
    assert combined.dtype == np.float32
    assert combined[0, [0, 119, 120, 279, 280, 288]].tolist() == [1, 1, 2, 2, 3, 3]
    with pytest.raises(ParameterError, match=r"widths \[120, 160, 9\]"):
        combine_features(parts[1], parts[0], parts[2])
    with pytest.raises(ParameterError, match="equal lengths"):
        combine_features(parts[0], parts[1], parts[2][:1])


def test_shapes_that_do_not_fit_are_refused(rng):
    with pytest.raises(DataError, match="expected X"):
        train_ensemble(np.zeros((3, 2)), [1.0])
    with pytest.raises(DataError, match="must be finite"):
        train_ensemble(np.zeros((2, 2)), [1.0, np.nan])


def test_a_multimodal_model_comes_with_its_error_and_its_predictions(tmp_path):
    pytest.importorskip("torch")
    from core.multimodal.config import FinetuneSettings
    from core.quickstart import train_multimodal_model
    from tests.tiny_models import tiny_encoder, tiny_text_encoder

    models = {
        "audio_model": str(tiny_encoder("hubert", tmp_path / "a")),
        "text_model": str(tiny_text_encoder("bert", tmp_path / "t")),
    }
    settings = FinetuneSettings(**models, folds=2, epochs=1)
    model, best_rmse, predictions = train_multimodal_model(
        dataset=write_dataset(tmp_path / "loudness", 8, test=3), settings=settings, workspace=tmp_path / "ws"
    )
    assert best_rmse == model.scores.oof_rmse > 0
    assert predictions.shape == (3,)
    assert ((predictions >= 1) & (predictions <= 6)).all()
