"""``earmark ...``: what a user types in, what the library finds out. Results go to standard output, progress to standard error.

Exit codes: 0 done, 1 something could not be done (with a readable message), 2 the command line itself is wrong, 130 stopped with
Ctrl-C.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from core import jobs
from core.cli.arguments import Argument, Command, make_parser, split_names
from core.errors import EarmarkError
from core.jobs.runner import Cancelled

_RUN = Argument("run", metavar="RUN", help="id of a run, latest, best, or a run's folder")
_SETTINGS = Argument("--settings", metavar="FILE", help="settings as JSON, or the run.json of a run; flags override it")
_WORKSPACE = Argument("--workspace", metavar="DIR", help="where results are kept (default: $EARMARK_WORKSPACE or ./workspace)")
_RANKED_BY = Argument(
    "--metric", metavar="NAME", help="score that runs are ranked by: rmse, mae, ccc, spearman (default: of the newest run)"
)
_JSON = Argument("--json", action="store_true", help="print one JSON object")
_JSON_LINE = Argument("--json", action="store_true", help="print one JSON object as the last line")
_JSON_CLIPS = Argument("--json", action="store_true", help="print one JSON object a clip")
_TTA = Argument("--tta", type=int, metavar="K", help="augmented copies of each clip, averaged (default: as the run was trained)")
_DATASET: tuple[Argument | str, ...] = (
    Argument("dataset", metavar="DATASET", help="folder of a data set in any layout that is recognised, or a table with its clips"),
    "layout",
    _SETTINGS,
)
_TREATMENT = ("extract.channel", "extract.slow_down")
_TRAIN: tuple[Argument | str, ...] = (
    *_DATASET,
    "extract",
    "ensemble",
    Argument("--models", type=split_names, metavar="NAMES", help="short for a --member each (default: all)"),
    _WORKSPACE,
    _JSON_LINE,
)
COMMANDS = {
    "check": Command(
        "datasets:check",
        "report on a data set: counts, labels, and every problem with its clips",
        (*_DATASET, *_TREATMENT, "extract.workers", _WORKSPACE, _JSON),
    ),
    "features": Command(
        "datasets:features",
        "print the features of clips",
        (
            Argument("clips", nargs="+", metavar="CLIP"),
            Argument(
                "--set", default="ultra", metavar="SET", help="any feature set, such as mfcc or torch200 (default: %(default)s)"
            ),
            "extract.max_seconds",
            "extract.encoder_window",
            *_TREATMENT,
            _JSON_CLIPS,
        ),
    ),
    "extract": Command(
        "datasets:extract",
        "extract the features of a data set once, and export them as .npz",
        (*_DATASET, "extract", _WORKSPACE),
    ),
    "train": Command("training:train", "train a cross-validated ensemble and write the submission", _TRAIN),
    "auto": Command(
        "training:auto",
        "find the best experiment: what helps is kept, and the figure at the end is of folds that no step has used",
        (
            *_DATASET,
            "auto",
            *(f"extract.{name}" for name in ("max_seconds", "channel", "slow_down", "encoder_window", "device", "batch")),
            Argument("--yes", action="store_true", help="fetch models that could be fetched without asking"),
            _WORKSPACE,
            _JSON_LINE,
        ),
    ),
    "finetune": Command(
        "training:finetune",
        "train an audio and a text encoder together, with adapters, and write the submission",
        (*_DATASET, "finetune", "extract.max_seconds", *_TREATMENT, "extract.workers", _WORKSPACE, _JSON_LINE),
    ),
    "blend": Command(
        "training:blend",
        "average finished runs on the same clips and folds, such as an ensemble and a fine-tuned one",
        (
            Argument("runs", nargs="+", metavar="RUN", help=f"{_RUN.options['help']}; two or more of one workspace"),
            _WORKSPACE,
            _JSON_LINE,
        ),
    ),
    "tune": Command("training:tune", "train with settings that each member finds for itself, inside each fold", _TRAIN),
    "predict": Command(
        "results:predict",
        "score clips with a finished run",
        (
            _RUN,
            Argument("clips", nargs="*", metavar="CLIP"),
            Argument(
                "--table",
                metavar="PATH",
                help="folder of clips or of a data set, or a table that names clips, with or without labels",
            ),
            Argument(
                "--column",
                action="append",
                metavar="NAME=VALUE",
                help="value of a table column for clips given without a table, such as device=phone; may be repeated",
            ),
            "layout",
            _TTA,
            _WORKSPACE,
            _JSON_CLIPS,
        ),
    ),
    "evaluate": Command(
        "results:evaluate",
        "score a finished run on a labelled data set that it was not trained on",
        (_RUN, *_DATASET, _TTA, _WORKSPACE, _JSON),
    ),
    "explain": Command(
        "results:explain",
        "show which features move the predictions of a finished run, and by how much",
        (
            _RUN,
            Argument("clips", nargs="*", metavar="CLIP", help="clips of the training table to be explained one by one"),
            _WORKSPACE,
            _JSON,
        ),
    ),
    "curve": Command(
        "results:curve",
        "tell whether more clips would help: the error of a finished run with fewer clips and with twice as many",
        (
            _RUN,
            Argument("--repeats", type=int, metavar="N", help="draws of each size, 2 to 20 (default: 3)"),
            _WORKSPACE,
            _JSON,
        ),
    ),
    "layers": Command(
        "training:layers",
        "score each layer of an encoder by itself, and propose a band of them",
        (
            *_DATASET,
            Argument("--encoder", metavar="SET", required=True, help="wav2vec2, hubert, wavlm or encoder:MODEL"),
            Argument("--heads", type=split_names, metavar="NAMES", help="models that score a layer (default: ridge,svr,lightgbm)"),
            *(f"ensemble.{name}" for name in ("group_by", "folds", "repeats", "seed")),
            *(f"extract.{name}" for name in ("max_seconds", "channel", "slow_down", "encoder_window", "device", "workers")),
            _WORKSPACE,
            _JSON,
        ),
    ),
    "runs": Command("results:runs", "list the finished runs", (_RANKED_BY, _WORKSPACE, _JSON)),
    "compare": Command(
        "results:compare",
        "compare two runs on the same clips and folds: better, worse, or cannot tell",
        (Argument("before", metavar="RUN"), Argument("after", metavar="RUN"), _WORKSPACE, _JSON),
    ),
    "cache": Command("", "look after the stored features"),
    "cache info": Command("upkeep:cache_info", "what is stored, by feature set", (_WORKSPACE,)),
    "cache verify": Command("upkeep:cache_verify", "check every stored vector against its checksum", (_WORKSPACE,)),
    "cache prune": Command(
        "upkeep:cache_prune",
        "remove what is damaged or of an earlier definition, and segments of recordings that are gone or were changed",
        (
            _WORKSPACE,
            Argument(
                "--frames",
                action="store_true",
                help="also remove the encoded audio for fine-tuning; it is computed again when needed",
            ),
        ),
    ),
    "config": Command("", "look at the settings"),
    "config schema": Command("upkeep:config_schema", "print the JSON schema of a settings file, for editors"),
    "doctor": Command("upkeep:doctor", "examine versions, device, disk and workspace", (_WORKSPACE, _JSON)),
    "app": Command(
        "upkeep:app",
        "open the workbench in the browser",
        (
            _WORKSPACE,
            Argument("--port", type=int, metavar="N", help="port on this machine (default: 8501, or the next free one)"),
        ),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    if sys.stdout is None or sys.stderr is None:  # closed by the caller
        nowhere = open(os.devnull, "w")  # noqa: SIM115  open as long as the process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name need not be text: what is not, is shown escaped
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = make_parser(COMMANDS, words).parse_args(words)
    module, _, name = options.command.partition(":")
    try:
        code: int = getattr(import_module(f"core.cli.{module}"), name)(options)
        sys.stdout.flush()
        return code
    except EarmarkError as error:
        print(f"earmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nearmark: stopped; finished work is kept; the same command resumes it", file=sys.stderr)
        return 130
    except Cancelled:
        print("earmark: cancelled; finished work is kept; the same command resumes it", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"earmark: {jobs.os_error_message(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
