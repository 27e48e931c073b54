"""Compilers for functions that need less than what Numba does: helpers, which only kernels call, entries, and emitted
code.

Numba optimises every function it compiles and makes machine code from it. A helper's is never run: each kernel has the
helper's code inlined, and there it is optimised once more. Leaving out both steps saves a quarter of the first call's
time. An entry passes what Python gives it to a helper, and is optimised once, with the helper's code inlined; the
arrays belong to its caller, and it counts no references to them. In code that was emitted one instruction at a time
there is nothing to optimise, and trying takes as long as all the rest.

Nor is a variable that is assigned to in several places split into several (SSA), which takes a twelfth of the first
call's time; LLVM does it in any case. So a variable has one type. For values of several types Numba would find a common
one, and compute in double precision if one of them is a double: that is refused.
"""

from __future__ import annotations

import contextlib
import functools

from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering, NopythonTypeInference
from numba.core.types import Array, BaseTuple, Boolean, Function, Number, Omitted, Type, unliteral

# Numba's passes for what no kernel has: nested functions, expressions of whole arrays, annotated listings, variables
# of several types; and for variable lifetimes, which only those need before lowering, which computes them again.
UNUSED = {"InlineClosureLikes", "MakeFunctionToJitFunction", "NopythonRewrites", "AnnotateTypes", "WithLifting"}
UNUSED |= {"ReconstructSSA", "PreLowerStripPhis", "IRProcessing"}
NUMBERS = Number | Boolean


@contextlib.contextmanager
def replaced(context, name, make):
    """Put make(method) in the place of a context's method, unless it has been within the same pass over a caller."""
    if name in vars(context):
        yield
        return
    setattr(context, name, make(getattr(context, name)))
    try:
        yield
    finally:
        delattr(context, name)


def resolved_once(resolve):
    """Return `resolve`, which finds what a call means, with a memory for calls of operators with numbers."""
    known = {}

    def resolve_function_type(function, kinds, options):
        if options or not isinstance(function, Function) or not all(isinstance(kind, NUMBERS) for kind in kinds):
            return resolve(function, kinds, options)
        if (function, kinds) not in known:
            known[function, kinds] = resolve(function, kinds, options)
        return known[function, kinds]

    return resolve_function_type


@register_pass(mutates_CFG=True, analysis_only=False)
class TypeInference(NopythonTypeInference):
    """Numba's type inference. At each use of an operator it goes through all that the operator may mean: here only at
    its first use with the same types, if these are numbers."""

    _name = "brief_type_inference"

    def run_pass(self, state):
        with replaced(state.typingctx, "resolve_function_type", resolved_once):
            return super().run_pass(state)


class Lowering(NativeLowering):
    """Numba's lowering to LLVM IR. It asks for the size of a type at each variable, in case there is a debugger, and
    needs a module of its own each time: here the size is found once."""

    def run_pass(self, state):
        refuse_several_types(state)
        with replaced(state.targetctx, "get_abi_sizeof", functools.cache):
            return super().run_pass(state)


@register_pass(mutates_CFG=True, analysis_only=False)
class HelperLowering(Lowering):
    """Lowering, and nothing after it."""

    _name = "helper_lowering"

    def run_pass(self, state):
        flags, context = state.flags, state.targetctx
        state.library = new_library(state, module=False)
        state.library._finalize_final_module = functools.partial(setattr, state.library, "_finalized", True)
        flags.no_compile = flags.no_cpython_wrapper = True
        super().run_pass(state)
        entry = [].pop  # by which Numba knows it, a builtin object of its own: if called, TypeError or IndexError
        state.cr = state.cr._replace(cfunc=entry)
        context.insert_user_function(entry, state.cr.fndesc, [state.library])
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class EmittedLowering(Lowering):
    """Lowering, and machine code from its result without LLVM's passes."""

    _name = "emitted_lowering"

    def run_pass(self, state):
        state.library = new_library(state, functions=False, module=False)
        return super().run_pass(state)


@register_pass(mutates_CFG=True, analysis_only=False)
class EntryLowering(Lowering):
    """Lowering, and only those of LLVM's passes that go over the whole module."""

    _name = "entry_lowering"

    def run_pass(self, state):
        state.library = new_library(state, functions=False)
        return super().run_pass(state)


def refuse_several_types(state) -> None:
    """Raise TypeError if a variable, or the temporary of an expression, would be assigned a value of another type than
    its own."""
    for block in state.func_ir.blocks.values():
        for made in block.find_insts(ir.Assign):
            own, given = unliteral(state.typemap[made.target.name]), type_of(state, made.value)
            if given not in (None, own):
                where = f"{made.target.name} in {state.func_id.func_qualname}, line {made.loc.line},"
                raise TypeError(f"{where} must have one type, {own}, got {given}, too")


def type_of(state, value: object) -> Type | None:
    """Return the type of what is assigned to a variable, or None where Numba does not say."""
    kinds, operation = state.typemap, getattr(value, "op", None)
    if isinstance(value, ir.Arg):
        given = state.args[value.index]
        return None if isinstance(given, Omitted) else unliteral(given)
    if isinstance(value, ir.Var):
        return unliteral(kinds[value.name])
    if isinstance(value, ir.Const | ir.Global | ir.FreeVar):
        made = state.typingctx.resolve_value_type(value.value)
        return made.copy(readonly=True) if isinstance(made, Array) else unliteral(made)  # an array is a constant
    if state.calltypes.get(value) is not None:
        return unliteral(state.calltypes[value].return_type)
    if operation == "getattr":
        return unliteral(state.typingctx.resolve_getattr(kinds[value.value.name], value.attr))
    if operation in ("pair_first", "pair_second"):
        return unliteral(getattr(kinds[value.value.name], operation.removeprefix("pair_") + "_type"))
    if operation == "build_tuple":
        return BaseTuple.from_types([unliteral(kinds[item.name]) for item in value.items])
    if operation == "static_getitem" and isinstance(value.index, int):
        return unliteral(kinds[value.value.name].types[value.index])
    return None


def new_library(state, functions: bool = True, module: bool = True):
    """Return the library that a function's code goes to. functions, module: whether LLVM's passes over single functions
    and over the whole module are run."""
    codegen = state.targetctx.codegen()
    library = codegen.create_library(state.func_id.func_qualname)
    library.enable_object_caching()
    if not functions:  # all that is left of them is the data layout, which other passes need
        library._optimize_functions = lambda made: setattr(made, "data_layout", codegen._data_layout)
    if not module:
        library._optimize_final_module = lambda: None
    return library


class BriefCompiler(CompilerBase):
    """Numba's compiler with a `lowering` and a type inference in place of its own, and without the UNUSED passes."""

    lowering: type[NativeLowering]

    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        kept = [(made, why) for made, why in passes.passes if made.__name__ not in UNUSED]
        ours = {NopythonTypeInference: TypeInference, NativeLowering: self.lowering}
        passes.passes = [(ours.get(made, made), why) for made, why in kept]
        passes.finalize()
        return [passes]


class HelperCompiler(BriefCompiler):
    """For helpers."""

    lowering = HelperLowering


class EmittedCompiler(BriefCompiler):
    """For emitted code."""

    lowering = EmittedLowering


class EntryCompiler(BriefCompiler):
    """For functions that only call helpers and own no array: see `jit`."""

    lowering = EntryLowering
