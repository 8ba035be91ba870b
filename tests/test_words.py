"""What users and maintainers read keeps to plain English: phrases that were once replaced do not return."""

import re
from functools import cache

import pytest

from tests.conftest import ROOT

# Each phrase as a pattern, with what stands in its place.
REPLACED = {
    r"was come by": "was computed",
    r"not to be heard": "audio unavailable",
    r"[Mm]end that": "fix that",
    r"(altered|varied) cop(y|ies)": "augmented copies",
    r"go(es)? on where it (stopped|was)": "resumes",
    r"(said|told) in words": "a readable message",
    r"a (length|label) that is none": "an invalid length; a label that is not a number",
    r"would have told": "report",
    r"inside their interval": "interval coverage",
    r"always (says|saying) the mean": "baseline (mean of the training labels)",
    r"constant predictor": "baseline",
    r"what each column does": "SHAP values by feature",
    r"[Nn]othing is cached of": "has no cached",
    r"bear(s)? company": "is not safe to run concurrently",
    r"has the last word": "sets the final status",
    r"[Gg]one without a (last )?word": "ended without reporting",
    r"\bsee(s|n)? off\b": "stop",
    r"[Ii]t got true": "the grouped score is the honest one",
    r"has never heard": "new clips",
    r"[Ww]hat was finished is kept": "finished work is kept",
    r"as earlier (fits|epochs) here took": "from earlier fits on this machine",
    r"scores? (will )?flatters?\b": "the score is too good",
    r"[Ll]ooking into the cache": "checking the cache",
    r"what the models say on average": "mean prediction of the models",
}
READ = ("app", "pages", "core", "bench", "docs", "tests", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")


OLD = (
    "how each figure was come by",
    "the clip is not to be heard: mend that, and run it again",
    "altered copies go on where it stopped",
    "a length that is none is told in words",
    "random folds would have told 0.99",
    "labels inside their interval",
    "constant predictor: always says the mean label",
    "what each column does to a prediction",
    "Nothing is cached of it",
    "does not bear company, has the last word, is seen off",
    "gone without a word",
    "It got true",
    "clips that it has never heard",
    "What was finished is kept",
    "as earlier fits here took",
    "the score will flatter, the score flatters",
    "Looking into the cache",
    "what the models say on average",
)


@cache
def lines() -> tuple[tuple[str, int, str], ...]:
    """Every line of text that people read, with its file and number."""
    files = [path for name in READ for path in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])]
    read = [path for path in sorted(files) if path.suffix in {".py", ".md", ""} and path.is_file() and path.name != "test_words.py"]
    return tuple(
        (str(path.relative_to(ROOT)), number, line)
        for path in read
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    )


@pytest.mark.parametrize("phrase", REPLACED)
def test_a_phrase_that_was_replaced_does_not_return(phrase):
    pattern = re.compile(phrase)
    found = [f"{path}:{number}: {line.strip()}" for path, number, line in lines() if pattern.search(line)]
    assert not found, f"say instead: {REPLACED[phrase]}"


@pytest.mark.parametrize("phrase", REPLACED)
def test_a_pattern_finds_the_phrase_that_it_is_for(phrase):
    assert any(re.search(phrase, old) for old in OLD)
