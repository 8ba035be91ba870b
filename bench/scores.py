"""Search for the best experiment on the real sets, and write scores.md: what is reached, and whether a held-out part proves it.

Each case is searched twice: with all labelled clips, and with some groups held back (clips, where nothing ties them), which are
scored at the end. Searches that are done are kept in a folder, so that a stopped script resumes. Hours, not minutes.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
HELD_SHARE = 0.25  # of the groups: 20 of 82 speakers
HELD_SEED = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A search.

    Attributes
    ----------
    name : str, of its folder
    title : str, for people
    data : str, folder in ``EARMARK_TEST_DATA``
    aim : float, RMSE that a good search reaches
    group_by : str, column; empty where nothing ties clips together
    model : str, folder in ``EARMARK_TEST_MODELS``; empty for handcrafted features alone
    leave_out : tuple of str, columns that the search does not get
    """

    name: str
    title: str
    data: str
    aim: float
    group_by: str = ""
    model: str = ""
    leave_out: tuple[str, ...] = ()


CASES = (
    Case("speech-text", "speech-fluency by speaker, whisper-base and the text", "speech-fluency", 0.55, "speaker", "whisper-base"),
    Case(
        "speech-encoder",
        "speech-fluency by speaker, whisper-base, no text",
        "speech-fluency",
        0.62,
        "speaker",
        "whisper-base",
        ("text",),
    ),
    Case("speech", "speech-fluency by speaker, no encoder", "speech-fluency", 0.79, "speaker"),
    Case("piano", "piano-touch, random folds, no encoder", "piano-touch", 0.68, leave_out=("note", "midi")),
    Case("piano-note", "piano-touch by note, no encoder", "piano-touch", 1.18, "note"),
)


def main() -> None:
    """Run the cases that are named, or all, and write what is known of all."""
    parser = argparse.ArgumentParser(prog="python -m bench.scores", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(case.name for case in CASES)} (default: all)")
    parser.add_argument("--minutes", type=float, default=30.0, help="for the steps of a search")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "earmark-scores", help="folder of what is done")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "scores.md")
    options = parser.parse_args()
    wanted = options.cases or [case.name for case in CASES]
    for case in CASES:
        if case.name in wanted and not missing(case):
            for held in (False, True):
                search(case, held, options.minutes, options.keep)
    options.out.write_text("\n".join(report(options.keep)) + "\n", encoding="utf-8")
    print(f"wrote {options.out}", file=sys.stderr)


def missing(case: Case) -> str:
    """What of a case is not on this machine; empty where all is."""
    for variable, name in (("EARMARK_TEST_DATA", case.data), ("EARMARK_TEST_MODELS", case.model)):
        if name and not (Path(os.environ.get(variable, "")) / name).is_dir():
            return f"{variable} names no folder with {name}/"
    return ""


def search(case: Case, held: bool, minutes: float, keep: Path) -> None:
    """Search in a process of its own, which sees no model but that of the case; what is done is not done again."""
    folder = keep / (f"{case.name}-held" if held else case.name)
    if (folder / "result.json").is_file():
        return
    print(f"{case.title}{', some held back' if held else ''} ...", file=sys.stderr, flush=True)
    dataset = folder / "data"
    truth = write_part(case, dataset, held)
    nothing = keep / "no-models"
    nothing.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"EARMARK_MODELS": str(nothing), "HF_HOME": str(nothing), "MLFLOW_TRACKING_URI": "off"}
    command = [sys.executable, "-m", "core.cli", "auto", str(dataset), "--minutes", str(minutes), "--json"]
    command += ["--workspace", str(keep / "workspace")]
    command += ["--group-by", case.group_by] if case.group_by else []
    command += ["--model", str(Path(os.environ["EARMARK_TEST_MODELS"]) / case.model)] if case.model else []
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    run = keep / "workspace" / "jobs" / json.loads(done.stdout)["run_id"]
    result = {"run": json.loads((run / "run.json").read_text(encoding="utf-8"))}
    if truth:
        with (run / "test_predictions.csv").open(newline="", encoding="utf-8") as file:
            predicted = {row["filename"]: float(row["prediction"]) for row in csv.DictReader(file)}
        errors = np.array([predicted[name] - label for name, (label, _) in truth.items() if name in predicted])
        result["held"] = {"rmse": float(np.sqrt(np.mean(errors**2))), "clips": len(errors)}
        result["held"]["groups"] = len({group for _, group in truth.values()})
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def write_part(case: Case, folder: Path, held: bool) -> dict[str, tuple[float, str]]:
    """A copy of a set whose clips are links; the labels and groups of clips that are held back, by name."""
    source = Path(os.environ["EARMARK_TEST_DATA"]) / case.data
    tables = {split: list(csv.DictReader((source / "csvs" / f"{split}.csv").open(encoding="utf-8"))) for split in ("train", "test")}
    truth = {}
    if held:
        groups = [row[case.group_by] if case.group_by else row["filename"] for row in tables["train"]]
        names = sorted(set(groups))
        chosen = set(np.random.default_rng(HELD_SEED).permutation(names)[: round(HELD_SHARE * len(names))])
        apart = [row for row, group in zip(tables["train"], groups, strict=True) if group in chosen]
        truth = {row["filename"]: (float(row["label"]), row.get(case.group_by, row["filename"])) for row in apart}
        tables = {"train": [row for row in tables["train"] if row["filename"] not in truth], "test": apart}
    for split, rows in tables.items():
        (folder / "csvs").mkdir(parents=True, exist_ok=True)
        (folder / "audios" / split).mkdir(parents=True, exist_ok=True)
        hidden = {*case.leave_out, *(() if split == "train" else ("label",))}
        header = [name for name in rows[0] if name not in hidden]
        with (folder / "csvs" / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, header, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        for row in rows:
            (clip,) = (source / "audios").glob(f"*/{row['filename']}.*")
            link = folder / "audios" / split / clip.name
            if not link.exists():
                link.symlink_to(clip)
    return truth


def report(keep: Path) -> list[str]:
    """The lines of scores.md."""
    lines = [
        "# Scores",
        "",
        "`make scores` wrote this. Each line is `earmark auto` with 3 repeats of 5 folds; the figure is of folds that no step has",
        "used, with its 95 % interval. For the check, a quarter of the groups (clips, where nothing ties them) was held back",
        "before the search began, and scored once at its end; the figure beside it is that of the same search, on the rest.",
        "",
        "| case | aim | RMSE (95 %) | on the rest | held back | apart |",
        "|---|---|---|---|---|---|",
    ]
    ladders = []
    for case in CASES:
        whole, part = (read(keep / name / "result.json") for name in (case.name, f"{case.name}-held"))
        figures = score(whole["run"]) if whole else missing(case) or "not measured"
        row = f"| {case.title} | {case.aim} | {figures} |"
        if part:
            rest, rmse = part["run"]["scores"]["oof_rmse"], part["held"]["rmse"]
            row += (
                f" {rest:.3f} | {rmse:.3f} ({part['held']['clips']} clips of {part['held']['groups']}) | {rmse / rest - 1:+.0%} |"
            )
        else:
            row += " | | |"
        lines.append(row)
        ladders += ["", f"## {case.title}", "", *ladder(whole["run"])] if whole else []
    return [*lines, *ladders]


def read(path: Path) -> dict[str, Any] | None:
    """What a search left, or None."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def score(run: dict[str, Any]) -> str:
    """The RMSE of a run with its interval."""
    low, high = run["scores"]["confidence"]["ends"]["rmse"]
    return f"**{run['scores']['oof_rmse']:.3f}** ({low:.3f} to {high:.3f})"


def ladder(run: dict[str, Any]) -> Sequence[str]:
    """The steps of a search as a table; their figures are of the folds that they were chosen on."""
    rows = ["| step | RMSE | kept | minutes |", "|---|---|---|---|"]
    for step in run["ladder"]:
        rmse = "" if step["rmse"] is None else f"{step['rmse']:.3f}"
        kept = "yes" if step["kept"] else step["reason"] if step["skipped"] else "no"
        rows.append(f"| {step['title']} | {rmse} | {kept} | {step['seconds'] / 60:.1f} |")
    return rows


if __name__ == "__main__":
    main()
