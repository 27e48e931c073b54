"""The estimators learn: small tasks, far below the loss of a model without memory, on sequences not trained on."""

import threading

import numpy as np
from models import EXAMPLES

from numpylstm import EncoderDecoder, SequenceClassifier, SequenceRegressor, tasks

SEQ2SEQ = EXAMPLES["encoder-decoder"]


def test_echo():
    X, y = tasks.echo(500, 4, 2, vocab_size=8, seed=0)
    model = EncoderDecoder(hidden_size=32, batch_size=25, max_iter=20, random_state=0, schedule="cosine")
    test = tasks.echo(100, 4, 2, vocab_size=8, seed=1)
    assert model.fit(X, y).score(*test) > 0.95
    assert model.loss_curve_[-1] < 0.2 < 1.5 < model.loss_curve_[0]
    assert model.predict(X).dtype == np.int64


def test_temporal_order():
    X, y = tasks.temporal_order(400, 10, seed=0)
    model = SequenceClassifier(hidden_size=16, max_iter=20, random_state=0, cell="gru")
    assert model.fit(X, y).score(*tasks.temporal_order(200, 10, seed=1)) > 0.95
    assert model.loss_curve_[-1] < tasks.TEMPORAL_ORDER_FLOOR / 5


def test_adding():
    X, y = tasks.adding(400, 6, seed=0)
    model = SequenceRegressor(hidden_size=16, max_iter=25, random_state=0).fit(X, y)
    assert model.score(*tasks.adding(200, 6, seed=1)) > 0.9
    assert model.loss_curve_[-1] < tasks.ADDING_FLOOR / 5


def test_every_step():
    X = np.random.default_rng(0).integers(0, 2, (200, 6))
    parity = np.cumsum(X, axis=1) % 2
    model = SequenceClassifier(cell="rnn", hidden_size=16, output="every", max_iter=40, random_state=1)
    assert model.fit(X, parity).score(X, parity) > 0.95


def test_in_a_thread_of_its_own():
    models = [SEQ2SEQ.make() for _ in range(2)]
    threads = [threading.Thread(target=model.fit, args=SEQ2SEQ[2:]) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        np.testing.assert_array_equal(model.predict(SEQ2SEQ.X), SEQ2SEQ.fitted().predict(SEQ2SEQ.X))
