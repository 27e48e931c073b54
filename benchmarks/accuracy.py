"""Errors of the kernels' activations: in float32 over every number there is, in float64 over random ones.

    python benchmarks/accuracy.py [--points N]

The unit is the last place of the exact result (ulp), wherever number and result are normal; the exact one is NumPy's
in the next longer type. Beside ours PyTorch's, where it is installed. About a quarter of an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
from common import positive, save, writes

import numpylstm as nl
from numpylstm.cells.activations import sigmoid

LONGER = {"float32": np.float64, "float64": np.longdouble}
CHUNK = 2**17  # numbers at a time, which stay in a cache
REACH = (
    0.5,
    3,
    87,
)  # of the random numbers: where tanh is the least exact, where most of the change is, all of the range


def selu(x: np.ndarray) -> np.ndarray:
    """As numpylstm.cells.activations', with constants of x's dtype, which may be longer than Python's."""
    scale, alpha = x.dtype.type("1.0507009873554804934193"), x.dtype.type("1.6732632423543772848170")
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def libraries(name: str, dtype: str) -> dict[str, Callable]:
    """Return the function of that name by library; ours is an RNN of one unit whose weights are 1 and 0."""
    layer = nl.RNN(1, 1, activation=name, dtype=dtype)
    layer.params["W"][...], layer.params["U"][...] = 1, 0
    found = {"ours": lambda x: layer(x[None, :, None])[0].ravel()}
    if find_spec("torch"):
        import torch

        found["PyTorch"] = lambda x: getattr(torch, name)(torch.from_numpy(x)).numpy()
    return found


def every_number(dtype: str) -> Iterator[np.ndarray]:
    """Yield all normal numbers of a dtype, by sign, from the smallest on; the last of a chunk begins the next."""
    bits = np.dtype(dtype.replace("float", "uint"))
    smallest, infinity = (int(edge.view(bits)) for edge in (np.finfo(dtype).tiny, np.array(np.inf, dtype)))
    for sign in (0, 2 ** (8 * bits.itemsize - 1)):
        for start in range(sign + smallest, sign + infinity, CHUNK):
            yield np.arange(start, min(start + CHUNK + 1, sign + infinity), dtype=bits).view(dtype)


def random_numbers(points: int) -> Iterator[np.ndarray]:
    """Yield `points` or a few more numbers of float64, as many of each reach: pairs of neighbours, in order of size."""
    rng = np.random.default_rng(0)
    for _ in range(0, points, len(REACH) * CHUNK):
        for reach in REACH:
            x = np.sort(rng.uniform(-reach, reach, CHUNK // 2))
            yield np.column_stack([x, np.nextafter(x, np.inf)]).ravel()


def errors(exact: Callable, functions: dict[str, Callable], chunks: Iterator[np.ndarray], longer: type) -> dict:
    """Return by library the largest error and where it is, the share of results that are the nearest number, and at
    how many of the numbers, in order of size, the function falls."""
    found = {library: {"ulp": 0.0, "at": 0.0, "nearest": 0, "falls": 0} for library in functions}
    numbers = 0
    with np.errstate(over="ignore", under="ignore"):
        for x in chunks:
            wanted = exact(x.astype(longer))
            close = np.abs(wanted.astype(x.dtype))
            unit = np.spacing(close)
            normal = (close >= np.finfo(x.dtype).tiny) & np.isfinite(unit)  # the largest number has no next one
            wanted, unit, step = wanted[normal], unit[normal], 1 if x[-1] > x[0] else -1
            numbers += len(unit)
            for library, function in functions.items():
                y = function(x)
                error, one = np.abs(y[normal] - wanted) / unit, found[library]
                error[np.isnan(error)] = np.inf
                if len(error) and (largest := error.max()) > one["ulp"]:
                    one["ulp"], one["at"] = float(largest), float(x[normal][error.argmax()])
                one["nearest"] += int(np.count_nonzero(error <= 0.5))
                rising = y[::step]
                one["falls"] += int(np.count_nonzero(rising[1:] < rising[:-1]))
    return {library: {**one, "nearest": one["nearest"] / numbers} for library, one in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=positive(int), default=30_000_000, help="random numbers of float64")
    points = parser.parse_args().points
    writes(parser, "accuracy")
    results = {}
    for dtype, longer in LONGER.items():
        if np.finfo(longer).nmant <= np.finfo(dtype).nmant:
            print(f"{dtype}: left out, since this machine has no longer type")
            continue
        for exact in (sigmoid, np.tanh, selu):
            name = exact.__name__
            chunks = every_number(dtype) if dtype == "float32" else random_numbers(points)
            results[f"{name} {dtype}"] = found = errors(exact, libraries(name, dtype), chunks, longer)
            for library, one in found.items():
                print(
                    f"{name:8}{dtype}  {library:8}{one['ulp']:6.2f} ulp at {one['at']:<12.7g}"
                    f"{one['nearest']:8.2%} the nearest number, falls at {one['falls']:,}",
                    flush=True,
                )
    save("accuracy", {"errors": results, "points": points}, ("torch",))


if __name__ == "__main__":
    main()
