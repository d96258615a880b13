"""ServedRequests: what becomes known of a request when it has its answer."""

from typing import Any

from uhlp.clock import Clock
from uhlp.evolution.observation import ObservationQueue, Served
from uhlp.evolution.statistics import Outcome
from uhlp.execution import ExecutionResult
from uhlp.llm.usage import UsageBook
from uhlp.metrics.windows import Windows
from uhlp.routing.instruments import HANDLER, MODEL, RouterInstruments
from uhlp.routing.request import RoutedRequest
from uhlp.routing.rollout import Choice
from uhlp.traffic.samples import SampleStore


class ServedRequests:
    """Hands over to metrics, windows, samples and observers; one instance a router."""

    def __init__(
        self,
        *,
        observations: ObservationQueue,
        windows: Windows,
        samples: SampleStore,
        usage: UsageBook,
        instruments: RouterInstruments,
        clock: Clock,
    ) -> None:
        self._observations = observations
        self._windows = windows
        self._samples = samples
        self._usage = usage
        self._instruments = instruments
        self._clock = clock

    def finish(
        self,
        request: RoutedRequest,
        choice: Choice,
        result: ExecutionResult,
        started: float,
        *,
        handler_result: ExecutionResult | None = None,
        deoptimized: str | None = None,
        by_model: bool = False,
        answered_by: str = "",
    ) -> None:
        """Hand over what windows, samples and observers need; nothing here waits."""
        app_id, component_id = request.app.app_id, request.component.definition.component_id
        latency_ms = (self._clock.monotonic() - started) * 1000
        is_ok = result.outcome == "ok"
        self._instruments.finished(
            app_id, component_id,
            handler_type=MODEL if by_model else HANDLER,
            is_ok=is_ok, seconds=latency_ms / 1000, trace_id=request.trace_id,
        )  # fmt: skip
        runs = (result,) if handler_result in (None, result) else (handler_result, result)
        tokens_in, tokens_out, cost_usd = 0, 0, 0.0
        for one in runs:
            tokens_in += one.usage.tokens_in
            tokens_out += one.usage.tokens_out
            cost_usd += one.usage.cost_usd
        self._windows.observe(
            app_id, component_id,
            handler="llm" if by_model else "jit",
            latency_ms=latency_ms, ok=is_ok,
            tokens_in=tokens_in, tokens_out=tokens_out, cost_usd=cost_usd,
            deoptimized=deoptimized,
        )  # fmt: skip
        is_cached = by_model and result.usage.is_cached  # no news of how the model answers: neither sample nor evidence
        served_as, candidate_id = choice.counted_as(is_deoptimised=deoptimized is not None, is_cached=is_cached)
        self._usage.served(
            app_id, component_id,
            served_as, candidate_id=candidate_id,
            ok=is_ok, tokens_in=tokens_in, tokens_out=tokens_out, usd=cost_usd, seconds=latency_ms / 1000,
        )  # fmt: skip
        if not is_cached:
            self._samples.record_served(
                app_id, component_id,
                input=request.input, output=result.data if is_ok else _failure_note(result),
                implementation=answered_by or choice.label,
                handler="llm" if by_model else "jit",
                latency_ms=result.latency_ms,  # the model's own, without the handler that it stood in for
                tokens_in=tokens_in, tokens_out=tokens_out, cost_usd=cost_usd,
                ok=is_ok, trace_id=request.trace_id, spec_hash=request.component.spec_hash,
                redact=request.component.configuration.get("redact", ()),
            )  # fmt: skip
        if choice.assigned is not None:
            is_priced = not any(one.usage.unpriced_calls for one in runs)
            choice.finish(Outcome(not is_ok, latency_ms, cost_usd if is_priced else None))
        is_observed = choice.live is not None or choice.prompt is not None or bool(choice.beside)
        if is_cached:  # of such a request, only what the handler failed to do is news
            is_observed = choice.live is not None and handler_result is not None and handler_result.outcome != "ok"
        if is_observed:
            model_result = result if by_model and handler_result is not result and not is_cached else None
            is_by_prompt = choice.live is None and choice.is_by_prompt
            self._observations.offer(
                Served(
                    app=request.app,
                    component=request.component,
                    live=choice.live,
                    beside=choice.beside,
                    input=request.input,
                    model_result=model_result,
                    handler_result=handler_result,
                    prompt=choice.prompt,
                    prompt_result=(handler_result if is_by_prompt else None) or model_result,
                )
            )


def _failure_note(result: ExecutionResult) -> dict[str, Any]:
    return {"failure": result.failure, "code": result.error.code if result.error else None}
