"""The report: that the page stands alone, that its numbers are those of the library, and what it says of them."""

import csv
import errno
import functools
import os
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest

from numpylstm import gradflow, initializers
from numpylstm.gradflow import looks, plots
from numpylstm.gradflow.report import drawing, maps, states, words, write
from numpylstm.gradflow.report.figure import Figure
from numpylstm.gradflow.report.study import build, make
from numpylstm.gradflow.report.write import FIGURES
from numpylstm.kernels import host

FigureCanvasAgg = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg

NAMES = ["fade", "immediate", "gates", "singular-values", "lyapunov", "lags", "histograms", "paths"]
VOID = {"meta", "link", "input", "br", "img", "hr"}
TINY = {"steps": 4, "hidden_size": 3}


def zero(*names):
    """Return what sets these parameters of a layer to zero."""

    def change(layer):
        for name in set(names) & set(layer.params):
            layer.params[name] = np.zeros_like(layer.params[name])

    return change


EXTREMES = {  # what is done to every layer, and what the page says then, by figure
    "no U": (
        zero("U"),
        [
            ("fade", "RNN: |dL/dh| is 0 at all steps but one; of |dL/dh| nothing is left at the first state."),
            ("fade", "Longest in the LSTM: |dL/dc| falls to 1/e"),
            ("fade", "the RNN's at every state before the last"),
            ("lyapunov", "RNN: at some step nothing is left of any change."),
            ("lyapunov", "0 of 6 are positive, 3 are finite, for at some step nothing is left of all other changes."),
            ("paths", "the highway is the larger at 20 of the 20 states at which there is any gradient"),
        ],
    ),
    "no parameters": (zero("W", "U", "b", "b_n"), [("lags", "The gradient of U is 0")]),
    "vanished": (
        lambda layer: initializers.orthogonal(layer, 1e-30, seed=0),
        [
            ("fade", "RNN: |dL/dh| falls to 1/e every 0.014 steps"),
            ("fade", "; of |dL/dh| nothing is left at the first state"),
        ],
    ),
    "exploded": (
        lambda layer: initializers.orthogonal(layer, 8.0, seed=0),
        [("fade", "; at the first state |dL/dh| is "), ("lyapunov", "growth by e in ")],
    ),
}


class Page(HTMLParser):
    """What the tests ask of a page: its elements with their attributes, whether they nest, the text by section."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.sections = [], [], {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.section = self.sections.setdefault(dict(attrs)["id"], {})
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in {"h2", "figcaption", "math", "svg"} & set(self.open):
            if "section" in self.open:
                self.section[tag] = self.section.get(tag, "") + data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small report of each kind of task: its page, its folder, its files."""
    folder = tmp_path_factory.mktemp("report")
    return write(folder / "flow.html", cell="lstm", task="copy", **TINY)


@pytest.fixture(scope="module")
def page(written):
    return written[0].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study():
    """What the report above was made of, made again."""
    return make("lstm", "copy", 4, 3, 0, 0, ("rnn", "gru", "lstm"), lambda doing: None)


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the drawings, which take most of the time, where a test is about the rest."""
    monkeypatch.setattr("numpylstm.gradflow.report.page.svg", lambda *arguments: "")


def numbers(written, name):
    """The .npz of a figure, once it is known that the .csv holds the same."""
    arrays = dict(np.load(written[0].with_name(f"flow-{name}.npz")))
    with open(written[0].with_name(f"flow-{name}.csv"), newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == list(arrays) and len(rows) == max(map(len, arrays.values()))
    for column, values in zip(zip(*rows, strict=True), arrays.values(), strict=True):
        read = [float(text) if text else np.nan for text in column]
        padded = np.append(values.astype(float), [np.nan] * (len(rows) - len(values)))
        np.testing.assert_array_equal(read, padded)
    return arrays


def norms(adjoint):
    return np.linalg.norm(adjoint.reshape(len(adjoint), -1), axis=1)


class TestPage:
    def test_files(self, written):
        names = [file.name for file in written]
        assert names == ["flow.html"] + [f"flow-{name}.{kind}" for name in NAMES for kind in ("csv", "npz")]
        assert {file.name for file in written[0].parent.iterdir()} == set(names)

    def test_it_loads_nothing(self, page):
        assert not re.search(r"https?:|//|@import|url\((?!#)", re.sub(r'"data:[^"]*"', "", page))
        for tag, attributes in Page(page).elements:
            assert tag not in ("script", "iframe", "object", "embed", "img", "video", "audio", "source")
            assert not any(name.startswith("on") for name in attributes)
            where = attributes.get("href", attributes.get("src"))
            assert where is None or tag == "a" or where.startswith(("#", "data:"))

    def test_the_numbers_of_an_earlier_page_go_with_it(self, tmp_path, undrawn):
        write(tmp_path / "flow.html", cell="lstm", compare=(), **TINY)
        assert (tmp_path / "flow-paths.csv").exists()
        (tmp_path / "flow-notes.csv").write_text("mine")
        files = write(tmp_path / "flow.html", cell="rnn", compare=(), **TINY)  # has one path: no such figure
        assert {*tmp_path.iterdir()} == {*files, tmp_path / "flow-notes.csv"}

    def test_a_full_disk_leaves_the_old_report(self, tmp_path, undrawn, monkeypatch):
        files = write(tmp_path / "flow.html", cell="rnn", task="noise", compare=(), **TINY)
        before = {file: file.read_bytes() for file in files}
        savez, saved = np.savez, []

        def full(file, **table):
            saved.append(file)
            if len(saved) == 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            savez(file, **table)

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "flow.html", cell="gru", task="noise", compare=(), **TINY)
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before

    def test_links_lead_to_the_files_beside_it(self, page, written):
        linked = [attributes["href"] for tag, attributes in Page(page).elements if tag == "a" and "href" in attributes]
        assert [href for href in linked if not href.startswith("#")] == [file.name for file in written[1:]]

    @pytest.mark.skipif(sys.platform != "linux", reason="not all of them are names of files elsewhere")
    @pytest.mark.parametrize("stem", ["run #1? 50%", "a:b", "日", b"\xe9"])
    def test_links_are_right_whatever_the_page_is_called(self, stem, tmp_path, undrawn):
        path = tmp_path / f"{os.fsdecode(stem)}.html"
        page, *files = write(path, cell="rnn", task="noise", compare=(), **TINY)
        elements = Page(page.read_text(encoding="utf-8")).elements
        links = [urlsplit(attributes["href"]) for tag, attributes in elements if tag == "a" and "href" in attributes]
        found = [unquote_to_bytes(link.path) for link in links if link.path or link.scheme]
        assert found == [os.fsencode(file.name) for file in files]

    def test_every_figure_has_drawing_headline_caption_and_formula(self, page):
        sections = Page(page).sections
        assert list(sections) == NAMES
        for name, parts in sections.items():
            assert parts["svg"].strip() and parts["h2"].strip() and parts["math"].strip()
            assert len(parts["figcaption"]) > 100
            assert page.count(f'id="{name}-wide-figure_1"') == page.count(f'id="{name}-narrow-figure_1"') == 1
            assert not re.search(r"\bnan\b|\bNone\b|∞|\{", parts["h2"] + parts["figcaption"])

    def test_letters_numbers_and_signs_of_a_formula_are_marked_as_such(self, page):
        for formula in re.findall(r"<math.*?</math>", page, re.DOTALL):
            assert not re.sub(r"<(mi|mn|mo)\b[^<>]*>[^<>]+</\1>|<[^<>]*>", "", formula).strip()
            assert not re.search(r"<(mi|mn|mo)\b[^<>]*></?[^/]", formula)

    def test_ids_are_unique_and_every_reference_has_its_target(self, page):
        ids = re.findall(r'\bid="([^"]*)"', page)
        assert len(ids) == len(set(ids))
        referred = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', page)
        assert {a or b for a, b in referred} <= set(ids)

    def test_colours_follow_the_style(self, page):
        assert "prefers-color-scheme: dark" in page
        drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
        assert "var(--ink)" in drawings and "var(--series-1)" in drawings
        assert not re.search(r"(?:fill|stroke): #", drawings)

    def test_every_colour_is_defined_in_both_styles(self, page):
        light, dark = re.search(r"<style>(.*?)prefers-color-scheme: dark(.*?)</style>", page, re.DOTALL).groups()
        used = set(re.findall(r"var\((--[\w-]+)\)", "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))))
        assert {"--ink", "--series-1", "--series-2"} <= used
        assert used <= set(re.findall(r"(--[\w-]+):", light)) and used <= set(re.findall(r"(--[\w-]+):", dark))

    def test_it_says_what_was_studied(self, page):
        text = re.sub(r"<[^>]*>", "", page)
        assert "at initialisation" in text and "Nothing has been trained" in text
        assert "copy memory, --steps 4 (T = 24)" in text
        assert "through 24 steps of an LSTM, beside RNN and GRU" in text
        assert "--cell=lstm --task=copy --steps=4 --hidden=3 --seed=0 --trained=0 --compare=rnn,gru,lstm" in text

    def test_the_same_call_gives_the_same_bytes(self, written, tmp_path):
        again = write(tmp_path / "flow.html", cell="lstm", task="copy", **TINY)
        assert again[0].read_bytes() == written[0].read_bytes()

    def test_a_drawing_that_fails_leaves_the_files_of_the_last_run(self, written, tmp_path, monkeypatch):
        def fail(*arguments):
            raise ValueError("cannot be drawn")

        before = {file.name: file.read_bytes() for file in written}
        for name, content in before.items():
            (tmp_path / name).write_bytes(content)
        monkeypatch.setattr("numpylstm.gradflow.report.page.svg", fail)
        with pytest.raises(ValueError, match="cannot be drawn"):
            write(tmp_path / "flow.html", cell="lstm", task="copy", **(TINY | {"steps": 5}))
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

    def test_two_steps_are_enough(self, tmp_path, undrawn):
        page = write(tmp_path / "a.html", cell="rnn", task="noise", steps=2, hidden_size=1, compare=())[0]
        assert "--task=noise --steps=2 --hidden=1" in page.read_text(encoding="utf-8")
        with pytest.raises(ValueError, match="steps must be at least 2 for the task 'noise', got 1"):
            write(tmp_path / "b.html", cell="rnn", task="noise", steps=1, hidden_size=1, compare=())

    @pytest.mark.parametrize("cell", ["rnn", "gru"])
    def test_the_other_cells_are_drawn(self, tmp_path, cell):
        files = write(tmp_path / "a.html", cell=cell, task="temporal-order", steps=10, hidden_size=1, compare=(cell,))
        sections = Page(files[0].read_text(encoding="utf-8")).sections
        assert list(sections) == [name for name in NAMES if name != "paths" or cell != "rnn"]
        assert all(parts["svg"].strip() for parts in sections.values())


class TestNumbers:
    """Every table against a direct call of the library."""

    def test_fade(self, written, page, study):
        table = numbers(written, "fade")
        for cell, label in (("rnn", "RNN"), ("gru", "GRU"), ("lstm", "LSTM")):
            layer, x, dy, state, dstate = study.subjects[cell].whole
            last = np.zeros_like(dy)
            last[-1] = dy[-1] * len(dy)  # the task's loss is a mean over the steps
            found = gradflow.adjoints(layer, x, last, state, dstate)
            np.testing.assert_allclose(table[f"{label} |dL/dh|"], norms(found.dh), rtol=1e-14)
            assert (f"{label} |dL/dc|" in table) == (cell == "lstm")
        np.testing.assert_allclose(table["LSTM |dL/dc|"], norms(found.dc), rtol=1e-14)
        assert table["steps_back"][0] == 24 and table["steps_back"][-1] == 0
        assert "least normal float32" not in re.sub(r"<[^>]*>", "", page)  # nothing here is near it

    def test_immediate(self, written, study):
        table, found = numbers(written, "immediate"), gradflow.adjoints(*study.chosen.whole)
        np.testing.assert_allclose(table["whole |dL/dh|"], norms(found.dh), rtol=1e-14)
        np.testing.assert_allclose(table["immediate |d+L/dh|"], norms(found.direct_dh), rtol=1e-14)

    def test_gates(self, written, study):
        table, found = numbers(written, "gates"), gradflow.adjoints(*study.chosen.last)
        for k, gate in enumerate("ifgo"):
            np.testing.assert_allclose(table[f"|dL/dp_{gate}|"], norms(found.dgates[:, :, k]), rtol=1e-14)

    def test_singular_values(self, written, study):
        table = numbers(written, "singular-values")
        layer, x = study.chosen.whole[:2]
        assert list(table) == ["rank", "1 step", "5 steps", "20 steps", "24 steps"]
        values = gradflow.product_spectrum(layer, x[:, :1], t=24, k=19).singular_values[0]
        shown = ~np.isnan(table["5 steps"])
        np.testing.assert_array_equal(table["5 steps"][shown], values[shown])
        assert (values[~shown] < 1e-14 * values[0]).all()

    def test_lyapunov(self, written, study):
        table = numbers(written, "lyapunov")
        layer, x = study.subjects["gru"].whole[:2]
        np.testing.assert_array_equal(table["GRU"], gradflow.lyapunov_spectrum(layer, x).mean(axis=0))
        assert [len(table[name]) for name in ("rank", "RNN", "LSTM")] == [6, 3, 6]

    def test_lags(self, written, study):
        table, found = numbers(written, "lags"), gradflow.lag_ledger(*study.chosen.whole)
        np.testing.assert_array_equal(table["|G|"], found.norm["U"])
        np.testing.assert_array_equal(table["cosine"], found.cosine["U"])
        np.testing.assert_array_equal(table["|G| of o"], found.gate_norm["U"][:, 3])

    def test_histograms(self, written, study):
        table, values = numbers(written, "histograms"), gradflow.gate_values(*study.chosen.whole[:2])
        inside = (values["f"] >= table["from"][30]) & (values["f"] < table["to"][30])
        assert table["f"][30] == inside.mean()
        assert all(table[gate].sum() == pytest.approx(1) for gate in "ifgo")

    def test_paths(self, written, study):
        table, found = numbers(written, "paths"), gradflow.path_split(*study.chosen.last)
        np.testing.assert_allclose(table["highway"], norms(found.highway), rtol=1e-14)
        np.testing.assert_allclose(table["through h"], norms(found.through_h), rtol=1e-14)


class TestLayout:
    """What stands where in a drawing, as matplotlib's own backend measures it."""

    @staticmethod
    def laid_out(figure, width):
        """A figure whose parts have their places; that it can be drawn, too, is tested above."""
        with plots.style():
            made = drawing.drawn(figure, width)
            made.get_layout_engine().execute(made)
        return made

    @staticmethod
    @functools.cache
    def figures(cell, steps, hidden_size):
        study = make(cell, "noise", steps, hidden_size, 0, 0, (cell,), lambda doing: None)
        return [figure for draw in FIGURES.values() if (figure := draw(study)) is not None]

    @pytest.mark.parametrize("width", [drawing.WIDE, drawing.NARROW], ids=["wide", "narrow"])
    @pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
    def test_labels_and_legends_are_within_the_drawing(self, cell, width):
        for figure in self.figures(cell, 210, 3):
            made = self.laid_out(figure, width)
            whole, page = made.get_tightbbox(), made.bbox_inches
            assert whole.x0 > -0.01 and whole.y0 > -0.01, figure.name
            assert whole.x1 < page.x1 + 0.01 and whole.y1 < page.y1 + 0.01, figure.name

    @pytest.mark.parametrize("width", [drawing.WIDE, drawing.NARROW], ids=["wide", "narrow"])
    def test_steps_lags_and_ranks_are_whole(self, width):
        figures = self.figures("lstm", 2, 1)
        assert [figure.name for figure in figures] == list(FIGURES)
        for figure in figures:
            ticks = [ax.get_xticks() for ax in self.laid_out(figure, width).axes if ax.get_label() != "<colorbar>"]
            assert figure.name == "histograms" or all((each == np.round(each)).all() for each in ticks), figure.name

    @pytest.mark.parametrize("cells", [("rnn",), ("rnn", "gru", "lstm")], ids=len)
    def test_a_rank_that_stands_alone_is_seen(self, cells):
        figure = maps.lyapunov(make("rnn", "noise", 3, 1, 0, 0, cells, lambda doing: None))
        (ax,) = self.laid_out(figure, drawing.WIDE).axes
        lines = {line.get_label(): line for line in ax.get_lines()}
        for cell in cells:
            line = lines[cell.upper()]
            assert not line.get_clip_on() and (line.get_marker() == "o") == (len(line.get_ydata()) == 1)
        low, high = ax.get_xlim()
        assert low <= 1 <= high

    @pytest.mark.parametrize(("cell", "gates"), [("rnn", ""), ("gru", "rzn"), ("lstm", "ifgo")])
    def test_the_ledger_has_a_line_for_each_of_several_gates(self, cell, gates):
        figure = maps.ledger(make(cell, "noise", 4, 2, 0, 0, (cell,), lambda doing: None))
        lines = self.laid_out(figure, drawing.WIDE).axes[0].get_lines()
        assert [line.get_label() for line in lines if len(line.get_label()) == 1] == [*gates]

    def test_where_nothing_is_left_no_cosine_is_drawn(self):
        figure = maps.ledger(make("rnn", "noise", 4, 1, 0, 0, ("rnn",), lambda doing: None))
        assert figure.table["|G|"][3] == figure.table["cosine"][3] == 0  # U meets the zero state
        cosine = self.laid_out(figure, drawing.WIDE).axes[1].get_lines()[0].get_ydata()
        np.testing.assert_array_equal(np.isnan(cosine), [False, False, False, True])


class TestAxes:
    """Log scales, of lines and of a colour bar, over all that double precision holds."""

    @staticmethod
    def lines(figure, sizes):
        none = dict.fromkeys(gradflow.Adjoints._fields)
        found = gradflow.Adjoints(**(none | {"dh": sizes[:, None, None]}))
        return plots.adjoint_norms(figure.subplots(), {"one": found}, relative=False).yaxis

    @staticmethod
    def image(figure, sizes):
        plots.record(figure.subplots(), np.arange(len(sizes)), np.stack([sizes] * 2, axis=1))
        return figure.axes[-1].yaxis  # the colour bar's

    @pytest.mark.parametrize("width", [drawing.WIDE, drawing.NARROW], ids=["wide", "narrow"])
    @pytest.mark.parametrize("high", [1.0, 1.7e308])
    @pytest.mark.parametrize("low", [1e-250, 1e-280, 1e-310, 5e-324])
    @pytest.mark.parametrize("kind", ["lines", "image"])
    def test_labels_are_right(self, kind, low, high, width):
        figure, sizes = looks.blank(width, 3), np.geomspace(low, high, 9)
        axis = getattr(self, kind)(figure, sizes)
        least, largest = axis.get_view_interval()
        assert least <= 1.01 * low and largest >= 0.4 * high
        drawing.tidy(axis.axes, narrow=width < 5)
        ticks = [tick for tick in axis.get_majorticklocs() if least <= tick <= largest]
        assert len(ticks) >= 4
        assert [axis.get_major_formatter()(tick) for tick in ticks] == [
            words.power_of_ten(round(np.log10(tick))) for tick in ticks
        ]
        figure.set_layout_engine("none")  # how such scales are laid out, test_gradflow_plots.py looks at
        FigureCanvasAgg(figure).draw()

    def test_a_colour_bar_ends_where_its_colours_do(self):
        axis = self.image(looks.blank(7, 4), np.array([0.11, 0.19]))
        drawing.tidy(axis.axes, narrow=False)
        np.testing.assert_allclose(axis.get_view_interval(), [0.11, 0.19])
        assert [axis.get_major_formatter()(tick) for tick in axis.get_majorticklocs()] == ["0.11", "0.19"]

    @pytest.mark.parametrize("low", [1e-322, 1e-310, 1e-5, 1e306])
    @pytest.mark.parametrize("kind", ["lines", "image"])
    def test_an_axis_of_one_power_of_ten(self, kind, low):
        draw = getattr(self, kind)
        drawn = Figure("a", "a", "a", "", lambda figure: draw(figure, np.array([low, 9 * low])), [], "", {})
        assert len(re.findall("10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+</text>", drawing.svg(drawn, drawing.WIDE, "wide"))) >= 2

    @pytest.mark.parametrize("low, high", [(0.021, 0.67), (0.014, 0.99), (2e-3, 0.15), (0.5, 40.0), (0.1, 4.0)])
    @pytest.mark.parametrize("width", [drawing.WIDE, drawing.NARROW], ids=["wide", "narrow"])
    @pytest.mark.parametrize("kind", ["lines", "image"])
    def test_a_scale_with_one_power_of_ten_within_it_has_more_ticks(self, kind, width, low, high):
        axis = getattr(self, kind)(looks.blank(width, 3), np.geomspace(low, high, 9))
        drawing.tidy(axis.axes, narrow=width < 5)
        least, largest = axis.get_view_interval()
        ticks = [tick for tick in axis.get_majorticklocs() if least <= tick <= largest]
        labels = [axis.get_major_formatter()(tick) for tick in ticks]
        assert len(ticks) >= 2 and len({*labels}) == len(labels) and all(labels)


class TestWords:
    def test_the_sentences_hold_the_numbers(self, written, page, study):
        caption = Page(page).sections["fade"]["figcaption"]
        memory = gradflow.memory_time(*study.subjects["rnn"].last)
        rate = np.exp(-1 / memory.e_folding_h)
        assert f"RNN: |dL/dh| falls to 1/e every {memory.e_folding_h:.1f} steps (×{rate:.3f} a step)" in caption

    @pytest.mark.parametrize(("task", "needed"), [("echo", 11), ("copy", 22), ("adding", 6), ("temporal-order", 9)])
    def test_the_lag_of_the_task_is_where_u_passes_its_input_on(self, task, needed):
        figure = maps.ledger(make("gru", task, 12, 3, 0, 0, ("gru",), lambda doing: None))
        sizes = figure.table["|G|"]
        said = f"over {needed} steps at least; the first use of U that passes its input on is at lag {needed - 1}"
        assert (
            f"{said}: there |G| is {words.number(sizes[needed - 1] / sizes.max())} of its largest."
            in figure.caption[-1]
        )

    @pytest.mark.parametrize(("units", "told"), [(1, "(1 number)"), (3, "(3 numbers)")])
    def test_one_number_is_no_numbers(self, units, told):
        study = make("rnn", "noise", 3, units, 0, 0, ("rnn",), lambda doing: None)
        assert told in maps.singular(study).caption[0]

    @pytest.mark.parametrize(
        ("cosines", "said"),
        [
            ([1, 0.5, 1, 1], "No lag points away from the whole."),
            ([1, -0.5, 1, 1], "1 of 4 lags points away from the whole."),
            ([1, -0.5, -1, 1], "2 of 4 lags point away from the whole."),
        ],
    )
    def test_lags_that_pull_the_other_way(self, cosines, said):
        assert maps.against(np.array(cosines)) == said

    def test_where_float32_ends_is_said(self, tmp_path, undrawn):
        write(tmp_path / "a.html", cell="rnn", task="noise", steps=400, hidden_size=2, compare=(), seed=3)
        caption = Page((tmp_path / "a.html").read_text(encoding="utf-8")).sections["fade"]["figcaption"]
        network = make("rnn", "noise", 400, 2, 3, 0, ("rnn",), lambda doing: None).chosen
        layer, x, _, _, dstate = network.last
        single = layer.cast("float32", "numba")
        dh = gradflow.adjoints(single, x.astype("float32"), None, None, (dstate[0].astype("float32"),)).dh
        last = np.flatnonzero((dh == 0).all(axis=(1, 2)))[-1]
        assert f"exactly 0 and nothing is learnt there: the RNN's more than {399 - last} steps back." in caption

    def test_a_subnormal_entry_of_dc_is_counted(self):
        study = make("lstm", "echo", 220, 2, 5, 0, ("lstm",), lambda doing: None)
        counts = study.chosen.census.reference
        assert (counts.subnormal_dh.sum(), counts.subnormal_dc.sum()) == (0, 1)
        assert states.sentence_of_float32(study).endswith(", but 1 entry of the LSTM's is subnormal.")

    @pytest.mark.parametrize(
        ("highway", "rest", "headline", "said"),
        [
            (
                [6, 1, 1, 1, 1],
                [2, 9, 2, 2, 2],
                "Most of the {}'s gradient goes through h",
                "1 of 5 states; {highway} 3",
            ),
            ([1, 3, 3, 1, 1], [2, 2, 2, 2, 2], "Most of the {}'s gradient goes through h", "2 of 5 states; {rest} 2"),
            ([1, 3, 3, 3, 1], [5, 2, 2, 2, 2], "The {}'s gradient travels by the highway", "3 of 5 states; {rest} 5"),
            (
                [6, 3, 3, 0, 0],
                [2, 2, 2, 0, 0],
                "The {}'s gradient travels by the highway",
                "3 of the 3 states at which",
            ),
        ],
    )
    @pytest.mark.parametrize("cell", ["gru", "lstm"])
    def test_the_larger_of_two_ways(self, cell, highway, rest, headline, said, monkeypatch):
        found = gradflow.PathSplit(*(np.array(part, float)[:, None, None] for part in (highway, rest)))
        monkeypatch.setattr(states, "path_split", lambda *arguments: found)
        figure = states.paths(make(cell, "noise", 4, 1, 0, 0, (cell,), lambda doing: None))
        ways = {
            "highway": "at the first state the highway carries",
            "rest": "at the first state the way through h carries",
        }
        assert figure.headline.startswith(headline.format(cell.upper()))
        assert said.format(**ways) in figure.caption[1]

    def test_directions_of_more_than_a_hundredth(self, monkeypatch):
        found = gradflow.product_spectrum(
            *make("rnn", "noise", 4, 3, 0, 0, ("rnn",), lambda doing: None).chosen.whole[:2]
        )
        found = found._replace(singular_values=np.array([[2.0, 0.0201, 0.0199]]))
        monkeypatch.setattr(maps, "product_spectrum", lambda *arguments, **options: found)
        figure = maps.singular(make("rnn", "noise", 4, 3, 0, 0, ("rnn",), lambda doing: None))
        assert "Directions of more than a hundredth of the largest: 2 over 1 step and 2 over" in figure.caption[2]

    def test_two_ways_that_cancel_are_not_compared(self):
        study = make("gru", "temporal-order", 300, 1, 0, 0, ("gru",), lambda doing: None)
        found = gradflow.path_split(*study.chosen.last)
        assert norms(found.highway + found.through_h)[0] < 1e-9 * norms(found.highway)[0]
        assert states.paths(study).headline == "The two ways of the GRU's gradient all but cancel"

    @pytest.mark.skipif(host.ISA == "plain", reason="plain loops do not flush subnormal numbers to zero")
    def test_where_c_has_a_gradient_something_is_learnt(self):
        subject = make("lstm", "echo", 800, 4, 1, 0, ("lstm",), lambda doing: None).chosen
        counts, step = subject.census.trained, states.silent(subject)
        dead = [zeros == subject.adjoints.dh[0].size for zeros in (counts.zero_dh, counts.zero_dc)]
        assert dead[0][step] and dead[1][step] and dead[0][step + 1] and not dead[1][step + 1]

    @pytest.mark.parametrize("cell", ["rnn", "lstm"])
    @pytest.mark.parametrize(("change", "told"), EXTREMES.values(), ids=list(EXTREMES))
    def test_vanished_and_exploded_runs(self, tmp_path, monkeypatch, undrawn, change, told, cell):
        def changed(*arguments):
            network = build(*arguments)
            change(network.layers["recurrent"])
            return network

        monkeypatch.setattr("numpylstm.gradflow.report.study.build", changed)
        write(tmp_path / "a.html", cell=cell, task="echo", steps=20, hidden_size=3)
        sections = Page((tmp_path / "a.html").read_text(encoding="utf-8")).sections
        said = {name: parts["h2"] + parts["figcaption"] for name, parts in sections.items()}
        for text in said.values():
            assert not re.search(r"\bnan\b|∞|– a step|\b0 times|is 0 of|than 0 steps", text)
        for name, part in told:
            assert part in said[name]

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0"),
            (3.21e-9, "3.2 × 10⁻⁹"),
            (-0.5, "−0.50"),
            (0.0361, "0.036"),
            (0.00321, "0.0032"),
            (3.21e-4, "3.2 × 10⁻⁴"),
            (123_456.0, "120,000"),
            (1.23e6, "1.2 × 10⁶"),
            (9.96, "10"),
            (1234.0, "1,200"),
            (np.inf, "∞"),
            (-np.inf, "−∞"),
            (np.nan, "nan"),
        ],
    )
    def test_number(self, value, text):
        assert words.number(value) == text

    @pytest.mark.parametrize(
        ("e_folding", "text"),
        [
            (14.2, "falls to 1/e every 14 steps"),
            (-3.0, "grows by e every 3 steps"),
            (1.0, "falls to 1/e every step"),
            (np.inf, "neither falls nor grows"),
            (np.nan, "is 0 at all steps but one"),
        ],
    )
    def test_falls(self, e_folding, text):
        assert words.falls(e_folding) == text

    def test_shares_that_are_not_all_or_nothing_never_look_so(self):
        assert [words.percent(share) for share in (0, 0.004, 0.05, 0.5, 0.95, 0.996, 1)] == [
            "0%",
            "less than 1%",
            "5%",
            "50%",
            "95%",
            "more than 99%",
            "100%",
        ]
