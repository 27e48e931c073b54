"""The 2018 Echo LSTM notebook's experiment, under its own protocol and under an honest one.

    python benchmarks/notebook.py [--seed N] [--quick]

Its own: every "batch" of its 25 iterations is fed the whole training set, so it makes 25 x 40 = 1,000 full-batch Adam
steps, and its accuracy is the running mean over all of them. The honest one: 25 epochs of true shuffled batches of 200,
measured on the test set with the final model.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import numpylstm as nl
from numpylstm.commands.terminal import whole_number

NOTEBOOK = 0.97259635  # the accuracy its last cell prints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=whole_number(0, None), default=0, help="of data and weights (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, to see that it runs")
    options = parser.parse_args()
    X, y = nl.tasks.echo(10_000, 5, 2, seed=options.seed)
    train, test = slice(0, 8_000), slice(8_000, None)
    share = 10 if options.quick else 1

    start = time.perf_counter()
    own = nl.EncoderDecoder(batch_size=8_000, max_iter=1_000 // share, tol=0.0, random_state=options.seed, verbose=1)
    own.fit(X[train], y[train])
    seconds = time.perf_counter() - start
    accuracies, losses = np.array(own.history_["token_accuracy"]), np.array(own.loss_curve_)
    print(f"its own protocol: {own.n_iter_} full-batch steps, {seconds:.0f} s")
    print(f"  sum of the last 40 losses         {losses[-40:].sum():.6f}   (the notebook printed 0.013916)")
    print(f"  accuracy, mean over all steps     {accuracies.mean():.4%}    (the notebook printed {NOTEBOOK:.4%})")
    print(f"  accuracy of the last step         {accuracies[-1]:.4%}")
    print(f"  test accuracy of the final model  {own.score(X[test], y[test]):.4%}")

    start = time.perf_counter()
    honest = nl.EncoderDecoder(max_iter=max(25 // share, 1), tol=0.0, random_state=options.seed, verbose=1)
    honest.fit(X[train], y[train])
    print(f"an honest one: {honest.n_iter_} epochs of batches of 200, {time.perf_counter() - start:.0f} s")
    print(f"  mean loss per token               {honest.loss_curve_[-1]:.6f}")
    print(f"  test accuracy of the final model  {honest.score(X[test], y[test]):.4%}")
    print(f"  test sequences entirely right     {(honest.predict(X[test]) == y[test]).all(axis=1).mean():.4%}")


if __name__ == "__main__":
    main()
