"""What the light parts must not load: starting costs are paid by those who need them."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = ("torch", "transformers", "shap", "librosa", "numba", "sklearn", "xgboost", "lightgbm", "catboost", "streamlit", "pandas")


@pytest.mark.parametrize(
    "module", ["core.cli.commands", "core.events", "core.jobs.queue", "core.worker", "core.workspace", "core.runs.store"]
)
def test_light_modules_load_no_heavy_library(module):
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_torch_and_torchaudio_load_together():
    pytest.importorskip("torch", reason="the deep extra is not installed")
    code = "import torch, torchaudio; print(torchaudio.functional.resample(torch.ones(1, 4), 2, 1).shape[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr
