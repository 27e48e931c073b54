"""Every setting of the estimators that is wrong: refused by fit, before any work, by its name."""

import functools
import itertools

import numpy as np
import pytest
from models import EXAMPLES, SMALL, assert_unchanged, state
from table import walk

from numpylstm import (
    LSTM,
    EncoderDecoder,
    LanguageModel,
    Parameters,
    SequenceClassifier,
    SequenceRegressor,
    initializers,
    load,
)
from numpylstm.estimators import fitting
from numpylstm.estimators.sequence import SequenceEstimator
from numpylstm.estimators.settings import PLATEAU
from numpylstm.schedules import SCHEDULES

pytestmark = pytest.mark.nojit

SEQ2SEQ, CLASSIFIER = EXAMPLES["encoder-decoder"], EXAMPLES["classifier-ids"]

SETTINGS = [
    *(
        (name, value, error, "an integer >= 1")
        for name in ("hidden_size", "batch_size", "max_iter")
        for value, error in (
            (0, ValueError),
            (-3, ValueError),
            (2.0, TypeError),
            (True, TypeError),
            ("8", TypeError),
            (None, TypeError),
        )
    ),
    *(
        (name, value, error, "an integer >= 1")
        for name in ("vocab_size", "embedding_size")
        for value, error in ((0, ValueError), (2.5, TypeError), ("x", TypeError))
    ),
    *(
        (name, value, error, "must be")
        for name in ("learning_rate", "clip_norm")
        for value, error in (
            (0, ValueError),
            (-1.0, ValueError),
            (np.nan, ValueError),
            (np.inf, ValueError),
            ("1", TypeError),
            (True, TypeError),
        )
    ),
    ("learning_rate", None, TypeError, "a real number"),
    ("dropout", 1, ValueError, r"in \[0, 1\)"),
    ("dropout", -0.1, ValueError, r"in \[0, 1\)"),
    ("dropout", None, TypeError, "a real number"),
    ("tol", -1e-9, ValueError, "must be"),
    ("tol", None, TypeError, "must be"),
    ("tol", np.nan, ValueError, "must be"),
    *(
        (name, value, error, "must be one of")
        for name in ("cell", "activation", "schedule", "backend")
        for value, error in (("?", ValueError), (None, TypeError), (3, TypeError))
    ),
    ("schedule", lambda step: 1.0, TypeError, r"must be a function of \(step, total\), got <function"),
    ("initializer", 3, TypeError, "must be None or a function, got 3"),
    ("initializer", lambda: None, TypeError, r"must be a function of \(network\), got <function"),
    ("embedding", "onehot", ValueError, "'one-hot', 'random'"),
    ("embedding", [[1.0]], TypeError, "'one-hot', 'random'"),
    ("embedding", np.ones(5), ValueError, r"shape \(V, E\)"),
    ("embedding", np.ones((5, 0)), ValueError, "nothing empty"),
    ("embedding", np.full((5, 2), np.nan), ValueError, "finite"),
    ("embedding", np.full((5, 2), 1e300), ValueError, "fit into float32"),
    ("embedding", np.ones((5, 2), complex), TypeError, "numbers"),
    ("dtype", "float16", ValueError, "float32 or float64"),
    ("dtype", "complex128", ValueError, "float32 or float64"),
    ("dtype", None, ValueError, "float32 or float64"),
    ("dtype", "number", TypeError, "float32 or float64"),
    ("random_state", -1, ValueError, "an integer >= 0"),
    ("random_state", 1.5, TypeError, "an integer >= 0"),
    ("random_state", "0", TypeError, "an integer >= 0"),
    ("verbose", -1, ValueError, "an integer >= 0"),
    ("verbose", "yes", TypeError, "an integer >= 0"),
]


@walk("example", ("encoder-decoder", "classifier-ids", "regressor-every"))
@pytest.mark.parametrize(("name", "value", "error", "message"), SETTINGS)
def test_wrong_settings(example, name, value, error, message):
    example = EXAMPLES[example]
    for model in (example.make(), example.fitted(max_iter=1, batch_size=10)):
        model.set_params(**{name: value})
        before = state(model)
        for method in (model.fit, model.partial_fit):
            with pytest.raises(error, match=f"^{name} .*{message}"):
                method(example.X, example.y)
            assert_unchanged(model, before)


def test_functions_that_cannot_be_called_as_they_will_be():
    """Before the first random number is drawn."""
    X, y = EXAMPLES["encoder-decoder"].X, EXAMPLES["encoder-decoder"].y
    rng = np.random.default_rng(0)
    before = str(rng.bit_generator.state)
    for settings, given, message in (
        ({"schedule": lambda step: 1.0}, {}, r"^schedule must be a function of \(step, total\), got"),
        ({"teacher_forcing": lambda: 1.0}, {}, r"^teacher_forcing must be a function of \(epoch, max_iter\), got"),
        ({}, {"callbacks": lambda: None}, r"^callbacks must be a function of \(epoch\), got"),
        ({}, {"callbacks": [print, lambda epoch, more: None]}, r"^callbacks must be a function of \(epoch\), got"),
    ):
        model = EncoderDecoder(**{**SMALL, "decoder_input": "previous", "random_state": rng, **settings})
        with pytest.raises(TypeError, match=message):
            model.fit(X, y, **given)
        assert str(rng.bit_generator.state) == before
    EncoderDecoder(**SMALL, schedule=min).fit(X, y, callbacks=print)  # min does not say what it takes, and is tried

    def handed(function):
        """Add an argument: what is called is not what it wraps."""
        return functools.wraps(function)(lambda *given: function([], *given))

    class Anything:
        """A proxy that has every attribute, a signature that is none among them."""

        def __call__(self, epoch):
            pass

        def __getattr__(self, name):
            return self

    class Static:
        @staticmethod
        def __call__(step, total):
            return 1.0

    class OfTheClass:
        @classmethod
        def __call__(cls, step, total):
            return 1.0

    class Partial:
        __call__ = staticmethod(functools.partial(lambda first, step, total: 1.0, None))

    class Plain:
        def __call__(self, step, total):
            return 1.0

    class Object:
        __call__ = Plain()

    for kind in (Static, OfTheClass, Partial, Plain, Object):
        EncoderDecoder(**SMALL, schedule=kind()).fit(X, y)
    added = handed(lambda log, step, total: 1.0)
    EncoderDecoder(**SMALL, schedule=added).fit(X, y, callbacks=[handed(lambda log, epoch: None), Anything()])


class TestInitializer:
    @walk("name", EXAMPLES)
    def test_training_begins_with_its_weights(self, name):
        example, seen = EXAMPLES[name], []

        def halve(network):
            network.parameters.values[...] *= 0.5
            seen.append(network)

        settings = {"learning_rate": 1e-30, "max_iter": 1}
        plain, halved = example.fitted(**settings), example.make(**settings, initializer=halve)
        for train in (halved.fit, type(halved)(**halved.get_params()).partial_fit):
            model = train(example.X, example.y)
            assert seen.pop() is model.network_ and not seen
            values = model.network_.parameters.values
            np.testing.assert_allclose(values, 0.5 * plain.network_.parameters.values, rtol=1e-6, atol=1e-25)
        model.partial_fit(example.X, example.y)
        assert not seen  # called when the network is new, and then no more
        halved.fit(example.X, example.y)
        assert len(seen) == 1

    def test_an_initializer_by_layer(self):
        example = EXAMPLES["encoder-decoder"]
        model = example.make(
            learning_rate=1e-30, initializer=lambda network: initializers.chrono(network.layers["encoder"], 9, seed=0)
        ).fit(example.X, example.y)
        expected = LSTM(5, 4)
        initializers.chrono(expected, 9, seed=0)
        np.testing.assert_allclose(model.network_.layers["encoder"].params["b"], expected.params["b"], atol=1e-25)

    @walk("name", ("layers", "parameters"))
    def test_one_that_puts_other_layers_in_is_refused(self, name):
        example = EXAMPLES["regressor"]

        def replace(network):
            layers = {"recurrent": LSTM(2, 4), "dense": network.layers["dense"]}
            setattr(network, name, layers if name == "layers" else Parameters(*layers.values()))

        model = example.fitted().set_params(initializer=replace)
        before = state(model)
        with pytest.raises(TypeError, match="^initializer must leave the network its layers and parameters, got"):
            model.fit(example.X, example.y)
        assert_unchanged(model, before)

    def test_one_that_raises_leaves_everything_as_it_was(self):
        example, rng = EXAMPLES["classifier-ids"], np.random.default_rng(0)
        before_draws = str(rng.bit_generator.state)

        def refuse(network):
            network.layers["recurrent"].params["W"] = 3

        for model in (example.make(), example.fitted()):
            model.set_params(initializer=refuse, random_state=rng)
            before = state(model)
            with pytest.raises(ValueError, match="^W must have shape"):
                model.fit(example.X, example.y)
            assert_unchanged(model, before)
            assert str(rng.bit_generator.state) == before_draws

    def test_a_file_has_none_and_a_resumed_fit_calls_none(self, tmp_path):
        example, seen = EXAMPLES["encoder-decoder"], []
        settings = {"max_iter": 4, "initializer": seen.append}
        whole = example.fitted(**settings)
        whole.save(tmp_path / "model")
        assert load(tmp_path / "model").initializer is None and len(seen) == 1
        path = tmp_path / "run"
        half = example.make(**settings)
        half.fit(example.X, example.y, callbacks=lambda epoch: epoch.number == 2, checkpoint=path)
        with pytest.raises(ValueError, match="initializer must be what it was at the checkpoint, a function, got None"):
            example.make(max_iter=4).fit(example.X, example.y, resume=path)
        resumed = example.make(**settings).fit(example.X, example.y, resume=path)
        assert len(seen) == 2
        np.testing.assert_array_equal(resumed.network_.parameters.values, whole.network_.parameters.values)

    @walk("name", ("encoder-decoder", "classifier-ids", "regressor-every"))
    def test_parameters_made_of_its_layers_take_none_from_training(self, name):
        """In the initializer and in callbacks: the layers stay the network's, with the values they were given."""
        example, by_name, flat = EXAMPLES[name], {}, {}

        def start(network):
            for layer in network.layers.values():
                for key, array in layer.params.items():
                    layer.params[key] = np.linspace(-0.5, 0.5, array.size).reshape(array.shape)

        def joined(network):
            start(network)
            for layer in network.layers.values():
                Parameters(layer).values += 0

        def look(epoch):
            Parameters(*epoch.network.layers.values()).values += 0

        for found, initializer, callbacks in ((by_name, start, None), (flat, joined, look)):
            model = example.make(max_iter=3, clip_norm=0.1, initializer=initializer)
            model.fit(example.X, example.y, callbacks=callbacks)
            found.update(model.network_.named_arrays(), flat=model.network_.parameters.values)
        assert by_name.keys() == flat.keys()
        for key, array in by_name.items():
            np.testing.assert_array_equal(flat[key], array)

    def test_a_callback_that_joins_the_layers_and_is_interrupted(self):
        """The model keeps the best epoch, in the vector that its layers are views of."""
        example, kept = EXAMPLES["regressor"], []

        def callback(epoch):
            if epoch.number == 4:
                Parameters(*epoch.network.layers.values())
                raise KeyboardInterrupt

        settings = {"max_iter": 6, "early_stopping": True, "patience": 9, "learning_rate": 0.5}
        for callbacks in (lambda epoch: epoch.number == 4, callback):
            model = example.make(**settings)
            try:
                model.fit(example.X, example.y, validation_data=(example.X, -example.y), callbacks=callbacks)
            except KeyboardInterrupt:
                kept.append("interrupted")
            arrays = model.network_.named_arrays()
            assert all(np.shares_memory(array, model.network_.parameters.values) for array in arrays.values())
            kept.append(np.concatenate([array.ravel() for array in arrays.values()]))
        assert kept[1] == "interrupted"
        np.testing.assert_array_equal(kept[2], kept[0])

    def test_a_language_model_begins_with_another_ones_weights(self):
        ids = np.arange(60) % 5
        first = LanguageModel(hidden_size=4, max_iter=2, random_state=0, backend="numpy").fit(ids)

        def take(network):
            network.parameters.values = first.network_.parameters.values

        settings = {"hidden_size": 4, "max_iter": 1, "learning_rate": 1e-30, "random_state": 1, "backend": "numpy"}
        model = LanguageModel(**settings, initializer=take).fit(ids)
        np.testing.assert_array_equal(model.network_.parameters.values, first.network_.parameters.values)


@walk("name", ("encoder-decoder", "classifier-ids", "regressor"))
def test_wrong_settings_of_a_partial_fit(name):
    example = EXAMPLES[name]
    for model in (example.make(), example.fitted()):
        model.set_params(batch_size=0)
        before = state(model)
        with pytest.raises(ValueError, match="^batch_size must be an integer >= 1, got 0"):
            model.partial_fit(example.X, example.y)
        assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("kind", "value", "error"), [(SequenceClassifier, "all", ValueError), (SequenceRegressor, None, TypeError)]
)
def test_wrong_output(kind, value, error):
    with pytest.raises(error, match="^output must be one of 'last', 'every'"):
        kind(output=value).fit(CLASSIFIER.X, CLASSIFIER.y)


def test_a_table_of_another_vocabulary():
    with pytest.raises(ValueError, match="embedding must have vocab_size = 6 rows"):
        SEQ2SEQ.fitted(embedding=np.ones((5, 2)), vocab_size=6)
    with pytest.raises(IndexError, match=r"X must hold ids in \[0, 4\)"):
        SEQ2SEQ.fitted(embedding=np.ones((4, 2)))


def test_small_integers_of_numpy_do_what_integers_do():
    settings = {"batch_size": 100, "hidden_size": 100, "max_iter": 2, "bidirectional": True, "embedding": "random"}
    settings |= {"embedding_size": 100, "num_layers": 2}
    whole = SEQ2SEQ.fitted(**settings)
    small = {name: np.uint8(value) if type(value) is int else value for name, value in settings.items()}
    np.testing.assert_array_equal(SEQ2SEQ.fitted(**small).network_.parameters.values, whole.network_.parameters.values)


def test_a_schedule_is_told_the_number_of_steps():
    told = set()
    SEQ2SEQ.fitted(max_iter=np.uint8(52), batch_size=np.uint8(2), schedule=lambda step, total: told.add(total) or 0.0)
    assert told == {52 * -(-len(SEQ2SEQ.X) // 2)} and max(told) > 255


@walk("name, value, error", (("beam_size", 0, ValueError), ("beam_size", "3", TypeError), ("max_len", 2.5, TypeError)))
def test_settings_of_predictions_are_checked_again(name, value, error):
    model = SEQ2SEQ.fitted(max_iter=1).set_params(**{name: value})
    for call in (model.predict, lambda X: model.predict_n_best(X, 1), lambda X: model.score(X, SEQ2SEQ.y)):
        with pytest.raises(error, match=f"{name} must be an integer >= 1, got"):
            call(SEQ2SEQ.X)


@walk("kind", (EncoderDecoder, SequenceEstimator, LanguageModel))
def test_every_schedule_is_in_the_docstring(kind):
    told = f"{kind.__doc__} {kind.__init__.__doc__}"
    assert [name for name in (*SCHEDULES, PLATEAU) if f'"{name}"' not in told] == []


def test_what_a_schedule_returns_is_a_number():
    with pytest.raises(TypeError, match="what schedule returns must be a real number, got None"):
        SEQ2SEQ.make(schedule=lambda step, total: None).fit(SEQ2SEQ.X, SEQ2SEQ.y)
    with pytest.raises(ValueError, match=r"what schedule returns must be a finite number in \[0, inf\), got -0.5"):
        SEQ2SEQ.make(schedule=lambda step, total: -0.5).fit(SEQ2SEQ.X, SEQ2SEQ.y)


@walk("value, error", ((np.ones(3), TypeError), (True, TypeError), (1.5, ValueError)))
def test_what_a_function_of_teacher_forcing_returns_is_a_number(value, error):
    model = SEQ2SEQ.make(decoder_input="previous", teacher_forcing=lambda epoch, total: value)
    with pytest.raises(error, match="^what teacher_forcing returns must be a"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y)


@pytest.mark.parametrize("weights", [None, [1, 2] * 5], ids=["alike", "weighed"])
@pytest.mark.parametrize(("dtype", "far"), [("float32", 1e30), ("float64", 1e200)])
def test_a_loss_that_is_too_large_is_told_by_its_own_error(dtype, far, weights):
    """Not by NumPy's warning of the square."""
    regressor = EXAMPLES["regressor"]
    model = regressor.make(dtype=dtype)
    with pytest.raises(FloatingPointError, match="the loss is inf in epoch 1, batch 1"):
        model.fit(regressor.X, np.full(10, far), sample_weight=weights)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_wrong_number_of_threads_draws_nothing(method, monkeypatch):
    def wrong():
        raise ValueError("NUMPYLSTM_NUM_THREADS must be")

    monkeypatch.setattr(fitting, "get_num_threads", wrong)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="NUMPYLSTM_NUM_THREADS must be"):
        getattr(SEQ2SEQ.make(random_state=rng), method)(SEQ2SEQ.X, SEQ2SEQ.y)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_parameters_that_the_last_step_spoils():
    model = SEQ2SEQ.make(max_iter=1, batch_size=1000, learning_rate=1e300)
    with pytest.raises(FloatingPointError, match="the parameter .* is not finite after epoch 1"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y)
    assert not hasattr(model, "network_")


@walk("kind", (EncoderDecoder, SequenceClassifier, SequenceRegressor, LanguageModel))
def test_keywords_of_a_subclass_are_the_arguments_of_the_class_above(kind):
    class Own(kind):
        def __init__(self, *, extra="a", max_iter=7, **settings):
            super().__init__(max_iter=max_iter, **settings)
            self.extra = extra

    model = Own(hidden_size=3, extra="b")
    assert repr(model) == "Own(hidden_size=3, extra='b')"
    assert model.get_params() == {**kind(hidden_size=3, max_iter=7).get_params(), "extra": "b"}
    again = Own(**model.get_params()).set_params(hidden_size=5, extra="c")
    assert (again.hidden_size, again.max_iter, again.extra) == (5, 7, "c")
    with pytest.raises(ValueError, match="Own has no parameter 'settings', only .*hidden_size.*extra"):
        again.set_params(settings={})


@walk("kind", (EncoderDecoder, SequenceClassifier, SequenceRegressor))
def test_a_subclass_that_cannot_be_made_from_its_parameters_is_refused(kind):
    class Fixed(kind):
        def __init__(self, **settings):
            super().__init__(cell="gru", **settings)

    class Renamed(kind):
        def __init__(self, units=4, *rest, **settings):
            super().__init__(hidden_size=units, **settings)
            self.units = units

    example = next(example for example in EXAMPLES.values() if type(example.make()) is kind)
    for own in (Fixed(), Renamed()):
        message = f"{type(own).__name__} must take its parameters by name, for clone and load: .*multiple values"
        with pytest.raises(TypeError, match=message):
            own.fit(*example[2:])
        assert not hasattr(own, "network_")


@walk("kind", (EncoderDecoder, SequenceClassifier, SequenceRegressor))
def test_a_subclass_whose_parameters_make_another_estimator_is_refused(kind):
    class Positions(kind):
        def __init__(self, *settings):
            super().__init__(**dict(zip(("hidden_size", "max_iter"), settings, strict=False)))

    class Doubled(kind):
        def __init__(self, hidden_size=4, **settings):
            super().__init__(hidden_size=2 * hidden_size, **settings)

    class Mixin:
        def __init__(self, extra=1):
            self.extra = extra

    class Mixed(Mixin, kind):
        def __init__(self, extra=1, **settings):
            Mixin.__init__(self, extra)
            kind.__init__(self, **settings)

    example = next(example for example in EXAMPLES.values() if type(example.make()) is kind)
    for own, message in (
        (Positions(5, 1), "must take its parameters by name, for clone and load"),
        (Doubled(), r"must be made alike by its parameters, .* got hidden_size 16 \(int\) rather than 8"),
        (
            Doubled(np.int64(4)),
            r"must be made alike by its parameters, .* got hidden_size .*16.* rather than .*8.*int64",
        ),
        (Mixed(hidden_size=6), r"must be made alike by its parameters, .* got hidden_size .* rather than 6 \(int\)"),
    ):
        with pytest.raises(TypeError, match=f"{type(own).__name__} {message}"):
            own.fit(*example[2:])
        assert not hasattr(own, "network_")


@walk("kind", (EncoderDecoder, SequenceClassifier, SequenceRegressor))
def test_a_subclass_may_choose_and_check_as_it_is_made(kind):
    example = next(example for example in EXAMPLES.values() if type(example.make()) is kind)

    class Named(kind):
        def __init__(self, size="small"):
            if not isinstance(size, str):
                raise TypeError("size must be a name")
            super().__init__(hidden_size={"small": 3, "large": 5}[size], max_iter=1, backend="numpy")
            self.size = size

    class Mixin:
        def __init__(self, log, number):
            self.log, self.number = log, number

    numbers = itertools.count()

    class Made(Mixin, kind):
        """What it makes anew each time is no other estimator, and a mixin's attribute no parameter."""

        def __init__(self, rate=0.01):
            Mixin.__init__(self, [], next(numbers))
            schedule, rng = (lambda step, steps: rate), np.random.default_rng(0)
            kind.__init__(self, hidden_size=3, max_iter=1, backend="numpy", schedule=schedule, random_state=rng)
            self.rate, self.table = rate, np.arange(3)

        def fit(self, *data):
            self.log.append(1)
            return super().fit(*data)

        @property
        def patience(self):
            return len(self.log)

        @patience.setter
        def patience(self, number):
            pass

    assert Named("large").fit(*example[2:]).network_
    assert Made().fit(*example[2:]).fit(*example[2:]).log == [1, 1]
    with pytest.raises(TypeError, match=r"Named .*hidden_size 5 \(int\) rather than 3"):
        Named().set_params(size="large").fit(*example[2:])
    with pytest.raises(TypeError, match="Named .*: size must be a name"):
        Named().set_params(size=3).fit(*example[2:])
    bad = Named()
    bad.hidden_size = 4.5
    with pytest.raises(TypeError, match="hidden_size must be an integer"):
        bad.fit(*example[2:])
