"""A text and what a recogniser makes of the clip in, errors out. Both are normalised before, as ``normalise`` does."""

import json
from collections.abc import Mapping
from pathlib import Path

from core.encoders.words import repetitions, separate_unspaced

ENGLISH = "en"
SPELLINGS = "normalizer.json"  # British to American, beside the tokenizer of a Whisper; some folders lack it

# Name, unit and definition of each column; jiwer aligns with the fewest errors.
COLUMNS = (
    ("word_error_rate", "1", "words that are replaced, left out or put in, over the words of the text"),
    ("substitutions_per_word", "1", "words of the text that are replaced, over its words"),
    ("insertions_per_word", "1", "words that are put in, over the words of the text"),
    ("deletions_per_word", "1", "words of the text that are left out, over its words"),
    (
        "character_error_rate",
        "1",
        "characters that are replaced, left out or put in, over the characters of the text, blanks included",
    ),
    ("n_repetitions", "1", "words, or two in a row, recognised again at once, less those that the text repeats; not below 0"),
    ("share_reached", "1", "share of the words of the text up to the last one that is recognised as it is written"),
)


def read_spellings(folder: Path) -> dict[str, str]:
    """American spelling by British spelling, as a checkpoint brings it; empty where it does not.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is not JSON.
    """
    path = folder / SPELLINGS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def normalise(text: str, *, language: str, spellings: Mapping[str, str]) -> str:
    """A text as Whisper's own scores normalise it (Radford et al. 2022, appendix C): words between single blanks.

    English has its contractions written out, numbers as digits, and fillers left out; other languages lose marks and capitals. In
    scripts that write no blanks each character is a word.

    Parameters
    ----------
    text : str
    language : str, code
    spellings : as ``read_spellings`` gives them

    Examples
    --------
    >>> normalise("Well, I'm twenty-one!", language="en", spellings={}), normalise("\u00c7a va?", language="fr", spellings={})
    ('well i am 21', '\u00e7a va')
    """
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    plain = EnglishTextNormalizer(dict(spellings)) if language == ENGLISH else BasicTextNormalizer()
    return " ".join(separate_unspaced(plain(text)).split())


def compare_texts(text: str, recognised: str) -> list[float]:
    """The columns of two normalised texts.

    Parameters
    ----------
    text : str, that should be said
    recognised : str

    Returns
    -------
    values : list of float, as ``COLUMNS`` names them; NaN where the text has no word

    Examples
    --------
    >>> compare_texts("the cat sat down", "the cat cat sat")
    [0.5, 0.0, 0.25, 0.25, 0.3125, 1.0, 0.75]
    """
    import jiwer

    said = text.split()
    if not said:
        return [float("nan")] * len(COLUMNS)
    words = jiwer.process_words(text, recognised)
    equal = [chunk.ref_end_idx for chunk in words.alignments[0] if chunk.type == "equal"]
    again = repetitions(recognised.split()) - repetitions(said)
    return [
        words.wer,
        words.substitutions / len(said),
        words.insertions / len(said),
        words.deletions / len(said),
        jiwer.cer(text, recognised),
        float(max(0, again)),
        max(equal, default=0) / len(said),
    ]
