"""The command line, run in the process of the test."""

import pytest

from core.cli.commands import main


@pytest.fixture
def earmark(tmp_path, monkeypatch, capsys):
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("EARMARK_WORKSPACE", str(tmp_path / "workspace"))

    def earmark(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, printed.out, printed.err

    return earmark
