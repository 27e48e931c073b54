"""What the cells' time loops share: which sequences run at which step, what the loop reads, which rows a thread takes.

Sequences of different lengths are run longest first, so that those with a step t are the first counts[t] ones. What is
made for them is laid out without gaps, (1, N, .): row at[t] + n is sequence n's step t, a token. What the caller gives
and gets, (T, B, .), stays as it is: sequence n's step t is row first[n] + t stride of its T B rows, and padding is not
read. In reverse, a sequence's step 0 is its last one, and the stride is -B. Where all have T steps, an array of tokens
is (T, B, .), and the sequences are in the caller's order.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from . import apart, host
from .gradients import NO_IDS
from .matrix import are_few
from .memory import ZERO, empty
from .near import are_far, wait_to_meet
from .panels import CACHE, EVEN, height, ready, threads_for_flops
from .products import project
from .ragged import Layout, rectangle
from .rows import clear_padding
from .simd import LINE
from .threads import get_num_threads, split_rows
from .tile import HIGH
from .vectors import plus

# Projecting x before the loop pays for up to FEW_SEQUENCES sequences if all weights take more than SMALLEST_L1 bytes,
# and for fewer than LARGE_BATCH sequences if they take more than LARGE_WEIGHTS bytes.
FEW_SEQUENCES = 2
SMALLEST_L1 = 2**15
LARGE_WEIGHTS = 2**22 if host.AMD else 11 * 2**17
LARGE_BATCH = 48
WEIGHTS_TO_MEET = 3 * 2**12  # bytes of weights that a thread reads in the time it takes to meet another one
MEETING = 1.03  # factor on the time if units are shared: some work is repeated by every thread
NUMBERS_A_MICROSECOND = 2**15  # of weights to read for each microsecond of waiting: one thread takes longer
LONGEST_WAIT = 50  # microseconds in which a sleeping thread mostly arrives
PATIENCE = 1 / 16  # of the time that sharing saves: how long to wait for threads, if longer than LONGEST_WAIT
BYTES_A_MICROSECOND = 160_000  # of weights, in one unit of `time_of`
# Microseconds that sharing must save over all steps, without meetings and with them: another thread begins later and
# reads parts of rows.
WORTH_BEGINNING = 2, 4
# The same on Intel's processors: forward, and backward, where a thread's cache already has the gates it needs. There
# each meeting costs the same wherever the threads are, reading what the others made included.
WORTH_BEGINNING_ON_INTEL = 6, 2
MEETING_ON_INTEL = 1.5
# And for a single forward step: in inference, and in training, where the other thread is needed next anyway.
WORTH_STEP_ON_INTEL = 3, 1.5
# Except on AMD's before Zen 5, a thread with at most STARVED_ROWS rows is starved: it stalls on weights of more than
# STARVED_BYTES bytes, which do not fit in its L2 cache: forward, and backward, where it reads more of what the others
# made. With more than EVEN rows, AMD's multiply for long enough to fetch them meanwhile.
STARVED_ROWS = EVEN if host.AMD else 2 * HIGH
STARVED_BYTES = CACHE, CACHE * 5 // 4
WORTH_TRYING = 50  # microseconds saved by sharing, above which it is first tested whether the threads are near
NEAR, FARTHER = 0.023, 0.0174  # the longest wait to meet that pays, and what each microsecond saved a step adds to it
L1_ON_INTEL = 3 * 2**14  # bytes of the L1 cache of Intel's servers; SMALLEST_L1 is that of others, too
LITTLE = 4  # times as many numbers in U: W's product is small beside the loop's
BASE_NUMBERS = 2**22  # numbers of x W + b that inference holds at a time


def tokens(
    steps: int, batch: int, rows: Layout | None, reverse: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return counts (T,), at (T,), first (B,) and stride: see the module's first lines."""
    if rows is None:
        return of_rectangle(steps, batch, reverse)
    return rows.counts, rows.offsets[:-1], *rows.first(reverse)


@functools.lru_cache(maxsize=64)
def of_rectangle(steps: int, batch: int, reverse: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """As `tokens`, for sequences that all have `steps` steps."""
    return *rectangle(steps, batch, reverse)[:3], -batch if reverse else batch


def shape_of(steps: int, batch: int, rows: Layout | None) -> tuple[int, int]:
    """Return how an array of tokens begins: (T, B) or (1, N)."""
    return (steps, batch) if rows is None else (1, rows.rows)


def end_of(states: np.ndarray, steps: int, rows: Layout | None, record: bool) -> np.ndarray:
    """Return where each sequence's last state (B, H) goes, in the caller's order: into an array of its own; or, without
    a `record` and if all have one length, into its place among the `states` (S, B, H), step t's at t mod S."""
    return empty(states.shape[1:], states.dtype) if record or rows is not None else states[steps % len(states)]


def kept_in(sent: tuple, dstate: tuple) -> tuple:
    """Return the arrays in which a loop back through time, of sequences that all have T steps, keeps what each step
    sends to the state before it: `sent`, (T+1, B, H) for each part of a state, flat. Its last ones become dstate, and
    the loop finds dL/d(last state) there. Otherwise it has arrays of (B H,), which the next step overwrites."""
    for part, last in zip(sent, dstate, strict=True):
        part[-1] = last
    return tuple(part.reshape(-1) for part in sent)


def at_rest(state: tuple) -> bool:
    """Whether the state is the `zeros` of memory.py, as when no initial state is given: the first step then need not
    multiply h, and the loop itself writes the zeros that stand in the record."""
    for part in state:  # not all(): a generator takes longer than the loop
        if part.base is not ZERO:
            return False
    return True


class Shares(NamedTuple):
    """How threads share a time loop.

    edges: where each thread's sequences begin and end, or its units.
    own: 1 if each thread works on its own units, else 0.
    patience: microseconds to wait for threads that share units, which meet at every step.
    near: the longest `wait_to_meet` with which they may share them, or 0 if that does not matter.
    alone: whether they are not near, so that one thread does all of it.
    """

    edges: np.ndarray
    own: int
    patience: float
    near: float
    alone: bool = False

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an uninitialised array that the loop writes and every thread reads afterwards. No cache holds it if
        they are far apart: see apart.py."""
        array = empty(shape, dtype)
        if array.nbytes >= apart.LEAST and are_far(len(self.edges) - 1):
            apart.clear(array, len(self.edges) - 1)
        return array


def shared(
    state: np.ndarray,
    weights: int,
    steps: int,
    backward: bool,
    rows: Layout | None,
    by_units: bool = True,
    record: bool = True,
) -> Shares:
    """Return each thread's share of a time loop over states like this one (B, H) that reads `weights` numbers of
    weights at each step. backward: whether it goes back through time. record: whether it is part of training.

    For few sequences, or weights in no near cache, a step takes as long as reading the weights. Each thread then reads
    only some of them, and they meet between any two steps, and backward after the last, if the loop can be shared
    `by_units`.
    """
    batch, units = state.shape
    threads = get_num_threads()
    share = equal_shares(batch, units, state.dtype, weights, steps, backward, by_units, record, threads)
    if share.near and wait_to_meet(len(share.edges) - 1, share.patience) > share.near:
        share = equal_shares(batch, units, state.dtype, weights, steps, backward, False, record, threads)
        share = share._replace(alone=len(share.edges) == 2)
    if rows is None or share.own:
        return share
    return Shares(rows.edges(loop_parts(rows.rows, weights, state.dtype)), 0, 0, 0)


def loop_parts(rows: int, weights: int, dtype: np.dtype) -> int:
    """Return how many threads `rows` rows of all steps are worth. In float64 they take twice as long as in float32."""
    return threads_for_flops(2 * rows * weights * dtype.itemsize // 4)


@functools.lru_cache(maxsize=256)
def equal_shares(
    batch: int,
    units: int,
    dtype: np.dtype,
    weights: int,
    steps: int,
    backward: bool,
    by_units: bool,
    record: bool,
    threads: int,
) -> Shares:
    """As `shared`, if all sequences have `steps` steps; if not, units are shared in the same way."""
    if by_units and threads > 1:
        nbytes, meetings = weights * dtype.itemsize, steps if backward else steps - 1
        starved = not host.BEFORE_ZEN_5 and nbytes > STARVED_BYTES[backward]
        edges = units_of(batch, units, nbytes, LINE // dtype.itemsize, threads, starved)
        if edges is not None:
            gain = (1 - 1 / (len(edges) - 1)) * time_of(batch) * nbytes / BYTES_A_MICROSECOND
            wait = min(max(LONGEST_WAIT, PATIENCE * steps * gain), steps * weights / NUMBERS_A_MICROSECOND)
            if host.AMD:
                near = NEAR + FARTHER * gain if meetings * gain > WORTH_TRYING else 0
                least = 0 if backward and steps == 1 else WORTH_BEGINNING[meetings > 0]  # one backward step pays sooner
            elif meetings == 0:
                near, least = 0, WORTH_STEP_ON_INTEL[record]
            else:
                near, least = 0, WORTH_BEGINNING_ON_INTEL[backward] + MEETING_ON_INTEL * meetings
            if steps * gain > least:
                return Shares(edges, 1, wait if meetings else 0, near)
    return Shares(split_rows(batch, 1, loop_parts(steps * batch, weights, dtype)), 0, 0, 0)


def units_of(batch: int, units: int, nbytes: int, align: int, threads: int, starved: bool) -> np.ndarray | None:
    """Return the edges of each thread's units, or None if sharing the sequences takes less time. starved: whether a
    thread with few sequences would stall on weights.

    With more threads each meeting takes longer, and each thread has less to read.
    """
    edges = split_rows(units, align, min(threads, int((nbytes / WEIGHTS_TO_MEET) ** 0.5)))
    slices, rows = len(edges) - 1, -(-batch // threads)
    if slices > 1 and (starved and rows <= STARVED_ROWS or MEETING * time_of(batch) / slices < time_of(rows)):
        return edges
    return None


def time_of(rows: int) -> float:
    """Return how long it takes to multiply `rows` rows by a panel, in units of one row's time in the highest tile: a
    tile of one row waits for the panel, and every tile has a fixed cost."""
    time = 0.0
    while rows:
        high = height.py_func(rows)
        time, rows = time + max(2.0, high + 0.2), rows - high
    return time


def from_zx(forward, params: dict, zx: np.ndarray, state, steps: int, options, by_units: bool = True):
    """Return the Record that a cell's `forward` makes (see from_x), given all that x contributes to z (T or 1, B, gH).
    options, by_units: as in from_x."""
    batch, units = state.h.shape
    W, x, y = params["U"][:0], empty((1, batch, 0), zx.dtype), np.empty((0, batch, units), zx.dtype)
    share = shared(state.h, params["U"].size, steps, False, None, by_units)
    out = Output(y, 0, False)
    return forward(params, W, x, zx, NO_IDS, state, steps, True, out, None, share, at_rest(state), options)[0]


class Output(NamedTuple):
    """Where h goes, H columns of y (T, B, .) from `column` on, or nowhere if y is empty; and whether x is read in
    `reverse`."""

    y: np.ndarray
    column: int
    reverse: bool


def from_x(
    forward,
    params: dict,
    x: np.ndarray,
    state,
    steps: int,
    record: bool,
    rows: Layout | None,
    out: Output | None,
    options: object,
    by_units: bool = True,
):
    """Return y (T, B, H), the Record or None, and the last state, straight from x.

    forward: a cell's, of (params, W, x, base, ids, state, steps, record, out, rows, share, fresh, options): its loop
    multiplies x, if it has columns, by W at each step, and adds the base. Returns the Record or None, and the last
    state. base: with `ids` (T B,), a row for each possible id; without, (1, 1, gH), the same for all, (1, B, gH), each
    sequence's in the order in which they run, or each token's. fresh: whether the state is `at_rest`. out: where y is
    to be written, except for padding, and which way x is read. options: the cell's own. by_units: whether the loop can
    be shared by units, and reads unpacked weights for few rows. With rows, the state given is in their order, and the
    last one in the caller's.
    """
    batch, W, U, fresh = x.shape[1], params["W"], params["U"], at_rest(state)
    count, longest = (steps * batch, steps) if rows is None else (rows.rows, rows.steps)
    first, looked_up = projects_first(params, x, longest, count, by_units)
    weights = (0 if first else W.size) + (0 if fresh and longest == 1 else U.size)
    share = shared(state.h, weights, longest, False, rows, by_units, record)
    if out is None:
        new = share.empty if record and rows is None else empty  # mixed lengths: non-temporal stores to y
        out = Output(new((steps, *state.h.shape), state.h.dtype), 0, False)
        if rows is not None:
            clear_padding(out.y, rows.lengths)
    # Projecting a few steps at a time bounds the memory for any number of steps. No short remainder is left: its
    # weights would be multiplied unpacked, in another order of sums. A window has more rows than there are sequences,
    # since a base of no more would be taken for that of every step.
    large = first and not (record or looked_up) and len(x) > 1 and count * W.shape[1] > BASE_NUMBERS
    windows = rows.windows(max(batch + 1, BASE_NUMBERS // W.shape[1])) if large and rows is not None else ()
    if len(windows) > 1:
        last = None
        for part in windows:
            given = state if last is None else rows.sorted(last)
            _, _, made = from_x(forward, params, x, given, steps, False, part, out, options, by_units)
            last = made if last is None else _where(part.spans > 0, made, last)
        return out.y, None, last
    if large and rows is None:
        most = max(1, BASE_NUMBERS // (batch * W.shape[1]))
        for start, stop in itertools.pairwise(split_rows(steps, 1, -(-steps // most)).tolist()):
            if out.reverse:
                start, stop = steps - stop, steps - start
            part, length = out._replace(y=out.y[start:stop]), stop - start
            _, _, state = from_x(forward, params, x[start:stop], state, length, False, None, part, options, by_units)
        return out.y, None, state
    if first:
        by_one = share.alone or not record and stays_with_one(W, U, share)
        threads = 1 if by_one else None  # with two, half of the result would be in the other core's cache
        base, ids = based(params, x, rows, out.reverse, looked_up, threads)
        W, x = W[:0], empty((1, batch, 0), state.h.dtype)
    else:
        base, ids = params["b"][None, None], NO_IDS
    return out.y, *forward(params, W, x, base, ids, state, longest, record, out, rows, share, fresh, options)


def _where(running: np.ndarray, made: tuple, state: tuple) -> tuple:
    """Return the state that was `made` for the sequences (B,) still `running`, and the old one for the others."""
    return type(made)(*(np.where(running[:, None], *parts) for parts in zip(made, state, strict=True)))


def stays_with_one(W: np.ndarray, U: np.ndarray, share: Shares) -> bool:
    """Return whether one thread makes x W + b faster, of which its loop only reads: on Intel's processors, if U takes
    more than the L1 cache, so that the loop reads from the L2 all the time, and the product is small beside the loop's.
    """
    return not host.AMD and len(share.edges) == 2 and U.nbytes > L1_ON_INTEL and LITTLE * W.size <= U.size


def based(
    params: dict, x: np.ndarray, rows: Layout | None, reverse: bool, looked_up: bool, threads: int | None
) -> tuple:
    """Return x W + b of every possible id, and the ids, if they are to be `looked_up` in it; else that of every token,
    and no ids. threads: as in products.py's project."""
    W, b = params["W"], params["b"]
    if looked_up:
        return plus(ready(W), b[None])[None], ready(x.reshape(-1))
    if rows is not None:
        x = rows.tokens_of(x, reverse)
    elif reverse:
        x = np.ascontiguousarray(x[::-1])
    return project(x, W, b, threads), NO_IDS


def projects_first(params: dict, x: np.ndarray, steps: int, count: int, by_units: bool) -> tuple[bool, bool]:
    """Return whether x W + b is made before the loop, and whether it is made for every possible id, to be looked up.

    It is made before the loop for ids and for an input that stays the same, which need no product at each step; for few
    rows, `count` in all, if the loop cannot be shared `by_units` as in from_x; and where the loop would wait for
    weights rather than multiply: for a few sequences unless the weights stay in the L1 cache, and for large weights and
    a small batch."""
    steady = len(x) == 1 < steps
    if x.ndim == 2:
        return True, not steady and len(params["W"]) <= count
    if steady:
        return True, False
    nbytes = (params["W"].size + params["U"].size) * x.itemsize
    if are_few(count, nbytes, steps):
        return not by_units, False
    few = nbytes > SMALLEST_L1 and x.shape[1] <= FEW_SEQUENCES
    return few or nbytes > LARGE_WEIGHTS and x.shape[1] < LARGE_BATCH, False
