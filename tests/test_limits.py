"""What no machine has room for is refused before anything is allocated."""

import math
import os

import pytest
from models import EXAMPLES

from numpylstm import GRU, RNN, limits

pytestmark = pytest.mark.nojit


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A file that says what the control group may have; the answer is not kept."""
    monkeypatch.setattr(limits, "CONTROL_GROUP", (str(tmp_path / "none"), str(tmp_path / "limit")))
    monkeypatch.setattr(limits, "memory", limits.memory.__wrapped__)
    return tmp_path / "limit"


def test_the_smaller_of_machine_and_control_group_counts(group, monkeypatch):
    machine = limits.memory()
    assert math.isinf(machine) or machine > 2**28
    for text, expected in (("max\n", machine), ("4096\n", 4096), ("9" * 25, machine)):
        group.write_text(text)
        assert limits.memory() == expected
    monkeypatch.delattr(os, "sysconf", raising=False)
    group.write_text("max")
    assert limits.memory() == math.inf


def test_all_arrays_count_together(group):
    group.write_text(str(8 * 100))
    limits.refuse_beyond_memory("a", [(10, 6), (40,)])
    limits.refuse_beyond_memory("a", [(200,)], 4)
    with pytest.raises(MemoryError, match="^a of b = 3 would take .* GiB, the machine has .* GiB$"):
        limits.refuse_beyond_memory("a of b = 3", [(10, 6), (41,)])


def test_a_layer_counts_what_exists_at_once(group):
    parameters = 4 * 3 * 5 + 5 * 3 * 5 + 3 * 5 + 5
    group.write_text(str(16 * parameters))  # drawn in float64, kept in float32, with gradients
    GRU(4, 5, seed=0)
    group.write_text(str(16 * parameters - 1))
    with pytest.raises(MemoryError, match="input_size 4, hidden_size 5"):
        GRU(4, 5, seed=0)


def test_an_allowance_is_used_up_layer_by_layer():
    size = 16 * (4 * 5 + 5 * 5 + 5)
    with limits.allowance(2 * size):
        RNN(4, 5, seed=0)
        RNN(4, 5, seed=0)
        with pytest.raises(MemoryError, match="more than is allowed here"):
            RNN(4, 5, seed=0)
    RNN(4, 5, seed=0)


@pytest.mark.parametrize("probabilities", [False, True])
def test_targets_of_any_length_are_counted_before_they_are_written(probabilities, group):
    """A forged file's may have 2**31 ids."""
    model = EXAMPLES["encoder-decoder"].fitted()
    write = model.predict_proba if probabilities else model.predict
    X, length, size = EXAMPLES["encoder-decoder"].X, model.target_length_, 4
    kept = model.vocab_size_ * size if probabilities else 8
    each = kept + size * (model.network_.layers["decoder"].output_size + model.vocab_size_)
    group.write_text(str(len(X) * length * each))
    assert len(write(X)) == len(X)
    group.write_text(str(len(X) * length * each - 1))
    with pytest.raises(MemoryError, match=f"^{length} ids for each source would take"):
        write(X)
