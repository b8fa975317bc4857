"""What LLVM makes of the generated code, where a look at values cannot tell."""

import pytest
from numba import typeof

from ai8xsim.kernels.compiled import njit
from ai8xsim.kernels.generated.targets import FOUR, Target, available_targets
from ai8xsim.kernels.generated.tiles import PlaneJob, multiply_plane

TARGETS = [target for target in available_targets() if target.products == FOUR]


@pytest.mark.skipif(not TARGETS, reason="this processor has no vpdpwssd")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_products_of_pairs_are_added_by_the_instruction_that_multiplies(target: Target) -> None:
    marker = target.marker

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def multiply(vectors: int, job: PlaneJob) -> None:
        multiply_plane(marker, vectors, job)

    multiply.compile((typeof(1), typeof(PlaneJob(*range(8)))))
    (code,) = multiply.inspect_asm().values()
    assert "vpdpwssd" in code
    assert "vpmaddwd" not in code
