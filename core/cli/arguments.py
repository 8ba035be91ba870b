"""The parser of a command line, made from a table of commands and the descriptions of the settings."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import __version__


class Argument:
    """An argument that is no setting, as ``argparse`` takes it."""

    def __init__(self, *names: str, **options: Any):
        self.names, self.options = names, options


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes
    ----------
    run : str, ``module:function`` of ``core.cli`` that gets the options and returns the exit code
    help : str
    arguments : tuple of Argument or str: a section of the settings, such as "layout", or one of its settings, "extract.workers"
    """

    run: str
    help: str
    arguments: tuple[Argument | str, ...] = ()


def make_parser(commands: Mapping[str, Command], words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line. Only the command that the words name gets its flags: settings need not be loaded for others."""
    parser = argparse.ArgumentParser(prog="earmark", description="Audio regression with scores that hold on new clips.")
    parser.add_argument("--version", action="version", version=f"earmark {__version__}")
    groups = {"": parser.add_subparsers(title="commands", required=True, metavar="COMMAND")}
    named = " ".join([word for word in words if not word.startswith("-")][:2]) + " "
    for name, command in commands.items():
        group, _, last = name.rpartition(" ")
        description = f"{command.help[0].upper()}{command.help[1:]}."
        sub = groups[group].add_parser(last, help=command.help, description=description)
        if not command.run:
            groups[name] = sub.add_subparsers(title="actions", required=True, metavar="ACTION")
            continue
        sub.set_defaults(command=command.run)
        for names, options in _arguments(command) if named.startswith(f"{name} ") else ():
            sub.add_argument(*names, **options)
    return parser


def _arguments(command: Command) -> Iterator[tuple[Sequence[str], dict[str, Any]]]:
    known = set()
    for argument in command.arguments:
        if isinstance(argument, Argument):
            yield argument.names, argument.options
            continue
        from core.settings import SECTIONS

        section, _, name = argument.partition(".")
        for setting in SECTIONS[section].describe().values():
            if name in ("", setting.name) and setting.name not in known:  # sections share --workers and --device
                known.add(setting.name)
                yield setting.flag.names, flag_options(setting)


def flag_options(setting: Any) -> dict[str, Any]:
    """A setting as ``argparse`` takes it. A flag that is not given stays None, so that a settings file can speak first."""
    text = setting.help.split(". ")[0].rstrip(".")
    if setting.default is not None and setting.default is not False and "default:" not in text and not setting.flag.repeated:
        shown = ",".join(setting.default) if isinstance(setting.default, tuple) else text_of(setting.default)
        text += f" (default: {shown})"
    options = {
        "dest": setting.name,
        "default": None,
        "help": (text if text[1].isupper() else text[0].lower() + text[1:]).replace("%", "%%"),
    }
    if setting.kind is bool:
        return options | {"action": "store_true"}
    metavar = setting.flag.metavar or ("NAME" if setting.kind is str else "N")
    options |= {"metavar": "{" + ",".join(setting.choices.names) + "}" if setting.choices else metavar}
    if setting.flag.repeated:
        return options | {"action": "append"}
    return options | {
        "type": _number_or_auto(setting.kind) if setting.optional and setting.kind in (int, float) else _READERS[setting.kind]
    }


def split_names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def text_of(value: object) -> str:
    """A value as it is written in a command line; numbers read back equal."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _number_or_auto(kind: type) -> Callable[[str], Any]:
    """A number; ``auto`` is to say nothing, where it may be left out."""

    def read(text: str) -> Any:
        return None if text == "auto" else kind(text)

    read.__name__ = kind.__name__  # argparse says it where the text is no number
    return read


_READERS: dict[type, Callable[[str], Any]] = {int: int, float: float, str: str, tuple: split_names}
