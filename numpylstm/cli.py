"""The command line: find the command, run it, turn errors into one line and an exit code.

0 success, 1 a check or the run failed, 2 a wrong option, 130 Ctrl-C, 141 the output's reader has gone. Ctrl-C during
the half second in which Python imports the package shows Python's own traceback, and gives 130 as well.
"""

from __future__ import annotations

import argparse
import errno
import gc
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
    """Run one command and return the exit code; `argv` excludes the program's name, and None means the process's own.

    Raises SystemExit as argparse does: code 2 for wrong options, 0 after --help and --version.
    """
    _open_what_is_closed()
    if argv is None:
        _escape_what_cannot_be_encoded()
        gc.freeze()  # or Python would look through all that is imported when it ends, which takes a tenth of a second
    argv = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    called = next((word for word in argv if not word.startswith("-")), None)
    try:
        try:
            code = _run(called, argv)
        except SystemExit as stop:  # argparse has shown help or an error
            raise SystemExit(_written(called, stop.code)) from None
        return _written(called, code)
    except KeyboardInterrupt:
        note(f"\n{_program(called)}: interrupted")
        return INTERRUPTED


def _open_what_is_closed() -> None:
    """Send output to os.devnull if the caller closed its stream (`>&-`), which Python then makes None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="replace"))


def _escape_what_cannot_be_encoded() -> None:
    """Make stdout escape characters missing from its encoding, as stderr does (\\u65e5): file names may have any."""
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(called: str | None, argv: list[str]) -> int:
    try:
        parser = _parser(called)
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:  # argparse alone would show the program's usage, which lists no command's options
            (arguments.refuse if argv[0] == called else parser.error)(f"unrecognized arguments: {' '.join(unknown)}")
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return arguments.run(arguments)
    except (ValueError, ImportError) as error:
        return _refuse(called, error, WRONG_OPTION)
    except (OSError, FloatingPointError, MemoryError) as error:
        return BROKEN_PIPE if _reader_has_gone(error) else _refuse(called, error, FAILED)


def _written(called: str | None, code: int) -> int:
    """Flush the streams and return the exit code, or another one if stdout could not be written to."""
    try:
        sys.stdout.flush()
    except KeyboardInterrupt:  # the reader has stopped reading
        discard(sys.stdout)
        raise
    except OSError as error:
        discard(sys.stdout)  # or Python would try again at exit
        if code == 0:
            code = BROKEN_PIPE if _reader_has_gone(error) else _refuse(called, error, FAILED)
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    return code


def _reader_has_gone(error: Exception) -> bool:
    """Return whether the output's reader has gone: of that, Windows may only say that an argument is invalid."""
    invalid = isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename is None
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and invalid)


class _Parser(argparse.ArgumentParser):
    """A parser that raises OSError if its help cannot be written to stdout, of which argparse says nothing."""

    def _print_message(self, message, file=None):
        if file is None or file is not sys.stdout:
            super()._print_message(message, file)
        else:
            file.write(message)


def _parser(called: str | None) -> argparse.ArgumentParser:
    """Return the parser of all commands; only the command called is imported and has its options."""
    parser = _Parser(
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
