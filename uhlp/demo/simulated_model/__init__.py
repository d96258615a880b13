"""A server that speaks the wires of model providers and answers by ordinary code: no model, no key, no cost."""

from uhlp.demo.simulated_model.faults import Faults
from uhlp.demo.simulated_model.server import SimulatedModelServer, serve_simulated_model
from uhlp.demo.simulated_model.simulated_model import CODER_MODEL, TASK_MODEL, SimulatedModel

__all__ = ["CODER_MODEL", "TASK_MODEL", "Faults", "SimulatedModel", "SimulatedModelServer", "serve_simulated_model"]
