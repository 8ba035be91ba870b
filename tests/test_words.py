"""What users and maintainers read keeps to plain English: phrases that were once replaced do not return."""

import re
from collections.abc import Iterator

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


def lines() -> Iterator[tuple[str, int, str]]:
    """Every line of text that people read, with its file and number."""
    for name in READ:
        files = sorted((ROOT / name).rglob("*")) if (ROOT / name).is_dir() else [ROOT / name]
        for path in files:
            if path.suffix in {".py", ".md", ""} and path.is_file() and path.name != "test_words.py":
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                    yield str(path.relative_to(ROOT)), number, line


@pytest.mark.parametrize("phrase", REPLACED)
def test_a_phrase_that_was_replaced_does_not_return(phrase: str) -> None:
    pattern = re.compile(phrase)
    found = [f"{path}:{number}: {line.strip()}" for path, number, line in lines() if pattern.search(line)]
    assert not found, f"say instead: {REPLACED[phrase]}"


def test_every_pattern_finds_the_phrase_that_it_is_for() -> None:
    old = (
        "the clip is not to be heard: mend that; altered copies go on where it stopped, told in words, labels inside their interval"
    )
    assert sum(bool(re.search(phrase, old)) for phrase in REPLACED) == 6
