"""Watch an encoder-decoder of two recurrent layers learn to echo sequences of integers.

Four fifths of the sequences are for training, one fifth is for the test. The settings are EncoderDecoder's own, those
of the notebook this library grew out of, unless --best or an option changes them. Ctrl-C ends training, shows what was
learnt so far and gives exit code 130; with --distributed it ends the job.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable

import numpy as np

from .. import tasks
from ..callbacks import Callback, Epoch
from ..checkpoint import Checkpoint, read_checkpoint
from ..distributed import Ranks, on_every_rank
from ..estimators import EncoderDecoder
from ..network import RECURRENT
from ..training import TrainingInterrupted
from . import curves, tables
from .files import check_apart, check_regular, file_name
from .terminal import note, percent, whole_number

SYMBOLS = 100
NOTEBOOK_ACCURACY = 0.9726  # per token, as the notebook printed for its 5 -> 2 echo
BEST = {"schedule": "cosine", "dropout": 0.3, "batch_size": 50, "embedding": "random", "embedding_size": 64}
BEST_LONG = {  # more than SHORT symbols to repeat: a larger state, smaller steps, and 40,000 sequences to learn
    "hidden_size": 256,
    "learning_rate": 4e-3,
    "schedule": "cosine",
    "batch_size": 50,
    "clip_norm": 1.0,
    "max_iter": 12,
    "embedding": "random",
    "embedding_size": 64,
}
SHORT = 5
OPTIONS = {"cell": "cell", "hidden": "hidden_size", "epochs": "max_iter", "batch_size": "batch_size"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; those whose default depends on the settings have none of their own."""
    add, count = parser.add_argument, whole_number(1)
    best = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in BEST.items())
    add(
        "--task", choices=("echo", "reverse"), default="echo", help="repeat the first symbols, or all of them backwards"
    )
    add("--cell", choices=tuple(RECURRENT), help="kind of recurrent layer (lstm)")
    add("--hidden", type=count, metavar="N", help="units of each layer (150)")
    add("--n-in", type=count, default=5, metavar="N", help="symbols in a sequence (5)")
    add("--n-out", type=count, metavar="N", help="symbols to repeat (2; all of them if reversed)")
    add("--sequences", type=whole_number(5), default=10_000, metavar="N", help="for training and test together (10000)")
    add("--epochs", type=count, metavar="N", help="epochs at most, those before --resume included (25)")
    add("--batch-size", type=count, metavar="N", help="sequences per step (200)")
    add("--seed", type=whole_number(0, None), default=0, metavar="N", help="seed of the data and of the model (0)")
    add(
        "--best",
        action="store_true",
        help=f"the settings that did best: {best}; others where more than {SHORT} are to be repeated",
    )
    add("--verbose", action="store_true", help="one line per epoch in place of the progress bar")
    file = {"type": file_name, "metavar": "FILE"}
    add("--plot", **file, help="draw loss and accuracy by epoch (.png, .svg, .pdf); needs matplotlib")
    add("--distributed", action="store_true", help="train on all ranks of mpiexec -n N; needs numpylstm[mpi]")
    add("--checkpoint", **file, help="write one after each epoch, for --resume")
    add("--resume", **file, help="go on from a checkpoint of the same settings, on any number of ranks")
    keys = "test_accuracy (of tokens), sequence_accuracy, epochs, loss (the last epoch's), seconds (first step too)"
    add("--json", action="store_true", help=f"print one JSON object and nothing else: {keys}")


def run(arguments: argparse.Namespace) -> int:
    """Make the data, train, test and show the results; with several ranks, only the first shows them."""
    ranks = Ranks(_world() if arguments.distributed else None)
    if not ranks.first:  # it writes no files, and may not have the folders for them
        arguments.checkpoint = arguments.plot = None
    try:
        with ranks.ending_together(), ranks.threads():
            return _run(arguments, ranks)
    except Exception as error:
        if not on_every_rank(error):
            raise
        if not ranks.first:  # rank 0 says why
            return 2 if isinstance(error, (ValueError, ImportError)) else 1
        if type(error) is RuntimeError and ranks.size > 1:  # another rank failed, or the ranks differ
            raise OSError(str(error)) from error
        raise


def _world():
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError is mpi4py's if it finds no MPI
        raise ImportError("--distributed needs mpi4py and an MPI: pip install 'numpylstm[mpi]'") from error
    return MPI.COMM_WORLD


def _run(arguments: argparse.Namespace, ranks: Ranks) -> int:
    shown = ranks.first and not arguments.json
    with ranks.agreeing("echo"):
        X, y = _data(arguments)
        test = len(X) // 5
        data, test_data = (X[:-test], y[:-test]), (X[-test:], y[-test:])
        settings = {"vocab_size": SYMBOLS, **_settings(arguments, y.shape[1]), "random_state": arguments.seed}
        if arguments.plot:
            curves.check(arguments.plot)
        _check_files(arguments, len(data[0]))
        if shown:
            some = f"{y.shape[1]} of " if arguments.task == "echo" else ""
            what = f"{some}{X.shape[1]} symbol{'s' * (X.shape[1] != 1)}"
            where = f" on {ranks.size} ranks" if ranks.size > 1 else ""
            print(f"{arguments.task} {what}: {len(data[0]):,} sequences to learn, {test:,} to test{where}")
            print(repr(EncoderDecoder(**settings)))
            print("first step, with kernels compiled or loaded: ", end="", flush=True)
        started, first_step = time.perf_counter(), None
        try:
            first_step = _first_step(settings, *data, ranks.first)
        finally:
            if shown:  # so that an error, too, starts on a new line
                print("failed" if first_step is None else f"{first_step:.1f} s\n", flush=True)
    model = EncoderDecoder(**settings)
    files = {"checkpoint": arguments.checkpoint, "resume": arguments.resume}
    watch, trained = _watch(model, arguments) if ranks.first else None, []
    callbacks = [lambda epoch: trained.append(epoch.number), *([watch] if watch else [])]
    given = {"validation_data": test_data, "callbacks": callbacks, "communicator": ranks.communicator, **files}
    caught = _fit(model, *data, **given)
    seconds, interrupted = time.perf_counter() - started, _interrupted(caught)
    if not ranks.first:
        return 0
    _tell(caught)

    predicted = model.predict(test_data[0])
    right = predicted == test_data[1]
    if arguments.json:
        print(json.dumps(_figures(model, right, seconds)))
    else:
        notebook = NOTEBOOK_ACCURACY if _as_in_notebook(arguments, y) else None
        if trained or interrupted:  # ends the output of training
            print()
        print(tables.sample(*test_data, predicted), "", tables.accuracies(right, SYMBOLS, notebook), "", sep="\n")
        taken = seconds - first_step
        if trained:
            print(f"training: {taken:.1f} s, {taken / len(trained):.2f} s an epoch")
        else:
            print(f"training: {f'{taken:.1f} s, no whole epoch' if interrupted else 'no epoch left to train'}")
    if arguments.plot:
        curves.draw(arguments.plot, model.history_, chance=1 / SYMBOLS)
        if not arguments.json:
            print(f"loss and accuracy by epoch: {arguments.plot}")
    return 130 if interrupted else 0


def _check_files(arguments: argparse.Namespace, count: int) -> None:
    """Raise, before kernels are compiled, if a checkpoint cannot be read or written, or --plot would overwrite it."""
    if arguments.resume:
        try:
            saved = read_checkpoint(arguments.resume)
        except OSError as error:
            message = f"--resume must name a checkpoint, got {arguments.resume!r}: {error.strerror}"
            raise ValueError(message) from error
        _check_data(saved, arguments.seed, count)
    if arguments.checkpoint:
        check_regular("--checkpoint", arguments.checkpoint)
    check_apart("--plot", arguments.plot, {"--checkpoint": arguments.checkpoint, "--resume": arguments.resume})


def _check_data(saved: Checkpoint, seed: int, count: int) -> None:
    """Raise ValueError if the seed or the number of sequences is not the checkpoint's; `fit` refuses other differences,
    but it sees only arrays and could not name these options."""
    if saved.kind != EncoderDecoder.__name__ or saved.progress is None:
        return
    known, trained = saved.settings.get("random_state"), saved.progress.get("count", count)
    if isinstance(known, int) and known != seed:
        raise ValueError(f"--seed must be what it was at the checkpoint, {known}, got {seed}")
    if trained != count:
        raise ValueError(f"--sequences must leave the checkpoint's {trained} to learn, got {count}")


def _data(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    n, n_in, n_out = arguments.sequences, arguments.n_in, arguments.n_out
    if arguments.task == "echo":
        return tasks.echo(n, n_in, min(2, n_in) if n_out is None else n_out, SYMBOLS, arguments.seed)
    if n_out not in (None, n_in):
        raise ValueError(f"--n-out must be left out, or equal --n-in, where all is reversed; got {n_out} of {n_in}")
    return tasks.reverse(n, n_in, SYMBOLS, arguments.seed)


def _settings(arguments: argparse.Namespace, length: int) -> dict[str, object]:
    given = {setting: getattr(arguments, option) for option, setting in OPTIONS.items()}
    best = BEST if length <= SHORT else BEST_LONG
    return (best if arguments.best else {}) | {name: value for name, value in given.items() if value is not None}


def _as_in_notebook(arguments: argparse.Namespace, y: np.ndarray) -> bool:
    return arguments.task == "echo" and (arguments.n_in, y.shape[1], arguments.sequences) == (5, 2, 10_000)


def _first_step(settings: dict[str, object], X: np.ndarray, y: np.ndarray, shown: bool) -> float:
    """Train another model for one step; return the seconds taken, mostly to compile or load the kernels."""
    started = time.perf_counter()
    model = EncoderDecoder(**settings | {"max_iter": 1})
    batch = X[: model.batch_size], y[: model.batch_size]
    caught = _fit(model, *batch, validation_data=batch)  # with few sequences, other kernels would run
    if shown:
        _tell(warning for warning in caught if warning.category is not TrainingInterrupted)  # this model is discarded
    if _interrupted(caught):
        raise KeyboardInterrupt
    return time.perf_counter() - started


def _fit(model: EncoderDecoder, X: np.ndarray, y: np.ndarray, **data: object) -> list[warnings.WarningMessage]:
    """Fit and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, **data)
    return caught


def _interrupted(caught: list[warnings.WarningMessage]) -> bool:
    """Return whether Ctrl-C ended training."""
    return any(issubclass(warning.category, TrainingInterrupted) for warning in caught)


def _tell(caught: Iterable[warnings.WarningMessage]) -> None:
    for warning in caught:
        note(f"\nwarning: {warning.message}")


def _watch(model: EncoderDecoder, arguments: argparse.Namespace) -> Callback | None:
    """Make the model show its progress: a bar on a terminal; otherwise, or on request, one line per epoch."""
    if sys.stderr.isatty() and not arguments.verbose:
        model.verbose = 1
    elif arguments.verbose or not arguments.json:
        return _lines(note if arguments.json else functools.partial(print, flush=True))
    return None


def _lines(say: Callable[[str], None]) -> Callback:
    def show(epoch: Epoch) -> None:
        loss, tokens, sequences = (
            epoch.figures[f"validation_{name}"] for name in ("loss", "token_accuracy", "sequence_accuracy")
        )
        line = f"epoch {epoch.number:{len(str(epoch.max_iter))}}/{epoch.max_iter}  test loss {loss:.4f}"
        say(f"{line}  tokens {percent(tokens):>7}  sequences {percent(sequences):>7}")

    return show


def _figures(model: EncoderDecoder, right: np.ndarray, seconds: float) -> dict[str, float]:
    return {
        "test_accuracy": float(right.mean()),
        "sequence_accuracy": float(right.all(axis=1).mean()),
        "epochs": model.n_iter_,
        "loss": model.loss_curve_[-1],
        "seconds": seconds,
    }
