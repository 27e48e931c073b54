"""How functions that only kernels call are compiled: as far as a kernel takes them in, and no further.

Numba optimises every function it compiles and makes machine code of it, although a helper's is never run: each kernel
has the helper's code within it, optimised there once more. Leaving both out saves a quarter of the first call's time.
"""

from __future__ import annotations

import functools

from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

# Numba's passes for what no helper has: functions within functions, expressions of whole arrays, and listings to read.
UNUSED = {"InlineClosureLikes", "MakeFunctionToJitFunction", "NopythonRewrites", "AnnotateTypes", "WithLifting"}


@register_pass(mutates_CFG=True, analysis_only=False)
class HelperLowering(NativeLowering):
    """Numba's lowering to LLVM's language, and nothing after it."""

    _name = "helper_lowering"

    def run_pass(self, state):
        flags, context = state.flags, state.targetctx
        state.library = context.codegen().create_library(state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.library._optimize_final_module = lambda: None
        state.library._finalize_final_module = functools.partial(setattr, state.library, "_finalized", True)
        flags.no_compile = flags.no_cpython_wrapper = True
        super().run_pass(state)
        entry = [].pop  # what Numba knows it by, a builtin of its own; called, it raises TypeError or IndexError
        state.cr = state.cr._replace(cfunc=entry)
        context.insert_user_function(entry, state.cr.fndesc, [state.library])
        return True


class HelperCompiler(CompilerBase):
    """Numba's compiler with that lowering in the place of its own, and without what serves no helper."""

    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        kept = [(made, why) for made, why in passes.passes if made.__name__ not in UNUSED]
        passes.passes = [(HelperLowering if made is NativeLowering else made, why) for made, why in kept]
        passes.finalize()
        return [passes]
