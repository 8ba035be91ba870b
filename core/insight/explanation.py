"""What moves the predictions of a run, as it is kept with the run. Values are in the unit of the label."""

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from core.errors import RunError
from core.runs import Run
from core.workspace import write_whole

EXPLANATION = "explanation.npz"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """What moves the predictions of a run. Values are in the unit of the label.

    Attributes
    ----------
    filenames : tuple of str [n], clips that are explained
    columns : tuple of str [d], columns that vary; of columns with equal values one stands for all
    equal : dict of column to the others that hold the same values
    families : tuple of str [d]
    labels : np.ndarray [shape=(n,)]
    oof_prediction : np.ndarray [shape=(n,)], as the run says it, inside the range of the labels
    prediction : np.ndarray [shape=(n,)], of the blend before it is clipped: ``base + contributions.sum(axis=1)``
    base : np.ndarray [shape=(n,)]
    contributions : np.ndarray [shape=(n, d)], float32, means over the repeats
    values : np.ndarray [shape=(n, d)], float32, of the columns; NaN where undefined
    members : dict of member to np.ndarray [shape=(n, d)], float32, its own contributions
    permutation : np.ndarray [shape=(d,)], rise of the RMSE where a column is shuffled among the rows of each held-out fold of the
        first repeat; NaN for columns that were not shuffled
    permutation_std : np.ndarray [shape=(d,)], over the shuffles
    seconds : float
    """

    filenames: tuple[str, ...]
    columns: tuple[str, ...]
    equal: dict[str, tuple[str, ...]]
    families: tuple[str, ...]
    labels: np.ndarray
    oof_prediction: np.ndarray
    prediction: np.ndarray
    base: np.ndarray
    contributions: np.ndarray
    values: np.ndarray
    members: dict[str, np.ndarray]
    permutation: np.ndarray
    permutation_std: np.ndarray
    seconds: float

    @property
    def importance(self) -> np.ndarray:
        """Mean size of the contributions of each column [shape=(d,)]."""
        return np.abs(self.contributions).mean(axis=0)


def family_shares(explanation: Explanation) -> dict[str, float]:
    """Share of the total effect that each family of columns makes, the largest first."""
    importance = explanation.importance
    whole = float(importance.sum()) or 1.0
    shares = {
        family: float(sum(importance[column] for column, own in enumerate(explanation.families) if own == family)) / whole
        for family in dict.fromkeys(explanation.families)
    }
    return dict(sorted(shares.items(), key=lambda share: -share[1]))


def load_explanation(run: Run) -> Explanation | None:
    """The explanation that is kept with a run, or None where there is none yet.

    Raises
    ------
    RunError
        It is damaged, of another version, or of other models than the run has now.
    """
    path = run.folder / EXPLANATION
    again = f"explain the run again: earmark explain {run.id}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["version"] != VERSION or about["models"] != models_stamp(run):
                raise RunError(f"{path}: it is of another version or of other models; {again}")
            kept = {name: arrays[name] for name in arrays.files if name != "about"}
        members = {name: kept.pop(f"member_{number}") for number, name in enumerate(about["members"])}
        named: dict[str, Any] = {name: tuple(about[name]) for name in ("filenames", "columns", "families")}
        named["equal"] = {name: tuple(others) for name, others in about["equal"].items()}
        explanation = Explanation(**named, members=members, seconds=float(about["seconds"]), **kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({error}); {again}") from None
    shape = (len(explanation.filenames), len(explanation.columns))
    if any(array.shape != shape for array in (explanation.contributions, explanation.values, *members.values())):
        raise RunError(f"{path}: its tables do not fit together; {again}")
    return explanation


def save_explanation(run: Run, explanation: Explanation) -> None:
    """Keep an explanation with its run."""
    about: dict[str, object] = {
        name: getattr(explanation, name) for name in ("filenames", "columns", "families", "equal", "seconds")
    }
    about |= {"version": VERSION, "models": models_stamp(run), "members": list(explanation.members)}
    arrays = {part.name: getattr(explanation, part.name) for part in fields(Explanation) if part.name not in about}
    arrays |= {f"member_{number}": values for number, values in enumerate(explanation.members.values())}
    arrays["about"] = np.array(json.dumps(about))
    write_whole(run.folder / EXPLANATION, lambda file: np.savez_compressed(file, **arrays))


def models_stamp(run: Run) -> str:
    """Hash of the hashes of a run's models."""
    files = run.record.model_files
    return hashlib.blake2b(json.dumps(files, sort_keys=True).encode(), digest_size=16).hexdigest()
