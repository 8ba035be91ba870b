import pytest

from tests.tiny_models import KINDS, TEXT_KINDS, tiny_encoder, tiny_text_encoder, tiny_whisper


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Tiny models of every architecture, by name."""
    root = tmp_path_factory.mktemp("models")
    audio = {kind: tiny_encoder(kind, root / kind) for kind in KINDS} | {"whisper": tiny_whisper(root / "whisper")}
    return audio | {kind: tiny_text_encoder(kind, root / kind) for kind in TEXT_KINDS}
