"""Base of the settings: each field says its range, help, choices, flag and label once, and everything else is made from that.

A setting is declared as ``name: Annotated[type, Field(ge=..., title=..., description=...), Choices(...), Flag(...)] = default``.
The first sentence of a description is the help of the flag, all of it the help of the form; ``title`` is the label of the form.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import annotated_types
import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from core.errors import ParameterError
from core.renamed import rename_section

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    tuple: "a list of names",
}


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that a setting may have.

    Attributes
    ----------
    names : tuple of str
    labels : tuple of str, the same for people; empty takes the names, capitalised
    """

    names: tuple[str, ...]
    labels: tuple[str, ...] = ()

    def label(self, name: str) -> str:
        """A choice for people."""
        return dict(zip(self.names, self.labels, strict=False)).get(name, name.capitalize())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: str) -> str:
            if value not in self.names:
                raise PydanticCustomError("choice", "not among {names}", {"names": ", ".join(self.names)})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": list(self.names)}


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that is not ``--`` and the name of the setting.

    Attributes
    ----------
    names : tuple of str, the first is written in commands, the others are understood too; empty takes the usual one
    metavar : str, what stands for the value in the help; empty takes that of the type
    repeated : bool, the flag is given once for each item of a list
    """

    names: tuple[str, ...] = ()
    metavar: str = ""
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of one setting.

    Attributes
    ----------
    name : str
    kind : type, str, int, float, bool or tuple (of str)
    optional : bool, it may be None
    default : its value where nothing is said
    label, help : str
    choices : Choices or None
    flag : Flag, with at least one name
    limits : dict of "ge", "gt", "le", "lt" to a number
    """

    name: str
    kind: type
    optional: bool
    default: Any
    label: str
    help: str
    choices: Choices | None
    flag: Flag
    limits: Mapping[str, float]

    @property
    def range(self) -> str:
        """The range as part of a sentence; empty where there is none."""
        texts = {"ge": "{} or more", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
        return " and ".join(texts[name].format(limit) for name, limit in self.limits.items())

    @property
    def kinds(self) -> str:
        """The type as part of a sentence."""
        return _WORDS[self.kind] + (" or null" if self.optional else "")


class Section(BaseModel):
    """A section of the settings: frozen, and checked when it is made.

    Raises
    ------
    ParameterError
        A name is not a setting, or a value is not of its type or range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    section: ClassVar[str] = ""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(values, dict):
            values = {name: _plain(value) for name, value in rename_section(cls.section, values).items()}
        try:
            return check(values)
        except ValidationError as error:
            raise ParameterError(message(cls, error)) from None

    @classmethod
    def describe(cls) -> dict[str, Setting]:
        """The settings of this section, by name."""
        return _describe(cls)

    def replace(self, **changes: Any) -> Self:
        """The same settings with some of them changed, checked again."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults, by name."""
        return {name: getattr(self, name) for name, setting in self.describe().items() if getattr(self, name) != setting.default}


def message(kind: type[Section], error: ValidationError) -> str:
    """What was expected and what arrived, of the first value that is refused."""
    refused = error.errors(include_url=False)
    if unknown := sorted(str(each["loc"][0]) for each in refused if each["type"] == "extra_forbidden"):
        return f"settings {', '.join(unknown)} not among {', '.join(kind.model_fields)}"
    first = refused[0]
    name = str(first["loc"][0])
    setting, value = kind.describe()[name], first["input"]
    if first["type"] in ("choice", "value_error"):
        return f"{name}={value!r} {first['msg'].removeprefix('Value error, ')}"
    if first["type"] == "finite_number":
        return f"{name}={value!r} must be a finite number" + (f", {setting.range}" if setting.range else "")
    if first["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"{name}={value!r} must be {setting.range}"
    return f"{name}={value!r} must be {setting.kinds}"


@cache
def _describe(kind: type[Section]) -> dict[str, Setting]:
    return {name: _setting(name, field) for name, field in kind.model_fields.items()}


def _setting(name: str, field: FieldInfo) -> Setting:
    annotation: Any = field.annotation
    kinds = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    [kind] = [typing.get_origin(each) or each for each in kinds if each is not types.NoneType]
    flag = _first(field.metadata, Flag) or Flag()
    return Setting(
        name,
        kind,
        types.NoneType in kinds,
        field.default,
        field.title or name.replace("_", " ").capitalize(),
        field.description or "",
        _first(field.metadata, Choices),
        dataclasses.replace(flag, names=flag.names or (f"--{name.replace('_', '-')}",)),
        dict(_limits(field.metadata)),
    )


def _first(metadata: Iterable[Any], kind: type) -> Any:
    return next((each for each in metadata if isinstance(each, kind)), None)


def _limits(metadata: Iterable[Any]) -> Iterable[tuple[str, float]]:
    named = (annotated_types.Ge, "ge"), (annotated_types.Gt, "gt"), (annotated_types.Le, "le"), (annotated_types.Lt, "lt")
    for each in metadata:
        for kind, name in named:
            if isinstance(each, kind):
                yield name, getattr(each, name)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
