"""What the model path adds to its provider, beside the least a proxy can do: `python -m tests.bench.model_path`.

The provider takes no time and shares a core with the load; each proxy has the other core, UHLP with its sandboxes.
LiteLLM joins as a peer when `BENCH_LITELLM` names its executable (`pip install 'litellm[proxy]'` in a venv).
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.application import APP_ID, TICKET, register
from tests.bench.load import API_KEY, LOAD_CORE, SERVER_CORE
from tests.bench.processes import asgi, free_port, server, uhlp_serve
from tests.bench.rounds import Results, Target, print_table, run_rounds, verdict

UHLP, PROVIDER = "UHLP, LLM component", "the provider itself"
PASSTHROUGH, LITELLM = "aiohttp passthrough", "LiteLLM proxy"
LITELLM_VARIABLE = "BENCH_LITELLM"
LITELLM_TO_PASSTHROUGH = 13.1 / 0.6, 85 / 3055
"""Where LiteLLM cannot be run: its added latency and its throughput, over the passthrough's, measured on two cores."""
_CHAT_PATH = "/v1/chat/completions"


def run(*, rounds: int = 5, seconds: int = 3) -> Results:
    """Measure at one connection and at 32, and print table and ratios."""
    chat = {"model": "bench", "messages": [{"role": "user", "content": f"{TICKET['subject']}\n{TICKET['text']}"}]}
    with ExitStack() as stack:
        provider = stack.enter_context(asgi("tests.bench.provider:app", core=LOAD_CORE))
        port = free_port()
        command = [sys.executable, "-m", "tests.bench.passthrough", str(port), provider]
        passthrough = stack.enter_context(server(command, port, core=SERVER_CORE)).url
        environment = {
            "UHLP_LLM__PROVIDERS": json.dumps({"bench": {"kind": "openai", "base_url": f"{provider}/v1"}}),
            "UHLP_LLM__DEFAULT_MODEL": "bench",
        }
        uhlp = stack.enter_context(uhlp_serve(environment)).url
        register(uhlp)
        targets = {
            PROVIDER: Target(provider + _CHAT_PATH, chat),
            PASSTHROUGH: Target(passthrough + _CHAT_PATH, chat),
            UHLP: Target(f"{uhlp}/apps/{APP_ID}/model", TICKET),
        }
        if executable := os.environ.get(LITELLM_VARIABLE):
            targets[LITELLM] = Target(stack.enter_context(_litellm(executable, provider)) + _CHAT_PATH, chat)
        results = run_rounds(targets, connections=(1, 32), rounds=rounds, seconds=seconds)
    print_table(results)
    _print_ratios(results)
    return results


def _print_ratios(results: Results) -> None:
    own = results[PROVIDER][1].p50_ms
    added_ms = {name: by_count[1].p50_ms - own for name, by_count in results.items() if name != PROVIDER}
    print("added p50 at c=1: " + ", ".join(f"{name} {value:.2f} ms" for name, value in added_ms.items()))
    if LITELLM in results:
        litellm_ms, litellm_rate, which = added_ms[LITELLM], results[LITELLM][32].requests_per_s, "LiteLLM"
    else:
        litellm_ms = added_ms[PASSTHROUGH] * LITELLM_TO_PASSTHROUGH[0]
        litellm_rate = results[PASSTHROUGH][32].requests_per_s * LITELLM_TO_PASSTHROUGH[1]
        which = "LiteLLM (derived from the passthrough)"
    print(verdict(f"added p50 at c=1 over that of {which}", added_ms[UHLP] / litellm_ms, 1 / 8, at_least=False))
    rate = results[UHLP][32].requests_per_s
    print(verdict(f"req/s at c=32 over {which}", rate / litellm_rate, 20, at_least=True))
    print(f"req/s at c=32 over the aiohttp passthrough: {rate / results[PASSTHROUGH][32].requests_per_s:.2f}")


@contextmanager
def _litellm(executable: str, provider: str) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(
            "model_list:\n  - model_name: bench\n    litellm_params:\n"
            f"      model: openai/bench\n      api_base: {provider}/v1\n      api_key: bench\n"
        )
        command = [executable, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        with server(
            command, port, core=SERVER_CORE, environment={"LITELLM_MASTER_KEY": API_KEY, "LITELLM_LOG": "ERROR"}
        ) as running:
            yield running.url


if __name__ == "__main__":
    run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)
