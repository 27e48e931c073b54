"""The figures: that what is drawn is what was computed, in both styles, and what happens without matplotlib."""

import sys

import numpy as np
import pytest
from flow import error, flow
from table import Case, Row

from numpylstm import gradflow
from numpylstm.estimators import EncoderDecoder
from numpylstm.gradflow import looks, plots

matplotlib = pytest.importorskip("matplotlib")
FigureCanvasAgg = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg
MouseEvent = pytest.importorskip("matplotlib.backend_bases").MouseEvent

GATES = ("i", "f", "g", "o")
CASE = {"lstm": Case("lstm", (("activation", "tanh"),)), "rnn": Case("rnn", (("activation", "tanh"),))}


@pytest.fixture
def ax():
    with plots.style():
        figure, ax = plots.figure()
        yield ax
        assert ax.get_title(loc="left") and ax.get_xlabel() and ax.get_ylabel()
        draw(figure)


def draw(figure):
    """Draw every pixel, once: savefig would draw a second time, to lay the figure out."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    assert pixels.any()
    return pixels


def problem(cell="lstm"):
    return flow(Row(CASE[cell], "numpy", "float64"), 7, 2, 3, 4)


def norms(adjoint):
    return np.linalg.norm(adjoint.reshape(len(adjoint), -1), axis=1)


def drawn(ax):
    return {line.get_label(): np.asarray(line.get_ydata(), float) for line in ax.get_lines()}


def test_styles_differ_in_colours_alone():
    with plots.style():
        light = matplotlib.rcParams.copy()
    with plots.style(dark=True):
        dark = matplotlib.rcParams.copy()
    different = [name for name in light if light[name] != dark[name]]
    assert len(different) > 4 and all("color" in name for name in different)


def drawings():
    """Arguments of every function that draws, by its name."""
    given, rng = problem(), np.random.default_rng(0)
    found, sizes = gradflow.adjoints(*given), rng.uniform(1, 9, 5)
    return {
        "adjoint_norms": ({"lstm": found},),
        "attention": (rng.random((3, 2)), "ab", "abc"),
        "gate_heat_map": (found, GATES),
        "gate_histograms": (gradflow.gate_values(*given[:2]),),
        "lag_ledger": (gradflow.lag_ledger(*given), "U", GATES),
        "lyapunov": ({"rnn": sizes},),
        "path_split": (gradflow.path_split(*given),),
        "record": (np.array([0, 1]), rng.uniform(1, 9, (2, 5))),
        "seam": (gradflow.Seam(sizes, sizes, 2, None, None),),
        "singular_values": ({1: sizes},),
    }


@pytest.mark.parametrize("name", sorted({*plots.__all__} - {"figure", "style"}))
def test_every_drawing_has_the_same_marks_on_a_dark_page(name):
    """As much of each pixel is covered in either style, by other colours: what else is tested in one holds in both."""
    arguments, pixels = drawings()[name], []
    for dark in (False, True):
        with plots.style(dark=dark):
            figure, ax = plots.figure()
            figure.set_layout_engine("none")
            getattr(plots, name)(ax, *arguments)
            pixels.append(draw(figure))
    light, dark = pixels
    np.testing.assert_array_equal(light[..., 3], dark[..., 3])
    assert light[..., :3].sum() < dark[..., :3].sum()  # light ink


def test_adjoint_norms(ax):
    runs = {name: gradflow.adjoints(*problem(name)) for name in ("lstm", "rnn")}
    plots.adjoint_norms(ax, runs, relative=False)
    lines = drawn(ax)
    assert list(lines) == ["lstm, dL/dh", "lstm, dL/dc", "rnn, dL/dh"]
    assert error(lines["lstm, dL/dc"], norms(runs["lstm"].dc)) < 1e-12
    assert error(lines["rnn, dL/dh"], norms(runs["rnn"].dh)) < 1e-12
    assert ax.get_yscale() == "log"


def test_adjoint_norms_relative_to_the_last(ax):
    found = gradflow.adjoints(*problem("rnn"))
    plots.adjoint_norms(ax, {"rnn": found})
    (line,) = drawn(ax).values()
    assert error(line, norms(found.dh) / norms(found.dh)[-1]) < 1e-12


def test_adjoint_norms_relative_to_where_the_loss_ends(ax):
    layer, x, dy = problem("rnn")[:3]
    dy = 100 * dy
    dy[-2:] = 0
    found = gradflow.adjoints(layer, x, dy)
    plots.adjoint_norms(ax, {"rnn": found})
    (line,) = drawn(ax).values()
    assert error(line[:-2], norms(found.dh)[:-2] / norms(found.dh)[-3]) < 1e-12


def test_labels_without_an_order_are_refused(ax):
    found = gradflow.adjoints(*problem("lstm"))
    with pytest.raises(TypeError, match="gates must be a sequence of labels, got"):
        plots.gate_heat_map(ax, found, set("ifgo"))
    plots.gate_heat_map(ax, found, dict.fromkeys("ifgo").keys())
    assert [label.get_text() for label in ax.get_yticklabels()] == list("ifgo")


def test_adjoint_norms_of_what_has_overflowed(ax):
    found = gradflow.adjoints(*problem("rnn"))
    dh = found.dh.copy()
    dh[-1] = np.inf
    plots.adjoint_norms(ax, {"rnn": found._replace(dh=dh)})  # a warning would be an error here
    (line,) = drawn(ax).values()
    assert np.isnan(line).all()  # inf over inf, and zeros, where a line ends


def test_adjoint_norms_relative_to_the_last_whatever_float32_holds(ax):
    found, sizes = gradflow.adjoints(*problem("rnn")), np.array([3e38, 1e38, 1e30, 1e10, 1, 1e-10, 1e-44, 1e-3])
    dh = np.repeat(sizes[:, None], 4, axis=1)[:, None].astype("float32")
    plots.adjoint_norms(ax, {"rnn": found._replace(dh=dh)})
    (line,) = drawn(ax).values()
    np.testing.assert_allclose(line, dh[:, 0, 0].astype(float) / dh[-1, 0, 0], rtol=1e-12)


@pytest.mark.parametrize("low", [5e-324, 1.0, 1e250])
@pytest.mark.parametrize("high", [1e200, 1e265, 1e290, 1.6e308])
def test_log_scales_up_to_the_largest_double(low, high):
    low, high = min(low, high), max(low, high)
    above, ax = plots.figure()
    plots.singular_values(ax, {1: np.array([high, low])})
    draw(above)
    bottom, top = ax.get_ylim()
    assert 0 < bottom <= low and high <= top < np.inf
    ticks = ax.get_yticks()
    assert (np.count_nonzero((bottom <= ticks) & (ticks <= top)) >= 2) and np.isfinite(ticks).all()
    figure, beside = plots.figure()
    plots.record(beside, np.array([0, 1]), np.array([[low, high]] * 2))
    draw(figure)


@pytest.mark.parametrize("values", [[1e308], [1.5e308], [np.inf, 1.5e308, 0]], ids=str)
def test_log_scales_of_values_that_leave_no_room_above(values):
    figure, ax = plots.figure()
    plots.singular_values(ax, {k: np.array([value]) for k, value in enumerate(values, 1)})
    draw(figure)
    bottom, top = ax.get_ylim()
    assert 0 < bottom < 0.999 * max(value for value in values if value < np.inf) < top < np.inf


def test_gate_heat_map(ax):
    found = gradflow.adjoints(*problem())
    plots.gate_heat_map(ax, found, GATES)
    image = ax.get_images()[0].get_array()
    assert image.shape == (4, 7)
    assert image[1, 2] == pytest.approx(np.linalg.norm(found.dgates[2, :, 1]))


def test_each_gate_s_row_is_beside_its_name_wherever_the_user_puts_an_image_s_origin(ax):
    found = gradflow.adjoints(*problem())
    with matplotlib.rc_context({"image.origin": "lower"}):
        plots.gate_heat_map(ax, found, GATES)
    places = ax.transData.transform([(3, row) for row in ax.get_yticks()])
    there = [MouseEvent("motion_notify_event", ax.figure.canvas, *place) for place in places]
    shown = [float(ax.images[0].get_cursor_data(event)) for event in there]
    assert [label.get_text() for label in ax.get_yticklabels()] == [*GATES]
    assert shown == pytest.approx([np.linalg.norm(found.dgates[2, :, k]) for k in range(len(GATES))])


@pytest.mark.parametrize("size", [1e-30, 1e-44, 1e38, 3e38])
def test_gate_heat_map_of_values_whose_squares_are_no_float32(ax, size):
    found = gradflow.adjoints(*problem())
    plots.gate_heat_map(ax, found._replace(dgates=np.full_like(found.dgates, size, "float32")), GATES)
    image = ax.get_images()[0].get_array()
    assert not np.ma.getmaskarray(image).any()
    np.testing.assert_allclose(image, np.sqrt(2 * 4) * float(np.float32(size)), rtol=0.02 if size == 1e-44 else 1e-6)


def test_what_is_not_finite_stays_empty(ax):
    sizes = np.array([[1.0, np.inf, 0.0], [np.nan, 2.0, -np.inf]])
    plots.record(ax, np.array([0, 1]), sizes)
    drawn = ax.collections[0]
    np.testing.assert_array_equal(drawn.get_array().mask, [[False, True], [True, False], [True, True]])
    assert drawn.get_clim() == (1, 2)


def test_singular_values(ax):
    spectra = {k: gradflow.product_spectrum(*problem()[:2], t=k).singular_values[0] for k in (1, 7)}
    plots.singular_values(ax, spectra)
    assert error(drawn(ax)["7"], spectra[7]) < 1e-12


def test_lyapunov(ax):
    spectrum = np.array([0.1, -0.2, -np.inf])
    plots.lyapunov(ax, {"rnn": spectrum})
    line = drawn(ax)["rnn"]
    assert (line[:2] == spectrum[:2]).all() and np.isnan(line[2])


def test_lag_ledger(ax):
    found = gradflow.lag_ledger(*problem())
    plots.lag_ledger(ax, found, "U", GATES)
    assert error(drawn(ax)["all of U"], found.norm["U"]) == 0
    assert error(drawn(ax)["f"], found.gate_norm["U"][:, 1]) == 0


def test_lag_ledger_of_a_window(ax):
    plots.lag_ledger(ax, gradflow.lag_ledger(*problem(), window=(2, 6)), "U", GATES)
    assert all((line.get_xdata() == [2, 3, 4, 5]).all() for line in ax.get_lines())


def test_gate_histograms(ax):
    plots.gate_histograms(ax, gradflow.gate_values(*problem()[:2]))
    assert [patch.get_label() for patch in ax.patches] == list(GATES)
    assert all(patch.get_data().values.sum() == pytest.approx(1) for patch in ax.patches)


def test_gate_histograms_leave_out_what_is_not_finite(ax):
    plots.gate_histograms(ax, {"f": np.array([0.5, 2.0, np.inf, np.nan])})
    assert ax.patches[0].get_data().values.sum() == 0.5
    assert ax.get_xlim() == (0, 2)


@pytest.mark.parametrize("dtype, size", [("float32", 3e38), ("float64", 1e300)])
def test_gate_histograms_of_an_exploding_net(ax, dtype, size):
    values = np.array([-size, 0, 0, size, size], dtype)
    plots.gate_histograms(ax, {"h": np.append(values, dtype == "float64" and 1.7e308)})
    shares = ax.patches[0].get_data().values
    assert shares[0] == shares[20] / (2 if dtype == "float64" else 3) == shares[-1] / 2 == pytest.approx(1 / 6)


def test_path_split(ax):
    found = gradflow.path_split(*problem())
    plots.path_split(ax, found)
    assert error(drawn(ax)["highway"], norms(found.highway)) < 1e-12
    assert np.isnan(drawn(ax)["through h"][-1])  # exactly 0 at the last step: a gap, not a number


def dots(ax):
    """How many points each line shows as a dot, besides what it connects."""
    return {line.get_label(): np.sum(line.get_markevery() or 0) for line in ax.get_lines()}


def test_a_point_between_gaps_is_a_dot(ax):
    layer, x, dy = problem("rnn")[:3]
    plots.path_split(ax, gradflow.path_split(layer, x, np.r_[0 * dy[:-1], dy[-1:]]))
    assert dots(ax) == {"highway": 1, "through h": 0}  # an RNN's highway ends where it begins
    ax.clear()
    plots.lag_ledger(ax, gradflow.lag_ledger(*problem(), window=(0, 1)), "W", GATES)
    assert set(dots(ax).values()) == {1}
    ax.clear()
    found = gradflow.adjoints(layer, x, dy)
    plots.adjoint_norms(ax, {"some": found._replace(dh=found.dh * (np.arange(len(found.dh)) % 4 != 2)[:, None, None])})
    assert dots(ax) == {"some, dL/dh": 1}


def test_many_lines_leave_the_axes_their_room_and_differ(ax):
    plots.lyapunov(ax, {f"net {n}": np.full(3, float(n)) for n in range(25)})
    ax.figure.draw_without_rendering()
    assert ax.get_position().height > 0.7
    assert len({(line.get_color(), line.get_linestyle(), str(line._dash_pattern)) for line in ax.get_lines()}) == 26


def test_every_line_of_several_runs_has_a_style_of_its_own(ax):
    """In black and white, too; with so many that styles come again, they have another colour."""
    layer, x, dy = problem("lstm")[:3]
    found = gradflow.adjoints(layer, x, dy)
    plots.adjoint_norms(ax, {f"run {n}": found for n in range(3)})
    assert len({str(line._dash_pattern) for line in ax.get_lines()}) == 6
    ax.clear()
    plots.adjoint_norms(ax, {f"run {n}": found for n in range(10)})
    assert len({(line.get_color(), str(line._dash_pattern)) for line in ax.get_lines()}) == 20


def test_a_figure_without_a_value_says_so(ax):
    layer, x, dy = problem("lstm")[:3]
    nothing = gradflow.adjoints(layer, x, 0 * dy)

    def texts():
        return [text.get_text() for text in ax.texts]

    plots.adjoint_norms(ax, {"none": nothing})
    assert texts() == ["no value to draw"]
    ax.clear()
    plots.lyapunov(ax, {"gone": np.full(2, -np.inf)})
    assert texts() == ["no value to draw"]
    ax.clear()
    plots.gate_heat_map(ax, nothing, tuple("ifgo"))
    assert texts() == ["no value to draw"]
    ax.clear()
    plots.gate_histograms(ax, {"i": np.full(2, np.nan)})
    assert texts() == ["no value to draw"]
    ax.clear()
    plots.gate_heat_map(ax, gradflow.adjoints(layer, x, dy), tuple("ifgo"))
    assert not texts()
    plots.adjoint_norms(ax, {"none": nothing, "some": gradflow.adjoints(layer, x, dy)})
    assert not texts()


def test_seam(ax):
    X = np.random.default_rng(0).integers(0, 5, (6, 4))
    model = EncoderDecoder(hidden_size=3, max_iter=1, random_state=0).fit(X, X[:, :2])
    found = gradflow.seam(model, X, X[:, :2])
    plots.seam(ax, found)
    assert error(drawn(ax)["dL/dh"], found.dh.astype(float)) == 0
    assert (drawn(ax)["encoder | decoder"] == [0, 1]).all()
    assert ax.get_yscale() == "log" and set(ax.get_lines()[-1].get_xdata()) == {found.source_steps}


@pytest.mark.parametrize("iterations", [[0], [0, 100, 300]])
def test_record(ax, iterations):
    plots.record(ax, np.array(iterations), np.full((len(iterations), 5), 2.0))
    assert ax.collections[0].get_array().shape == (5, len(iterations))


def test_attention(ax):
    weights = np.array([[0.75, 0.25, 0.0], [0.0, 0.5, 0.5]], "float32")
    plots.attention(ax, weights, "abc", [7, 8])
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), weights)
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["7", "8"]
    labels = ax.get_xticklabels() + ax.get_yticklabels()
    assert {label.get_fontsize() for label in labels} == {ax.xaxis.label.get_fontsize()}  # few are not made smaller
    assert {label.get_rotation() for label in labels} == {0}
    assert [beside.get_ylabel() for beside in ax.figure.axes] == ["target", "weight"]


def test_one_long_symbol_turns_all(ax):
    plots.attention(ax, np.full((9, 9), 0.5), [*"abcdefgh", "internationalisation"], [*"abcdefgh", "i18n"])
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {90}
    assert {label.get_rotation() for label in ax.get_yticklabels()} == {0}


@pytest.mark.parametrize("words", [list("abcdefgh") * 9, ["internationalisation"] * 12, ["$x$", r"$\no$", "_", "^"]])
def test_attention_s_symbols_stand_as_they_are_and_apart(ax, words):
    plots.attention(ax, np.full((len(words), len(words)), 0.5), words, words)
    ax.figure.draw_without_rendering()
    for labels, end in ((ax.get_xticklabels(), "x1"), (ax.get_yticklabels()[::-1], "y1")):
        assert sorted(label.get_text() for label in labels) == sorted(words)
        boxes = [label.get_window_extent() for label in labels]
        start = end.replace("1", "0")
        assert all(getattr(a, end) <= getattr(b, start) for a, b in zip(boxes, boxes[1:], strict=False))


def test_gates_that_are_not_finite_have_no_place(ax):
    plots.gate_histograms(ax, {"n": np.array([0.5, 2.0, np.inf, np.nan]), "none": np.full(1, np.nan)})
    assert [patch.get_data().values.sum() for patch in ax.patches] == [0.5, 0] and ax.get_xlim() == (0, 2)
    assert not ax.texts  # "no value to draw" stands where no gate has any
    ax.clear()
    plots.gate_histograms(ax, {"none": np.full(1, np.nan), "n": np.full(2, np.inf)})
    assert [text.get_text() for text in ax.texts] == ["no value to draw"]


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_nothing_to_draw_is_empty_rather_than_an_error(ax, value):
    plots.record(ax, np.array([0, 1]), np.full((2, 5), value))
    assert ax.collections[0].get_array().mask.all()


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
@pytest.mark.parametrize("c", [False, True])
def test_a_seam_with_nothing_to_draw(ax, value, c):
    sizes = np.full(5, value)
    plots.seam(ax, gradflow.Seam(sizes, sizes if c else None, 2, None, None))
    assert not any(np.isfinite(line).any() for label, line in drawn(ax).items() if label != "encoder | decoder")


def test_norms_beyond_float32(ax):
    found = gradflow.path_split(*problem())
    large = np.full(found.highway.shape, 3e38, "float32")
    plots.path_split(ax, found._replace(highway=large))
    np.testing.assert_allclose(drawn(ax)["highway"], 3e38 * np.sqrt(large[0].size), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_gates_with_nothing_to_draw(ax, value):
    found = gradflow.adjoints(*problem())
    with np.errstate(invalid="ignore"):
        plots.gate_heat_map(ax, found._replace(dgates=np.full_like(found.dgates, value)), GATES)
    assert ax.get_images()[0].get_array().mask.all()


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (plots.style, plots.figure):
        with pytest.raises(ImportError, match=r"plots need matplotlib: pip install 'numpylstm\[study\]'"):
            call()


def test_cells_are_drawn_around_their_centres():
    assert looks.edges_of([3]).tolist() == [2.5, 3.5]
    assert looks.edges_of([0, 10]).tolist() == [-5, 5, 15]
    assert looks.edges_of([0, 10, 12]).tolist() == [-5, 5, 11, 13]
