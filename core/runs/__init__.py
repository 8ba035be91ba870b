"""A finished run on disk. Names of ``core.runs.store`` can be imported from here; it is loaded when one is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.runs.store import (
        ABOUT as ABOUT,
        MATRIX as MATRIX,
        OOF as OOF,
        RECORD as RECORD,
        Run as Run,
        best_run as best_run,
        blends_of as blends_of,
        check_about as check_about,
        delete_run as delete_run,
        describe_run as describe_run,
        find_run as find_run,
        library_versions as library_versions,
        list_runs as list_runs,
        model_hashes as model_hashes,
        ranked as ranked,
        ranked_with as ranked_with,
        ranking_metric as ranking_metric,
        read_run as read_run,
        size_bytes as size_bytes,
        unreadable_runs as unreadable_runs,
        write_record as write_record,
    )


def __getattr__(name: str) -> Any:
    return getattr(import_module("core.runs.store"), name)
