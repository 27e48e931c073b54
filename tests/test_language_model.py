"""LanguageModel: streams and sequences, what is learnt and measured, samples, files, refusals."""

import copy
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
from mutants import mutant
from table import walk

import numpylstm as nl
from numpylstm.checkpoint import read_checkpoint, write_checkpoint
from numpylstm.estimators import language_model
from numpylstm.estimators.examples import Examples
from numpylstm.language import LanguageNetwork
from numpylstm.losses import softmax

SMALL = {"hidden_size": 4, "batch_size": 3, "steps": 4, "max_iter": 2, "random_state": 3, "backend": "numpy"}
DOUBLE = {**SMALL, "dtype": "float64"}
IDS = np.random.default_rng(0).integers(0, 5, 47)
ROWS = [np.random.default_rng(n).integers(0, 5, n).tolist() for n in (9, 2, 14, 1, 5, 3, 9)]


PLANTED = {
    "state not carried": (nl.LanguageModel, "_plan", "state = loss.tape.state", "pass"),
    "state not cleared": (nl.LanguageModel, "_plan", "if chunk.start else None", "if True else None"),
    "padding learnt": (LanguageNetwork, "loss", "if lengths is not None:", "if False:"),
}


def fitted(X=IDS, **settings):
    return nl.LanguageModel(**{**DOUBLE, **settings}).fit(X)


def log_likelihoods(model, ids):
    """Return log p of each id after those before it, from one pass over all, no chunk in sight."""
    logits, _ = model.network_.predict(np.asarray(ids)[:-1, None])
    return np.log(softmax(logits[:, 0]))[np.arange(len(ids) - 1), ids[1:]]


def by_hand(model, parts, epochs, groups=None):
    """Train as `fit` should, written out: one row of `parts` a stream; yields the mean loss of each epoch.

    groups: the rows of each group, longest first, one of all of them if None.
    """
    rng = np.random.default_rng(model.random_state)
    network = model._build({"vocab_size_": 5}, rng)
    adam, theta = nl.Adam(model.learning_rate), network.parameters
    groups = groups or [list(range(len(parts)))]
    for _ in range(epochs):
        loss = terms = 0
        for group in rng.permutation(len(groups)):
            rows, states = [parts[k] for k in groups[group]], None
            for start in range(0, len(rows[0]) - 1, model.steps):
                going = [row for row in rows if len(row) - 1 > start]
                rows_here = [row[start : start + model.steps + 1] for row in going]
                longest = max(map(len, rows_here)) - 1
                ids, targets = np.zeros((2, longest, len(going)), int)
                for k, row in enumerate(rows_here):
                    ids[: len(row) - 1, k], targets[: len(row) - 1, k] = row[:-1], row[1:]
                lengths = np.array([len(row) - 1 for row in rows_here])
                if states is not None:
                    states = tuple(part[: len(going)] for part in states)
                theta.zero_grad()
                result = network.loss(ids, targets, rng, state=states, lengths=lengths)
                network.backward(result.tape, result.doutput)
                states = result.tape.state
                nl.clip_by_global_norm(theta.grads, model.clip_norm)
                adam.step(theta.values, theta.grads)
                loss, terms = loss + result.value * lengths.sum(), terms + lengths.sum()
        yield loss / terms, theta.values


class TestFit:
    @walk("cell", ("lstm", "gru", "rnn"))
    def test_a_stream_is_learnt_as_written_out(self, cell):
        model = fitted(cell=cell)
        parts = [IDS[0:16], IDS[15:31], IDS[30:47]]  # 46 steps: 15, 15 and 16
        *_, (loss, values) = by_hand(model, parts[::-1], 2)
        assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-12)
        # rows in another order: the same sums, to rounding
        np.testing.assert_allclose(model.network_.parameters.values, values, rtol=0, atol=1e-6)

    def test_the_first_weights_of_one_hot_rows_are_scaled(self):
        model = fitted(max_iter=1, learning_rate=1e-30, num_layers=1)
        layer, V = model.network_.layers["recurrent"], model.vocab_size_
        bound = np.sqrt(6 / (V + layer.hidden_size) * V)
        assert 0.8 * bound < np.abs(layer.params["W"]).max() <= bound * (1 + 1e-6)

    def test_sequences_are_learnt_as_written_out(self):
        model = fitted(ROWS, dropout=0.0)
        order = sorted(range(len(ROWS)), key=lambda k: -len(ROWS[k]))
        *_, (loss, values) = by_hand(model, ROWS, 2, [order[:3], order[3:6]])  # and one that has no id to predict
        assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(model.network_.parameters.values, values, rtol=0, atol=1e-9)

    @walk("error", PLANTED)
    def test_planted_errors_are_seen(self, error, monkeypatch):
        kind, function, old, new = PLANTED[error]
        monkeypatch.setattr(kind, function, mutant(vars(kind)[function], old, new))
        with pytest.raises(AssertionError):
            self.test_a_stream_is_learnt_as_written_out("lstm")

    def test_it_learns_what_there_is_to_learn(self):
        rng, ids = np.random.default_rng(0), [0, 1]
        for _ in range(3000):  # the id before last, or by a quarter any other
            ids.append(ids[-2] if rng.random() < 0.75 else int(rng.integers(0, 2)))
        model = nl.LanguageModel(
            hidden_size=8, batch_size=20, steps=10, max_iter=20, learning_rate=0.03, random_state=0
        )
        model.fit(ids[:2500])
        floor = -(7 / 8 * np.log(7 / 8) + 1 / 8 * np.log(1 / 8))
        assert -model.score(ids[2500:]) < floor + 0.05 < np.log(2) - 0.2

    def test_what_it_sets(self):
        model = fitted(IDS, vocab_size=7, max_iter=3)
        assert model.vocab_size_ == 7 and model.n_iter_ == 3 == len(model.loss_curve_)
        assert model.counts_.tolist() == np.bincount(IDS, minlength=7).tolist()
        assert list(model.history_) == ["loss"]
        assert list(fitted(IDS).fit(ROWS, None, ROWS).history_) == ["loss", "validation_loss"]

    def test_the_validation_loss_is_the_score_of_sequences(self):
        model = nl.LanguageModel(**DOUBLE).fit(IDS, validation_data=ROWS)
        assert model.history_["validation_loss"][-1] == pytest.approx(-model.score(ROWS), rel=1e-12)

    @pytest.mark.parametrize("shape", ["list", "float", "rows", "object"])
    def test_kinds_of_data(self, shape):
        square = IDS[:40].reshape(5, 8)
        rows = np.empty(2, object)
        rows[:] = [IDS[:20], IDS[20:]]
        kinds = {"list": IDS.tolist(), "float": IDS.astype(float), "rows": square, "object": rows}
        same = {"list": IDS, "float": IDS, "rows": list(square), "object": [IDS[:20], IDS[20:]]}
        values = [fitted(kind[shape]).network_.parameters.values for kind in (kinds, same)]
        assert np.array_equal(*values)

    def test_short_streams(self):
        assert np.isfinite(fitted([0, 1], batch_size=30).loss_curve_).all()
        with pytest.raises(ValueError, match="^X must have an id that follows another, got 1"):
            fitted([3])
        with pytest.raises(ValueError, match="^X must have an id that follows another, got 1"):
            fitted([[3], [2]])

    @walk("embedding", ("one-hot", "random", "table"))
    def test_a_seed_fixes_everything(self, embedding):
        table = np.random.default_rng(1).standard_normal((5, 3))
        settings = {"embedding": table if embedding == "table" else embedding, "num_layers": 2, "dropout": 0.3}
        a, b = (fitted(**settings, dtype="float32", backend="numba") for _ in range(2))
        assert np.array_equal(a.network_.parameters.values, b.network_.parameters.values)
        assert ("embedding" in a.network_.layers) == (embedding != "one-hot")

    def test_training_goes_on_from_a_checkpoint_bit_for_bit(self, tmp_path):
        path, settings = tmp_path / "run.safetensors", {**DOUBLE, "dropout": 0.2, "max_iter": 4}
        whole = nl.LanguageModel(**settings).fit(ROWS)
        nl.LanguageModel(**{**settings, "max_iter": 2}).fit(ROWS, checkpoint=path)
        resumed = nl.LanguageModel(**settings).fit(ROWS, resume=path)
        assert np.array_equal(resumed.network_.parameters.values, whole.network_.parameters.values)
        assert resumed.history_ == whole.history_

    def test_partial_fits_are_the_epochs_of_fit(self):
        whole, parts = fitted(dropout=0.2, max_iter=3), nl.LanguageModel(**{**DOUBLE, "dropout": 0.2})
        for _ in range(3):
            parts.partial_fit(IDS)
        assert np.array_equal(parts.network_.parameters.values, whole.network_.parameters.values)
        assert parts.counts_.sum() == 3 * len(IDS) and parts.n_iter_ == 3
        with pytest.raises(IndexError, match="ids in"):
            parts.partial_fit([0, 5])
        assert parts.n_iter_ == 3


class TestGradients:
    @walk("cell", ("lstm", "gru", "rnn"))
    @pytest.mark.parametrize("layers", [1, 2])
    def test_of_a_chunk_whose_first_state_is_held_fixed(self, cell, layers):
        tiny = {"cell": cell, "num_layers": layers, "dropout": 0.3, "embedding": "random", "embedding_size": 2}
        tiny |= {"hidden_size": 2, "steps": 3}
        for subject, X in ((nl.LanguageModel(**{**DOUBLE, **tiny}), IDS), (fitted(ROWS, **tiny), ROWS)):
            report = nl.check_gradients(subject, X)
            assert report.passed and report.max_relative_error < 1e-12, report

    def test_the_check_starts_in_the_state_that_the_first_chunk_leaves(self):
        model = fitted()
        batch = model._examined(model.network_, Examples(*model._read(IDS, None, None)[:2]))
        (part,) = {part.shape for part in batch.options["state"]}
        assert part == (3, 4) and batch.x.shape == (4, 3) and batch.x[0].tolist() == [IDS[k] for k in (34, 4, 19)]

    def test_end_at_the_edge_of_a_chunk(self):
        """Of two chunks the gradient is that of their sum with the state between them held fixed, and of no other."""
        network = fitted(dropout=0.0).network_
        first, second = IDS[:9, None], IDS[8:17, None]

        def gradient(*pieces):
            network.parameters.zero_grad()
            state = None
            for ids in pieces:
                loss = network.loss(ids[:-1], ids[1:], state=state)
                network.backward(loss.tape, loss.doutput * (len(ids) - 1))
                state = loss.tape.state
            return network.parameters.grads.copy()

        frozen = network.predict(first[:-1])[1]
        twin = network.cast("complex128")
        numeric = np.zeros(network.parameters.values.size)
        for k in range(numeric.size):
            kept = twin.parameters.values[k]
            twin.parameters.values[k] += 1e-30j
            losses = (twin.loss(first[:-1], first[1:]).value, twin.loss(second[:-1], second[1:], state=frozen).value)
            numeric[k] = 8 * sum(losses).imag / 1e-30
            twin.parameters.values[k] = kept
        cut, whole = gradient(first, second), gradient(IDS[:17, None])
        assert np.abs(cut - numeric).max() < 1e-12 * np.abs(numeric).max()
        assert np.abs(whole - numeric).max() > 1e-3 * np.abs(numeric).max()

    def test_a_layer_by_itself(self):
        layer = nl.GRU(2, 3, dtype="float64", seed=0)
        x = np.random.default_rng(0).standard_normal((8, 2, 2))
        y, end, tape = layer.forward(x)
        first, state, _ = layer.forward(x[:5])
        second, last, cut = layer.forward(x[5:], state)
        np.testing.assert_allclose(np.concatenate([first, second]), y, rtol=0, atol=1e-14)
        np.testing.assert_allclose(last.h, end.h, rtol=0, atol=1e-14)
        assert nl.check_gradients(layer, x[5:], state).passed
        dy = np.ones_like(y)
        np.testing.assert_allclose(layer.backward(cut, dy[5:])[0], layer.backward(tape, dy)[0][5:], rtol=0, atol=1e-13)


class TestMeasures:
    def test_the_score_of_a_stream(self, monkeypatch):
        model = fitted(num_layers=2)
        expected = log_likelihoods(model, IDS)
        monkeypatch.setattr(language_model, "STEPS", 5)  # several chunks
        assert model.score(IDS) == pytest.approx(expected.mean(), rel=1e-12)
        assert model.perplexity(IDS) == pytest.approx(np.exp(-expected.mean()), rel=1e-12)
        assert model.score(IDS.tolist()) == model.score(IDS)

    def test_the_score_of_sequences(self, monkeypatch):
        model = fitted()
        expected = np.concatenate([log_likelihoods(model, np.array(row)) for row in ROWS if len(row) > 1])
        monkeypatch.setattr(language_model, "STEPS", 4)
        monkeypatch.setattr(language_model, "ROWS", 2)
        assert model.score(ROWS) == pytest.approx(expected.mean(), rel=1e-12)

    def test_probabilities(self, monkeypatch):
        model = fitted()
        monkeypatch.setattr(language_model, "STEPS", 4)
        monkeypatch.setattr(language_model, "ROWS", 2)
        found = model.predict_proba(IDS)
        assert found.shape == (47, 5)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_allclose(np.log(found[np.arange(46), IDS[1:]]), log_likelihoods(model, IDS), rtol=1e-10)
        several = model.predict_proba(ROWS)
        assert [part.shape for part in several] == [(len(row), 5) for row in ROWS]
        for part, row in zip(several, ROWS, strict=True):
            np.testing.assert_allclose(part, model.predict_proba(row), rtol=1e-10)


class TestSamples:
    def test_a_seed_gives_the_same_ids(self):
        model = fitted(num_layers=2, embedding="random")
        a, b = (model.sample(30, seed=5) for _ in range(2))
        assert np.array_equal(a, b) and a.dtype == np.int64 and a.shape == (30,)
        assert not np.array_equal(a, model.sample(30, seed=6))
        assert np.array_equal(model.sample(30, prompt=[1, 2], seed=5)[:7], model.sample(7, prompt=[1, 2], seed=5))

    def test_what_is_refused_draws_nothing(self):
        model, state = fitted(), np.random.RandomState(0)  # noqa: NPY002
        for wrong, error in (({"prompt": [99]}, IndexError), ({"n": 2**60}, MemoryError)):
            with pytest.raises(error):
                model.sample(**{"n": 3, "seed": state, **wrong})
        assert state.randint(2**31) == np.random.RandomState(0).randint(2**31)  # noqa: NPY002

    def test_the_most_likely_id(self):
        model, ids = fitted(), [3, 1]
        for drawn in model.sample(12, prompt=ids, temperature=0):
            assert drawn == model.predict_proba(ids)[-1].argmax()
            ids.append(int(drawn))

    def test_a_prompt_is_read_in_parts(self, monkeypatch):
        """Of a long one, not the logits of all its ids are kept."""
        model, read = fitted(), []
        expected = model.predict_proba(IDS)[-1].argmax()
        monkeypatch.setattr(language_model, "STEPS", 10)
        predict = type(model.network_).predict

        def watched(self, ids, *arguments, **options):
            read.append(len(ids))
            return predict(self, ids, *arguments, **options)

        monkeypatch.setattr(type(model.network_), "predict", watched)
        assert model.sample(1, prompt=IDS, temperature=0) == [expected]
        assert read == [10, 10, 10, 10, 7]

    def test_at_the_least_temperatures_there_are_the_most_likely_id_comes(self):
        model = fitted()
        coldest = model.sample(12, prompt=[2, 4], temperature=0)
        for temperature in (1e-300, 5e-324):
            with np.errstate(all="raise"):
                found = model.sample(12, prompt=[2, 4], temperature=temperature, seed=0)
            assert np.array_equal(found, coldest)

    @pytest.mark.parametrize("temperature", [1.0, 0.5])
    def test_ids_are_drawn_by_their_probability(self, temperature):
        model = fitted(max_iter=30, learning_rate=0.05)
        rng = np.random.default_rng(0)
        drawn = [model.sample(1, prompt=[2, 4], temperature=temperature, seed=rng)[0] for _ in range(500)]
        p = model.predict_proba([2, 4])[-1] ** (1 / temperature)
        p /= p.sum()
        spread = np.sqrt(p * (1 - p) / 500)
        assert np.all(np.abs(np.bincount(drawn, minlength=5) / 500 - p) < 4.5 * spread)

    def test_every_id_is_drawn_by_its_probability(self):
        """Also the last and the rare ones: over all the random numbers there are, evenly spaced."""
        logits, evenly = np.array([0.0, 2.0, -1.0, 1.0, 1.5]), (np.arange(2000) + 0.5) / 2000
        for temperature in (1.0, 0.5):
            drawn = [language_model._drawn(logits, temperature, SimpleNamespace(random=lambda u=u: u)) for u in evenly]
            np.testing.assert_allclose(np.bincount(drawn) / 2000, softmax(logits / temperature), rtol=0, atol=1e-3)

    def test_what_follows_a_prompt_follows_its_last_id(self):
        model = fitted(max_iter=20, learning_rate=0.05)
        likely = model.predict_proba(IDS).argmax(axis=1)
        assert len({*likely}) > 2  # else another id's logits would do
        for length in range(1, 12):
            assert model.sample(1, prompt=IDS[:length], temperature=0) == [likely[length - 1]]

    @walk("temperature", (0, 1))
    def test_nothing_is_drawn_once_the_state_has_overflowed(self, temperature):
        model = fitted(cell="rnn", activation="linear")
        model.network_.layers["recurrent"].params["U"][...] *= 1e100
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="the state has overflowed"):
            model.sample(30, prompt=[1, 2], temperature=temperature, seed=0)

    def test_the_first_id_is_drawn_by_how_often_it_was_met(self):
        model = fitted([4, 0, 4, 4] * 10)
        rng = np.random.default_rng(1)
        first = [model.sample(1, seed=rng)[0] for _ in range(400)]
        assert set(first) == {0, 4} and abs(first.count(4) / 400 - 0.75) < 0.1


class TestHabits:
    @pytest.mark.parametrize(
        "change",
        [lambda counts: counts[:-1], lambda counts: -counts, lambda counts: 0 * counts, lambda counts: counts[None],
         lambda counts: counts + 0.5],
        ids=["too few", "negative", "none", "of two axes", "floats"],
    )  # fmt: skip
    def test_counts_in_a_file_are_checked(self, change, tmp_path):
        model = nl.LanguageModel(hidden_size=3, max_iter=1, random_state=0).fit(np.arange(20) % 4)
        path = tmp_path / "model.safetensors"
        model.save(path)
        saved = read_checkpoint(path)
        write_checkpoint(path, saved._replace(fitted={**saved.fitted, "counts_": change(model.counts_)}))
        with pytest.raises(nl.CheckpointError, match="counts_ must be how often each of 4 ids was met"):
            nl.load(path)

    @pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), "file"])
    def test_copies_give_the_same_numbers(self, way, tmp_path):
        model = fitted(num_layers=2, dropout=0.2)
        if way == "file":
            model.save(tmp_path / "model.safetensors")
            same = nl.load(tmp_path / "model.safetensors")
        else:
            same = way(model)
        assert repr(same) == repr(model) and same.history_ == model.history_
        assert np.array_equal(same.predict_proba(IDS), model.predict_proba(IDS))
        assert np.array_equal(same.sample(9, seed=1), model.sample(9, seed=1))

    def test_arguments_are_kept_untouched(self):
        model = nl.LanguageModel(hidden_size=7, steps=3)
        assert nl.LanguageModel(**model.get_params()).get_params() == model.get_params()
        assert repr(model.set_params(cell="gru")) == "LanguageModel(cell='gru', hidden_size=7, steps=3)"

    def test_the_network_takes_one_id_of_each_stream_at_a_time(self):
        for embedding in ("one-hot", "random"):
            network = fitted(embedding=embedding).network_
            logits, _ = network.step(IDS[:2])
            np.testing.assert_array_equal(logits, network.predict(IDS[None, :2])[0][0])
            with pytest.raises(ValueError, match=r"^ids must have 1 axes, \(B,\), got .* shape \(1, 2\)"):
                network.step(IDS[None, :2])
            with pytest.raises(ValueError, match=r"^ids must have at least one sequence, got .* \(0,\)"):
                network.step(IDS[:0])
            assert re.fullmatch(r"LanguageNetwork\((embedding=.*, )?recurrent=LSTM\(.*\), dense=.*\)", repr(network))

    def test_nothing_before_fit(self):
        model = nl.LanguageModel()
        for call in (model.score, model.perplexity, model.predict_proba, model.sample):
            with pytest.raises(nl.NotFittedError, match="call fit first"):
                call(3)
