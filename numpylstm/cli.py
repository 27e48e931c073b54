"""The command line: find the command, run it, turn what goes wrong into one line and an exit code.

0 all is well, 1 a check failed or the run did, 2 a wrong option, 130 Ctrl-C, 141 nobody reads the output any more. A
Ctrl-C that comes while Python still imports the package, half a second, gives Python's own traceback, and 130 as well.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from . import __version__
from .commands import COMMANDS
from .commands.terminal import discard, note

FAILED, WRONG_OPTION, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; `argv` is without the program's name, None for the process's own.

    Raises SystemExit as argparse does: code 2 for wrong options, 0 after --help and --version.
    """
    _open_what_is_closed()
    if argv is None:
        _escape_what_cannot_be_encoded()
    argv = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    called = next((word for word in argv if not word.startswith("-")), None)
    try:
        try:
            code = _run(called, argv)
        except SystemExit as stop:  # argparse has shown its help, or refused
            raise SystemExit(_written(called, stop.code)) from None
        return _written(called, code)
    except KeyboardInterrupt:
        note(f"\n{_program(called)}: interrupted")
        return INTERRUPTED


def _open_what_is_closed() -> None:
    """Send to os.devnull what is written to a stream that the caller closed (`>&-`), which Python makes None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _escape_what_cannot_be_encoded() -> None:
    """Let stdout escape characters that its encoding lacks (a file's name may have any), as stderr does: \\u65e5."""
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(called: str | None, argv: list[str]) -> int:
    try:
        parser = _parser(called)
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:  # by itself argparse would show the usage of the program, which names no option of a command
            (arguments.refuse if argv[0] == called else parser.error)(f"unrecognized arguments: {' '.join(unknown)}")
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return arguments.run(arguments)
    except BrokenPipeError:
        return BROKEN_PIPE
    except (ValueError, ImportError) as error:
        return _refuse(called, error, WRONG_OPTION)
    except (OSError, FloatingPointError, MemoryError) as error:
        return _refuse(called, error, FAILED)


def _written(called: str | None, code: int) -> int:
    """Write what the streams still hold, and return the exit code: another one where stdout could not be written to."""
    try:
        sys.stdout.flush()
    except KeyboardInterrupt:  # who should read it has stopped
        discard(sys.stdout)
        raise
    except OSError as error:
        discard(sys.stdout)  # or Python tries once more when it ends
        if code == 0:
            code = BROKEN_PIPE if isinstance(error, BrokenPipeError) else _refuse(called, error, FAILED)
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    return code


def _parser(called: str | None) -> argparse.ArgumentParser:
    """Return the parser of all commands; only the one that is called is imported and knows its options."""
    parser = argparse.ArgumentParser(
        prog="numpylstm",
        description="Recurrent networks to read, differentiate by hand and train fast on a CPU.",
        epilog="numpylstm COMMAND --help lists a command's options.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"numpylstm {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary}.", allow_abbrev=False)
        if name == called:
            module = importlib.import_module(f".commands.{name}", __package__)
            command.description = module.__doc__
            module.add_arguments(command)
            command.set_defaults(run=module.run, refuse=command.error)
    return parser


def _program(called: str | None) -> str:
    return "numpylstm" if called is None else f"numpylstm {called}"


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    note(f"warning: {message}")


def _refuse(called: str | None, error: Exception, code: int) -> int:
    note(f"{_program(called)}: error: {str(error) or type(error).__name__}")
    return code
