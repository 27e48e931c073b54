"""The model of g2p.py in PyTorch, from the same parameters, and the time of both on the same batches.

    python benchmarks/g2p_twin.py [--batches 150]      writes results/g2p_twin.json
    python benchmarks/g2p_twin.py --profile            shows where our own step's time goes, by Python's profiler

The encoder runs over a packed sequence, the decoder over the whole of the true target at once. Loss and gradients of
the two models are compared with each other first. Then they take turns, a block of batches each, in one process, on the
first batches of a training epoch, whole training steps: padding, forward, backward, clipping and Adam. PyTorch has one
thread and then all, and the better counts.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable

import numpy as np
from common import needs, positive, save, writes
from g2p import SETTINGS
from g2p_data import examples, read

import numpylstm as nl
from numpylstm.bench.cores import wait_for_cores
from numpylstm.bench.measure import settle
from numpylstm.estimators.examples import Examples, shuffled
from numpylstm.estimators.ragged import Ragged
from numpylstm.interop import to_torch
from numpylstm.seq2seq import EncoderDecoderNetwork

try:
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
except ModuleNotFoundError:
    raise SystemExit("g2p_twin.py: torch is not installed: pip install -e '.[bench]'") from None

IGNORED, BLOCK, TOLERANCE = -1, 15, 1e-3


class Twin(torch.nn.Module):
    """Bidirectional LSTMs over letters, LSTMs over phonemes, Luong's general attention between them.

    PyTorch's second bias of an LSTM stays at zero, since a second one that learns would be another model.
    """

    def __init__(self, network: EncoderDecoderNetwork, hidden_size: int, dropout: float):
        super().__init__()
        arrays, H, self.depth = network.named_arrays(), hidden_size, network.num_layers
        self.boundary, self.label_smoothing = network.vocab_size, network.label_smoothing
        self.letters = torch.nn.Embedding(*arrays["embedding.E"].shape)
        self.phonemes = torch.nn.Embedding(*arrays["previous.E"].shape)
        between = {"num_layers": self.depth, "dropout": dropout if self.depth > 1 else 0.0}
        self.encoder = torch.nn.LSTM(self.letters.embedding_dim, H, bidirectional=True, **between)
        parts = [f"{part}{depth}" for depth in range(self.depth) for part in "hc"]
        self.bridge = torch.nn.ModuleDict({name: torch.nn.Linear(2 * H, H) for name in parts})
        self.decoder = torch.nn.LSTM(self.phonemes.embedding_dim, H, **between)
        self.score = torch.nn.Linear(H, 2 * H, bias=False)
        self.combine = torch.nn.Linear(3 * H, H)
        self.dropout = torch.nn.Dropout(dropout)
        self.dense = torch.nn.Linear(H, network.vocab_size + 1)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("bias_hh" not in name)
        self.load_state_dict({name: torch.from_numpy(array) for name, array in by_their_names(network).items()})

    def forward(self, x: torch.Tensor, lengths: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (T, B, V + 1) given letters (S, B), their lengths (B,) and the phonemes before (T, B)."""
        packed = pack_padded_sequence(self.letters(x), lengths, enforce_sorted=False)
        memory, ends = self.encoder(packed)
        memory = pad_packed_sequence(memory)[0].transpose(0, 1)  # (B, S, 2H)
        state = tuple(torch.stack(self._starts(name, end)) for name, end in zip("hc", ends, strict=True))
        y = self.decoder(self.phonemes(inputs), state)[0].transpose(0, 1)  # (B, T, H)
        scores = self.score(y) @ memory.transpose(1, 2)
        padding = torch.arange(memory.shape[1]) >= lengths[:, None]
        weights = scores.masked_fill(padding[:, None], -torch.inf).softmax(2)
        y = torch.tanh(self.combine(torch.cat([weights @ memory, y], 2)))
        return self.dense(self.dropout(y)).transpose(0, 1)

    def _starts(self, name: str, end: torch.Tensor) -> list[torch.Tensor]:
        """Return what each of the decoder's layers starts with, given (2 depth, B, H), two directions a layer."""
        both = end.unflatten(0, (self.depth, 2)).transpose(1, 2).flatten(2)
        return [torch.tanh(self.bridge[f"{name}{depth}"](pair)) for depth, pair in enumerate(both)]

    def loss(self, x: torch.Tensor, lengths: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of targets y (T, B), IGNORED where they have ended."""
        before = torch.cat([torch.full_like(y[:1], self.boundary), y[:-1].clamp(min=0)])
        options = {"ignore_index": IGNORED, "label_smoothing": self.label_smoothing if self.training else 0.0}
        return cross_entropy(self(x, lengths, before).flatten(0, 1), y.flatten(), **options)


def by_their_names(network: EncoderDecoderNetwork) -> dict[str, np.ndarray]:
    """Return our network's parameters by the twin's names."""
    arrays, found = network.named_arrays(), {}
    for name in ("encoder", "decoder"):
        found |= to_torch(network.layers[name], prefix=f"{name}.")
    names = {"letters.weight": "embedding.E", "phonemes.weight": "previous.E", "score.weight": "attention.W_a"}
    found |= {theirs: arrays[ours] if ours.endswith("E") else arrays[ours].T for theirs, ours in names.items()}
    for name in ("combine", "dense", *(name[:-2] for name in arrays if name.startswith("bridge") and name[-1] == "W")):
        found |= {f"{name}.weight": arrays[f"{name}.W"].T, f"{name}.bias": arrays[f"{name}.b"]}
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def start(words: list) -> tuple[EncoderDecoderNetwork, Examples, list[np.ndarray]]:
    """Return a network with the settings of g2p.py, its training data, and an epoch's batches."""
    X, y = examples(words)
    few = {"max_iter": 1, "learning_rate": 1e-6}  # a public way to a network as fit makes it
    network = nl.EncoderDecoder(**SETTINGS | few).fit(X[:100], y[:100]).network_
    data = Examples(*(Ragged.of([np.array(one) for one in part]) for part in (X, y)))
    data = data._replace(targets=data.targets.ended(network.vocab_size))
    return network, data, shuffled(np.random.default_rng(0), len(X), SETTINGS["batch_size"], data.lengths())


def our_step(network: EncoderDecoderNetwork, data: Examples) -> Callable[[np.ndarray], float]:
    """Return a training step of ours on the examples of some rows, which returns the loss."""
    theta, optimizer, rng = network.parameters, nl.Adam(SETTINGS["learning_rate"]), np.random.default_rng(1)

    def step(rows: np.ndarray) -> float:
        x, y, _ = data.take(rows)
        theta.zero_grad()
        loss = network.loss(x.padded(), y.padded(), rng, lengths=x.lengths, target_lengths=y.lengths)
        network.backward(loss.tape, loss.doutput, keep=False)
        nl.clip_by_global_norm(theta.grads, SETTINGS["clip_norm"])
        optimizer.step(theta.values, theta.grads)
        return loss.value

    return step


def their_step(model: Twin, data: Examples) -> Callable[[np.ndarray], float]:
    """As `our_step`, of the twin, with PyTorch's own Adam in its fused form."""
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=SETTINGS["learning_rate"], fused=True)

    def step(rows: np.ndarray) -> float:
        optimizer.zero_grad()
        loss = model.loss(*as_tensors(data.take(rows)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, SETTINGS["clip_norm"])
        optimizer.step()
        return loss.item()

    return step


def as_tensors(data: Examples) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return examples as `Twin.loss` takes them."""
    x, y, lengths = data.inputs.padded(), data.targets.padded(), data.targets.lengths
    y = np.where(np.arange(len(y))[:, None] < lengths, y, IGNORED)
    return torch.from_numpy(x), torch.from_numpy(data.inputs.lengths), torch.from_numpy(y)


def difference(network: EncoderDecoderNetwork, model: Twin, data: Examples) -> float:
    """Return how far apart the losses and gradients of both are on some examples, without dropout, relatively."""
    network.parameters.zero_grad()
    x, y, _ = data
    loss = network.loss(x.padded(), y.padded(), lengths=x.lengths, target_lengths=y.lengths)
    network.backward(loss.tape, loss.doutput)
    model.eval()
    theirs = model.loss(*as_tensors(data))
    theirs.backward()
    model.train()
    shadow = network.cast(network.parameters.values.dtype)  # carries our gradients under their names
    shadow.parameters.values[...] = network.parameters.grads
    pairs = [(theirs.detach().numpy(), loss.value)]
    found = by_their_names(shadow)
    pairs += [(p.grad.numpy(), found[name]) for name, p in model.named_parameters() if p.requires_grad]
    return float(np.max([np.abs(a - b).max() / np.abs(a).max() for a, b in pairs]))  # NaN stays NaN


def beside(rows: list[np.ndarray], threads: int, data: Examples, network: EncoderDecoderNetwork) -> dict[str, object]:
    """Return the seconds of each batch, ours and PyTorch's on a number of threads, and the losses, by name."""
    torch.set_num_threads(threads)
    model = Twin(network, SETTINGS["hidden_size"], SETTINGS["dropout"])
    apart = difference(network, model, data.take(rows[0]))
    if not apart < TOLERANCE:
        raise ValueError(f"the two models must be one, but differ by {apart:.1e}")
    steps = {"ours": our_step(network, data), "PyTorch": their_step(model, data)}
    seconds, losses = {name: [] for name in steps}, {name: [] for name in steps}
    for step in steps.values():
        for some in rows[-3:]:
            step(some)
    for first in range(0, len(rows), BLOCK):
        for name, step in steps.items():
            settle()
            wait_for_cores()
            step(rows[first])  # wakes the threads
            for some in rows[first : first + BLOCK]:
                begun = time.perf_counter()
                losses[name].append(step(some))
                seconds[name].append(time.perf_counter() - begun)
    found = {name: {"seconds": float(np.mean(seconds[name])), "loss": float(np.mean(losses[name]))} for name in steps}
    return {**found, "ratio": found["PyTorch"]["seconds"] / found["ours"]["seconds"], "apart": apart}


def profile(step: Callable[[np.ndarray], float], rows: list[np.ndarray]) -> None:
    """Print the milliseconds a step takes, without a profiler, and its functions by their own time, with it."""
    for some in rows[-20:]:
        step(some)
    taken = []
    for some in rows:
        begun = time.perf_counter()
        step(some)
        taken.append(time.perf_counter() - begun)
    print(f"{np.mean(taken) * 1e3:.1f} ms a step; {len(rows)} steps under the profiler, which slows Python:")
    with cProfile.Profile() as watch:
        for some in rows:
            step(some)
    pstats.Stats(watch).strip_dirs().sort_stats("tottime").print_stats(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=positive(int), default=150, help="how many are timed (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="our step alone, nothing written")
    arguments = parser.parse_args()
    needs(parser, "cmudict", "g2p")
    if not arguments.profile:
        writes(parser, "g2p_twin")
    network, data, rows = start(read()["train"])
    if arguments.profile:
        profile(our_step(network, data), rows[: arguments.batches])
        return
    first, results = network.parameters.values.copy(), {}
    for threads in dict.fromkeys((1, nl.get_num_threads())):
        network.parameters.values[...] = first
        found = results[f"{threads} threads"] = beside(rows[: arguments.batches], threads, data, network)
        ours, theirs = found["ours"], found["PyTorch"]
        print(
            f"PyTorch on {threads}: ours {ours['seconds'] * 1e3:.1f} ms a batch, mean loss {ours['loss']:.3f}; PyTorch "
            f"{theirs['seconds'] * 1e3:.1f} ms, {theirs['loss']:.3f}; {found['ratio']:.2f} times ours; gradients apart "
            f"by {found['apart']:.1e}",
            flush=True,
        )
    fastest = min(results, key=lambda name: results[name]["PyTorch"]["seconds"])
    settings = {"batches": arguments.batches, "of": len(rows), "settings": SETTINGS}
    save(
        "g2p_twin", {"beside": results, "fastest": fastest, "ratio": results[fastest]["ratio"], **settings}, ("torch",)
    )


if __name__ == "__main__":
    main()
