"""When nothing can be learnt: a handler that says so and leaves everything to the model."""

from uhlp.demo.simulated_model.coder.specification import Specification

REASON = "not learnable from samples"

_CODE = f'''\
"""No function of the inputs was found in the recorded samples; every request is left to the model."""

from uhlp_runtime import Deoptimize


def handle(inputs, context):
    raise Deoptimize("{REASON}")
'''

_TESTS = f'''\
import pytest
from uhlp_runtime import Deoptimize

from handler import handle


@pytest.mark.parametrize("inputs", [{{}}, {{"text": "anything"}}])
def test_leaves_everything_to_the_model(inputs):
    with pytest.raises(Deoptimize, match="{REASON}"):
        handle(inputs, {{}})
'''


def write_refusal(specification: Specification) -> tuple[str, str, str]:
    """(code, tests, guard) of a handler that answers nothing."""
    return _CODE, _TESTS, "Answers nothing: the outputs could not be traced to the inputs."
