"""The gradients of a cell's weights: one pass over dz, once the time loop is done."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from .flush import flush_subnormals, restore
from .jit import helper
from .matrix import are_few, plus
from .outer import add_outer_products, times
from .panels import WIDEST, across, evenly, height, lanes, pack_panel, ready, threads_for_flops
from .ragged import Layout, Places, every, in_order, rectangle, step_of
from .simd import address, aligned_empty, copy_fewest, fetch, load, register, store, width
from .team import parallel
from .threads import get_num_threads, run, split_rows
from .tile import ADD, HIGH, PACKED, tile_packed, unrolled

PACKED_BYTES = 2**20  # of left operand in one block of rows, or up to half as much again: they fit in an L2 cache
MOST_ROWS, FEWEST_ROWS = 384, 128  # in such a block: with fewer the gradients are read and written too often
FEW_STEPS, LARGE_BATCH = 16, 32  # up to, and from here: leaving out zeros saves more than another block of rows costs
NO_IDS = np.empty(0, np.int64)
MOST_ADDED = 16  # rows, if they `are_few`: with more, packing them pays
FEW = 8  # rows: fewer take as long, since reading and writing the gradients sets the time
MANY = 64  # rows: from here on packing decides; below, that each core still caches the gradients that it cleared
AT_ONCE = 8  # rows of a left operand that are packed side by side
ROWS_AHEAD = 16  # how many rows before they are packed they are prefetched
FEWEST_GROUPS = 8  # per thread, to split by groups: fewer are too uneven where there are many columns


class Beside(NamedTuple):
    """Which rows of x and h go with those of dz.

    rows: the Places of x's.
    h_at: the first of h's at each step.
    zeros: how many of h's rows, the first ones, are known to be zero.
    """

    rows: Places
    h_at: np.ndarray
    zeros: int


def beside(h: np.ndarray, rows: Layout | None, reverse: bool, fresh: bool) -> Beside:
    """Return which rows of x, read in `reverse` or not, and of h (T+1, B, H) go with those of dz. h's first rows, zero
    if it starts `fresh`, count as known zeros where leaving them out pays."""
    steps, batch = len(h) - 1, h.shape[1]
    known = fresh and (steps == 1 or (steps <= FEW_STEPS and batch >= LARGE_BATCH))
    if rows is None:
        return beside_rectangle(steps, batch, reverse, known)
    return Beside(rows.places(reverse), every(steps, batch), batch if known else 0)


@functools.lru_cache(maxsize=64)
def beside_rectangle(steps: int, batch: int, reverse: bool = False, known: bool = False) -> Beside:
    """As `beside`, for sequences that all have `steps` steps."""
    places = rectangle(steps, batch, reverse) if reverse else in_order(steps * batch)
    return Beside(places, places.at, batch if known else 0)


def add_gradients(x, h, dz, gradients, W, dx, rows, reverse, fresh, *, scale=None, dm=None) -> bool:
    """Add the `gradients` of a layer's W, U and b: x and `rows` as in loop.py, read in `reverse` or not; h (T+1, B, H),
    zero before the first step if it starts `fresh`; scale, dm as below. dx: (T, B, I), or None if it is not wanted.
    Return whether dz W^T has been put into it, in the order of dz: for few rows, for which another kernel would take
    longer to start than to work."""
    if rows is None:
        steps, batch = dz.shape[:2]
        if steps * batch <= MOST_ADDED and are_few(steps * batch, W.nbytes + gradients[1].nbytes):
            x, ids = numbers_and_ids(x[::-1] if reverse and steps > 1 else x, dz)
            into = dx if dx is not None and are_few(steps * batch, W.nbytes) else None
            zeros = batch if fresh and steps == 1 else 0
            add_outer_products(x, ids, h[:-1], zeros, dz, gradients, scale, dm, W, into)
            return into is not None
    add_weight_gradients(x, h[:-1], dz, *gradients, beside(h, rows, reverse, fresh), scale=scale, dm=dm)
    return False


def add_weight_gradients(x, h, dz, dW, dU, db, which=None, *, columns=None, scale=None, dm=None) -> None:
    """Add the gradients that dz's `columns` (default all) give. Each thread takes some of these, or, if they are fewer
    than the gradients' rows, which each would otherwise have to pack, some of the rows.

    x, h, dz: (T, B, .); x or h without columns for none; or x (T, B) integers, ids of W's rows. which: the rows that go
    with dz's, a Beside; None for those in dz's own order. scale: (T, B, S), or None. With scale, the last M columns of
    dz, M the length of `dm`, are multiplied by the first M of scale for dU = h^T dz, and `dm` gets their sums.
    """
    steps, batch, N = dz.shape
    x, ids = numbers_and_ids(x, dz)
    rows, h_at, zeros = which or beside_rectangle(steps, batch)
    first, last = columns or (0, N)
    sizes = x.shape[2], h.shape[2], steps * batch
    edges, groups, left, right = shares(*sizes, zeros, first, last, dz.dtype, get_num_threads())
    arrays = x, ids, ready(h), *rows, h_at, zeros, dz, scale, dW, dU, db, dm
    run(weight_gradients, edges, groups, left, right, *arrays)


def numbers_and_ids(x: np.ndarray, dz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x and no ids; or, if x holds ids, an x without columns, and the ids (T B,)."""
    x = ready(x)
    return (dz[..., :0], x.reshape(-1)) if x.dtype.kind == "i" else (x, NO_IDS)


@functools.lru_cache(maxsize=1024)
def shares(
    I: int, H: int, R: int, zeros: int, first: int, last: int, dtype: np.dtype, threads: int
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Return the edges of what each of at most `threads` threads does for R rows of dz, where parts of x's and h's
    columns begin, and two columns of dz.

    Either slices of dz's columns `first` to `last`, in whole registers, one part of all of x and h, and 0, 0. Or parts
    of the gradients' groups, where these begin, and `first` and `last`: for few rows, for fewer columns than the groups
    have, or if all groups' left operand would fill the cache. If a thread's would fill it more than once, it has
    several parts."""
    threads = threads_for_flops(2 * max(R, FEW) * (I + H) * (last - first), threads)
    groups = groups_of.py_func(I) + groups_of.py_func(H)
    rows = rows_packed.py_func(dtype.itemsize, groups)
    fills = -(-min(R, rows) * groups * PACKED * dtype.itemsize // PACKED_BYTES)
    few = R < MANY and groups >= FEWEST_GROUPS * threads
    if fills > 1 or (threads > 1 and (few or (R >= MANY and (rows < MOST_ROWS or last - first < I + H)))):
        begin = split_groups(I, H, R, zeros, threads * -(-fills // threads))
        return np.arange(len(begin), dtype=np.int64), begin, first, last
    return split_rows(last - first, lanes(dtype), threads) + first, np.array([(0, 0), (I, H)], np.int64), 0, 0


def split_groups(I: int, H: int, R: int, zeros: int, parts: int) -> np.ndarray:
    """Return the columns of x and of h, (., 2), at which at most `parts` parts of their groups begin, each with equal
    work: R rows of dz with x, `zeros` fewer with h. With few rows each part has some of both, as `vectors.clear` splits
    them."""
    x_groups, h_groups, part = groups_of.py_func(I), groups_of.py_func(H), np.arange(parts + 1, dtype=np.int64)
    if R < MANY:
        edges = x_groups * part // parts, -(-h_groups * part // parts)  # one down, one up: nearly even
    else:
        done = np.cumsum([0] + [R] * x_groups + [R - zeros] * h_groups, dtype=np.int64)
        before = np.searchsorted(done, done[-1] * part / parts)
        before[-1] = x_groups + h_groups
        before = np.unique(before)
        edges = np.minimum(before, x_groups), np.maximum(before - x_groups, 0)
    return np.minimum(np.stack(edges, 1) * HIGH, (I, H))


@helper
def groups_of(columns):
    """How many groups of HIGH `columns` columns make."""
    return (columns + HIGH - 1) // HIGH


@helper
def rows_packed(itemsize, groups):
    """How many rows a block has for `groups` groups in all, whichever of them a thread packs."""
    return max(FEWEST_ROWS, min(MOST_ROWS, PACKED_BYTES // (itemsize * PACKED * (groups + 1)) // 4 * 4))


@parallel
def weight_gradients(
    start, stop, parts, left, right, x, ids, h, counts, at, first, x_at, h_at, zeros, dz, scale, dW, dU, db, dm
):
    """Columns start:stop of dW += x^T dz, dU += h^T dz and db += sum dz. Or columns left:right, if there are any, of
    the rows that parts start to stop give, where part n begins at columns parts[n] of x and of h, multiples of HIGH;
    part 0 also does what is in no part: the sums in db and dm, and the rows by id.

    Of the R rows of dz (T, B, N), row at[t] + n goes with row h_at[t] + n of h (., ., H), whose first `zeros` rows are
    zero, and with the row of x (., ., I) that Places gives, or that entry of `ids` (.,), rows of dW, if there are any.
    Any of x, h and db may have no columns.
    scale, dm: None, for which there is less to compile; or R rows of S and (M,): for dU the last M columns of dz are
    multiplied by the first ones of scale, and dm += their sums.
    """
    R, N = dz.shape[0] * dz.shape[1], dz.shape[2]
    I, H = x.shape[2], h.shape[2]
    scaled = N if dm is None else N - len(dm)
    L = register(dz)
    block = min(R, rows_packed(dz.itemsize, groups_of(I) + groups_of(H)))
    low, high = (start, stop) if right else (0, 1)
    start, stop = (left, right) if right else (start, stop)
    of_x, to_x, of_h, to_h = parts[low, 0], parts[high, 0], parts[low, 1], parts[high, 1]
    sums = low == 0
    behind = groups_of(to_x - of_x)
    most = max(evenly(zeros, block), evenly(R - zeros, block))
    P = aligned_empty(most * WIDEST * L, dz)
    Q = aligned_empty(group_size(most, L) * (behind + groups_of(to_h - of_h)), dz)
    setting = flush_subnormals()
    k, t = 0, 0
    while k < R:
        K = evenly((zeros if k < zeros else R) - k, block)
        to_h_now = of_h if k < zeros else to_h
        t = step_of(k, t, at)
        pack_left(Q, 0, x, counts, at, first, x_at, t, k, of_x, to_x, K)
        behind_x = behind * group_size(K, L)
        pack_left(Q, behind_x, h, counts, at, first[:0], h_at, t, k, of_h, to_h_now, K)
        j = start
        while j < stop:
            columns = (scaled if j < scaled < stop else stop) - j  # a panel is scaled as a whole or not at all
            wide = across(columns, L)
            pack_panel(P, 0, dz, k * N + j, N, K, columns, wide)
            count = columns - (wide - 1) * L
            after = j + min(wide * L, columns)
            soon, end = (k * N + after, (k + K) * N) if after < stop else ((k + K) * N + start, min(k + 2 * K, R) * N)
            soon = multiply_packed(dW, of_x * N + j, N, count, Q, 0, to_x - of_x, P, K, wide, dz, soon, end)
            if sums and len(ids):
                add_by_id(dW, j, N, count, ids, at, first, x_at, t, k, P, K, wide)
            if sums and len(db):
                add_columns(db, j, P, K, columns, wide)
            if scale is not None:  # a test of its own: where it is None, nothing below is compiled
                if j >= scaled:
                    multiply_panel(P, scale, k * scale.shape[2] + j - scaled, scale.shape[2], K, columns, wide)
                    if sums:
                        add_columns(dm, j - scaled, P, K, columns, wide)
            multiply_packed(dU, of_h * N + j, N, count, Q, behind_x, to_h_now - of_h, P, K, wide, dz, soon, end)
            j = after
        k += K
    restore(setting)


@helper
def group_size(K, L):
    """Elements of HIGH packed columns of K rows: their own, and a register more, since the last row's copy may write
    beyond them."""
    return PACKED * K + L


@helper
def pack_left(Q, q, A, counts, at, first, A_at, t, k, start, stop, K):
    """Pack a left operand: columns start to stop, HIGH at a time, of A's rows that go with rows k to k + K of dz, from
    step t on. Each row is read once, AT_ONCE of them side by side: what is packed of HIGH columns then fills whole
    cache lines. Those that probably come next are prefetched, since the hardware does not look beyond a page of
    memory."""
    M, size = A.shape[2], group_size(K, register(A))
    while K:
        n, to = k - at[t], A_at[t]
        some = min(K, counts[t] - n)
        for top in range(n, n + some, AT_ONCE):
            rows, e = min(AT_ONCE, n + some - top), q
            for m in range(top, top + rows):
                place = (to + row_of(first, m) + ROWS_AHEAD) * M
                for i in range(start, stop, width(A)):
                    fetch(A, place + i)
            for i in range(start, stop, HIGH):
                for r in range(rows):
                    place = (to + row_of(first, top + r)) * M
                    copy_fewest(Q, e + r * PACKED, A, place + i, min(HIGH, stop - i))  # the next overwrites the excess
                e += size
            q += rows * PACKED
        t, k, K = t + 1, k + some, K - some


@helper
def row_of(first, n):
    """Which row of a step is the n-th one's: `first` has it for each, or is empty where they are in order."""
    return first[n] if len(first) else n


@helper
def multiply_packed(C, c, c_row, count, Q, q, M, P, K, wide, dz, soon, end):
    """Add to C, from element c on, the product of M columns, packed from element q of Q on, and a panel.

    Meanwhile the next panel's rows are prefetched, from element `soon` of dz on and before element `end`, which are as
    far apart as C's, and as wide as this panel; return the element from which on they have not been.
    """
    i, some = 0, K // unrolled(wide, False) * c_row
    while i < M:
        high = height(min(HIGH, M - i))
        left = q + i // HIGH * group_size(K, register(P)) + i % HIGH
        ahead, apart = (address(dz, soon), c_row) if soon < end else (address(P, 0), 0)
        tile_packed(high, wide, C, c + i * c_row, c_row, count, Q, left, apart, P, 0, K, ADD, ahead)
        soon += some
        i += high
    return soon


@helper
def multiply_panel(P, S, s, s_row, K, N, wide):
    """Multiply a panel of N columns by those of S from element s on."""
    L = register(P)
    p = 0
    for k in range(K):
        for v in range(wide):
            store(P, p, L, times(load(P, p, L), load(S, s + k * s_row + v * L, N - v * L)))
            p += L


@helper
def add_by_id(dW, j, N, count, ids, at, first, x_at, t, row, P, K, wide):
    """Add each of a panel's K rows, dz's from `row` on, to the row of dW that its id names, from column j on."""
    L = register(P)
    for k in range(K):
        t = step_of(row + k, t, at)
        e = ids[x_at[t] + row_of(first, row + k - at[t])] * N + j
        for v in range(0, wide, 2):  # two registers at a time; the last may be one, and hold `count` columns
            n = 2 * L if v + 2 < wide else (wide - 1 - v) * L + count
            store(dW, e + v * L, n, plus(load(dW, e + v * L, n), load(P, (k * wide + v) * L, min(wide - v, 2) * L)))


@helper
def add_columns(sums, s, P, K, N, wide):
    """Add the sum of each of a panel's N columns: of all side by side, since each addition waits for the one before.
    The widest panel is two Vectors across."""
    row, half = wide * register(P), width(P)
    left, right = load(sums, s, N), load(sums, s + half, N - half)
    for p in range(0, K * row, row):
        left = plus(left, load(P, p, row))
        right = plus(right, load(P, p + half, row - half))
    store(sums, s, N, left)
    store(sums, s + half, N - half, right)
