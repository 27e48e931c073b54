"""The kernels with NEON, as AArch64 code in an emulated processor: see aarch64.py."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding
from test_products import CHECK_TILES, CHILD, FORCED


def has_target():
    binding.initialize_all_targets()
    try:
        return bool(binding.Target.from_triple("aarch64-unknown-linux-gnu"))
    except RuntimeError:
        return False


pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is found by Linux's /proc"),
    pytest.mark.skipif(importlib.util.find_spec("unicorn") is None, reason="Unicorn is not installed"),
    pytest.mark.skipif(not has_target(), reason="this llvmlite makes no code for AArch64"),
]
EMULATED = "import sys, aarch64\naarch64.emulate()\n"
INSTRUCTIONS = """
import pytest
failed = pytest.main(["-p", "no:cacheprovider", "test_simd.py", "-k", "not nothing_behind"])
import test_simd
for dtype in test_simd.DTYPES:
    test_simd.touch_all_there_is(dtype)
sys.exit(failed)
"""
LAYERS = CHILD.format(tests=".", isa="neon", only="lstm-tanh", dtypes=("float32",))
if binding.llvm_version_info >= (20,):  # earlier versions keep sums in memory: see docs/kernels.md
    LAYERS += CHECK_TILES


@pytest.mark.parametrize("code", [INSTRUCTIONS, LAYERS], ids=["instructions", "layers"])
def test_kernels_for_aarch64(code, tmp_path):
    """All tests of instructions, and what the other sets are tested by, of one cell."""
    command = [sys.executable, "-X", "faulthandler", "-c", EMULATED + code]
    env = {**os.environ, **FORCED["neon"], "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    done = subprocess.run(command, cwd=Path(__file__).parent, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
