"""The simulated coder: writes handlers from the specification alone. It holds no handler of any data set."""

from uhlp.demo.simulated_model.coder.coder import write_handler
from uhlp.demo.simulated_model.coder.specification import is_specification

__all__ = ["is_specification", "write_handler"]
