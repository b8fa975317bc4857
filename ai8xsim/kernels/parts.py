"""How functions are compiled that are only parts of other compiled functions: as far as those need them.

Numba optimizes every function and makes machine code of it; then it links the function into those that call it, which
it optimizes as a whole again. For parts that is a third of the time of a cold start, and nobody runs what comes of it.
"""

from typing import Any

import numba as _numba
from numba.core import codegen as _codegen
from numba.core import compiler as _compiler
from numba.core import compiler_machinery as _machinery
from numba.core import typed_passes as _passes

# Numba's types lack these.
codegen: Any = _codegen
compiler: Any = _compiler
machinery: Any = _machinery
passes: Any = _passes
numba: Any = _numba

NO_ADDRESS = 0


class _Library(codegen.JITCodeLibrary):  # type: ignore[misc]
    """LLVM code to be linked into other libraries, as it was generated."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@machinery.register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(passes.NativeLowering):  # type: ignore[misc]
    """Makes LLVM code, for callers that are compiled; for Python there is a name without an address."""

    _name = "lowering_of_a_part"

    def run_pass(self, state: Any) -> bool:
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        made, libraries = state.cr, (state.library,)
        names = made.fndesc.lookup_module(), state.func_id.func_name, state.func_id.func_qualname
        function = numba._dynfunc.make_function(*names, NO_ADDRESS, made.env, libraries)
        state.targetctx.insert_user_function(function, made.fndesc, libraries)
        state.cr = made._replace(cfunc=function)
        return True


class PartCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """Numba's compiler, with another last pass."""

    def define_pipelines(self) -> list[Any]:
        """The passes that a function goes through."""
        pipeline = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [
            (_Lowering if step is passes.NativeLowering else step, why) for step, why in pipeline.passes
        ]
        pipeline.finalize()
        return [pipeline]
