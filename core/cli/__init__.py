"""``earmark``: the command line."""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; see ``core.cli.commands.main``."""
    from core.cli import commands

    return commands.main(arguments)
