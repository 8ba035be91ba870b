"""An encoder and labelled clips in, the score of each of its layers and a band of good ones out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from core.data.dataset import Dataset
from core.encoders import batches
from core.errors import ParameterError
from core.events import Notify, ignore
from core.extraction.config import ExtractSettings
from core.extraction.extract import extract_clips
from core.extraction.matrix import build_matrix
from core.features import parse_set
from core.grouping.ties import tie_rows
from core.insight.layers import LayerScores, LayerSettings, best_neighbours, propose_band, score_layers
from core.runtime.weights import encoder_shape, find
from core.scoring.folds import FoldSettings
from core.settings import build
from core.tasks.kinds import DatasetRequest, JobKind, Result
from core.tasks.prepare import check_labels
from core.workspace import Workspace

_OPTIONS = ("heads", "folds", "repeats", "seed")
_QUICK_HEADS = ("ridge", "svr")


def look_at_layers(
    dataset: Dataset, settings: ExtractSettings, request: Mapping[str, Any], workspace: Workspace, *, notify: Notify = ignore
) -> dict[str, Any]:
    """Score every layer of an encoder on the labelled clips, and propose a band of them.

    Parameters
    ----------
    dataset : Dataset
    settings : ExtractSettings, whose one set is that of the encoder
    request : dict with any of ``groups`` (a column, auto, or None), ``folds``, ``repeats``, ``seed``, ``heads``
    workspace : Workspace
    notify : told of the progress

    Returns
    -------
    result : dict with ``scores`` as ``LayerScores.to_record``, ``band`` (first, last, reason) and ``set``, which is the feature set
        of that band, or None

    Raises
    ------
    ParameterError
        The set is not that of an encoder.
    DataError
        The labels do not suffice.
    """
    [name] = settings.features
    encoder = parse_set(name)
    if not encoder.has_layers:
        raise ParameterError(f"{name!r} is no encoder; name wav2vec2, hubert, wavlm or encoder:MODEL")
    check_labels(dataset)
    batches.check_installed(settings.on_device)
    layers, _ = encoder_shape(find(encoder.model))
    sets = tuple(f"{encoder.stored}@L{layer}" for layer in range(layers))
    settings = settings.replace(features=sets)
    paths = [row.path for row in dataset.train]
    extraction = extract_clips(paths, settings, cache_path=workspace.cache, fingerprints=True, notify=notify)
    matrix = build_matrix(dataset.train, extraction, sets)
    rows = [row for row in dataset.train if row.path in extraction.vectors]
    first = replace(matrix, X=matrix.X[:, : matrix.X.shape[1] // layers])
    ties = tie_rows(rows, first, extraction, request.get("groups"))
    scores = score_layers(
        matrix.X.reshape(len(rows), layers, -1),
        matrix.y,
        ties.groups,
        encoder=encoder.stored,
        settings=LayerSettings(**{option: request[option] for option in _OPTIONS if request.get(option) is not None}),
        grouped_by=ties.chosen,
        workers=settings.workers,
        notify=notify,
    )
    band = propose_band(scores)
    proposed = None if band.first is None else encoder.stored + band.suffix()
    return {"scores": scores.to_record(), "band": band, "set": proposed}


def encoders_of(sets: Sequence[str]) -> tuple[str, ...]:
    """The sets that hold layers of an encoder side by side."""
    return tuple(name for name in sets if parse_set(name).side_by_side)


def other_layers(
    dataset: Dataset, settings: ExtractSettings, name: str, folds: FoldSettings, workspace: Workspace, *, notify: Notify = ignore
) -> tuple[str, int]:
    """The set with as many neighbouring layers of an encoder, those that score best by themselves in the first draw of the folds.

    Parameters
    ----------
    dataset : Dataset
    settings : ExtractSettings
    name : str, a set with layers side by side
    folds : FoldSettings
    workspace : Workspace, in whose cache all layers of the encoder stand already
    notify : told of the progress

    Returns
    -------
    name : str, of the set
    choices : int, sets that it was picked from
    """
    encoder = parse_set(name)
    request = {"groups": folds.group_by, "folds": folds.folds, "seed": folds.seed, "heads": _QUICK_HEADS}
    alone = settings.replace(features=(encoder.stored,))
    scores = LayerScores.from_record(look_at_layers(dataset, alone, request, workspace, notify=notify)["scores"])
    count, layers = len(encoder.side_by_side), len(scores.oof_rmse)
    best = "+".join(map(str, best_neighbours(scores, count)))
    return f"{encoder.stored}@L{best}", layers - count + 1


class LayersRequest(DatasetRequest):
    """A data set, the encoder, and what is asked of ``look_at_layers``."""

    encoder: str
    extract: dict[str, Any] = Field(default_factory=dict)
    heads: list[str] | None = None
    groups: str | None = None
    folds: int | None = None
    repeats: int | None = None
    seed: int | None = None


class LayersResult(Result):
    """Scores of the layers, the band that is proposed, and its feature set."""

    scores: dict[str, Any]
    band: dict[str, Any]
    set: str | None


def run(request: LayersRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Look at the layers of the encoder that a job names."""
    extract = build(ExtractSettings, request.extract | {"features": [request.encoder]})
    return look_at_layers(request.read_dataset(workspace), extract, request.model_dump(), workspace, notify=notify)


JOB = JobKind(
    "layers",
    LayersRequest,
    LayersResult,
    run,
    verb="Scoring the layers",
    noun="Layers of an encoder",
    page="explain",
)
