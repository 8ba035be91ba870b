"""A member of an ensemble as text, ``MODEL[:SETS][:KEY=VALUE,...]``, and as an object: which model, on which feature sets, how set.

svr                              RBF-SVR; its feature sets are chosen inside each fold
svr:mfcc                         on the set mfcc
lightgbm:ultra,mfcc              on two sets together
catboost::seed=7                 another seed
svr:ultra,table:midi:C=10        a table's column as a feature, and a parameter of the model
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.ensemble.models import CATALOGUE
from core.ensemble.regressor import PRESETS, Parameters
from core.errors import ParameterError
from core.features import canonical
from core.features.sets import OF_TEXTS, TRANSCRIPT

_FORM = "expected MODEL[:SETS][:KEY=VALUE,...], such as svr, svr:mfcc or lightgbm:ultra,mfcc:seed=7"


@dataclass(frozen=True, slots=True)
class Member:
    """One regressor of an ensemble.

    Attributes
    ----------
    model : str, of the catalogue
    sets : tuple of str, feature sets; without any, they are chosen inside each fold
    preset : str or None, None takes the ensemble's
    seed : int or None, None takes the ensemble's
    parameters : tuple of (name, value), instead of those of the preset
    """

    model: str
    sets: tuple[str, ...] = ()
    preset: str | None = None
    seed: int | None = None
    parameters: tuple[tuple[str, int | float | str], ...] = ()

    @property
    def name(self) -> str:
        """The member as text; ``parse_member`` reads it back."""
        extra = [("preset", self.preset), ("seed", self.seed), *self.parameters]
        settings = ",".join(f"{key}={value}" for key, value in extra if value is not None)
        return ":".join([self.model, *([",".join(self.sets)] if self.sets or settings else []), *([settings] if settings else [])])

    def all_parameters(self, preset: str) -> Parameters:
        """Parameters of the model: the preset's, and over them the member's own."""
        return CATALOGUE[self.model].presets[self.preset or preset] | dict(self.parameters)


def parse_member(text: str) -> Member:
    """Read a member.

    Raises
    ------
    ParameterError
        The text has another form, or names what is not known.

    Examples
    --------
    >>> parse_member("lightgbm:ultra,mfcc:seed=7,num_leaves=15")
    Member(model='lightgbm', sets=('ultra', 'mfcc'), preset=None, seed=7, parameters=(('num_leaves', 15),))
    >>> parse_member("svr::C=10").name
    'svr::C=10'
    """
    model, _, rest = text.strip().partition(":")
    if model not in CATALOGUE:
        raise ParameterError(f"member {text!r}: model {model!r} not among {', '.join(CATALOGUE)}; {_FORM}")
    sets, _, settings = rest.rpartition(":") if "=" in rest else (rest, "", "")
    last = sets.rpartition(",")[2].strip()
    names_column = last.startswith(tuple(f"{kind}:" for kind in OF_TEXTS)) and settings.startswith("column=")
    if last == TRANSCRIPT or names_column:  # transcript:column=NAME and reading:MODEL:column=NAME are names of sets
        sets, settings = rest, ""
    names = tuple(canonical(part.strip()) for part in sets.split(",") if part.strip())
    if len(set(names)) < len(names):
        raise ParameterError(f"member {text!r} names a feature set twice")
    preset, seed, parameters = None, None, {}
    for part in filter(None, (part.strip() for part in settings.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise ParameterError(f"member {text!r}: {part!r} has no value; {_FORM}")
        if key == "preset":
            if value not in PRESETS:
                raise ParameterError(f"member {text!r}: preset={value!r} not among {', '.join(PRESETS)}")
            preset = value
        elif key == "seed":
            if not value.isdigit() or int(value) >= 2**31:
                raise ParameterError(f"member {text!r}: seed={value!r} must be a whole number from 0 to 2147483647")
            seed = int(value)
        else:
            parameters[key] = _value(text, model, key, value)
    return Member(model, names, preset, seed, tuple(parameters.items()))


def parse_members(texts: Sequence[str]) -> tuple[Member, ...]:
    """Read the members of an ensemble.

    Raises
    ------
    ParameterError
        There is none, one cannot be read, or two are equal.
    """
    members = tuple(parse_member(text) for text in texts)
    if not members:
        raise ParameterError(f"members: name at least one; {_FORM}")
    names = [member.name for member in members]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ParameterError(
            f"members: {', '.join(twice)} is named twice; give another seed or setting, such as {twice[0]}::seed=1"
        )
    return members


def file_stems(members: Sequence[Member]) -> dict[str, str]:
    """A file name for each member, by its name: plain characters, no two alike."""
    stems: dict[str, str] = {}
    for member in members:
        stem = re.sub(r"[^A-Za-z0-9_.@-]+", "_", member.name).strip("_")[:80]
        taken = {one.lower() for one in stems.values()}
        number = 2
        unique = stem
        while unique.lower() in taken:
            unique, number = f"{stem}_{number}", number + 1
        stems[member.name] = unique
    return stems


def _value(text: str, model: str, key: str, value: str) -> int | float | str:
    known = CATALOGUE[model].settable
    if key not in known:
        raise ParameterError(f"member {text!r}: {key!r} not among the settings of {model}: preset, seed, {', '.join(known)}")
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
