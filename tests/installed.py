"""Install each wheel and sdist that is named into an environment of its own, with what it asks for alone, and run it.

    python tests/installed.py dist/*

That is NumPy, Numba and what Numba needs: whatever else the package imports, or a file that was left out of it, shows
here. `make test-dist` builds both and calls this. It takes minutes, so it is no test of pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

EXPECTED = {"numpylstm", "numpy", "numba", "llvmlite", "pip", "setuptools"}  # the last two come with the environment
USE = """
import importlib, pathlib, pkgutil, sys
from importlib import metadata
import numpy as np
import numpylstm as nl

package = pathlib.Path(nl.__file__).parent
assert package.is_relative_to(sys.prefix), package
assert (package / "py.typed").is_file()
assert metadata.version("numpylstm") == nl.__version__
assert any(path.name == "LICENSE" for path in metadata.files("numpylstm"))
EXTRAS = {"matplotlib", "onnx", "onnxruntime", "mpi4py", "torch", "jax", "keras", "tensorflow", "threadpoolctl", "tqdm"}
for module in pkgutil.walk_packages(nl.__path__, "numpylstm."):
    try:
        module.name == "numpylstm.__main__" or importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        assert error.name in EXTRAS, error

X, y = nl.tasks.echo(200, n_in=3, n_out=2, vocab_size=5, seed=0)
model = nl.EncoderDecoder(hidden_size=8, max_iter=2, random_state=0).fit(X, y, validation_data=(X, y))
model.save("model")
assert np.array_equal(nl.load("model").predict(X), model.predict(X))
assert nl.check_gradients(nl.LSTM(3, 4, dtype="float64", seed=0), np.ones((5, 2, 3))).passed
layer = nl.GRU(3, 4, seed=0)
nl.interop.write_safetensors("weights", nl.interop.to_torch(layer))
same = nl.interop.from_torch(nl.interop.read_safetensors("weights"))
x = np.ones((5, 2, 3), "float32")
assert np.array_equal(same(x)[0], layer(x)[0])
assert nl.gradflow.adjoints(layer, x, np.ones((5, 2, 4), "float32"))
for extra, call in {
    "onnx": lambda: nl.interop.to_onnx(layer, "layer.onnx"),
    "study": lambda: nl.gradflow.plots.style(),
}.items():
    try:
        call()
    except ImportError as error:
        assert f"numpylstm[{extra}]" in str(error), error
    else:
        sys.exit(f"{extra} is installed, or is not needed")
"""


def check(distribution: Path) -> None:
    """Raise subprocess.CalledProcessError or SystemExit unless the distribution installs and runs."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"
        environment = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONSTRAINT")
        }

        def run(*arguments: object, **options: object) -> str:
            command = [str(python), *map(str, arguments)]
            return subprocess.run(command, cwd=folder, env=environment, check=True, text=True, **options).stdout

        run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", distribution.absolute())
        listed = run("-m", "pip", "list", "--format=freeze", "--disable-pip-version-check", stdout=subprocess.PIPE)
        versions = dict(line.split("==") for line in listed.split())
        if not {"numpylstm", "numpy", "numba"} <= versions.keys() <= EXPECTED:
            raise SystemExit(f"{distribution.name} installs {', '.join(versions)}")
        run("-m", "pip", "check", "--disable-pip-version-check", stdout=subprocess.DEVNULL)
        run("-W", "error", "-c", USE)
        run("-m", "numpylstm", "check", "--cell", "rnn", stdout=subprocess.DEVNULL)
        subprocess.run([python.with_name("numpylstm"), "info"], cwd=folder, env=environment, check=True)
        print(f"{distribution.name} installs and runs beside {', '.join(sorted(versions.keys() & EXPECTED))}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for name in sys.argv[1:]:
        check(Path(name))
