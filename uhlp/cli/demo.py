"""`uhlp demo` and `uhlp simulate-model`."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.failure import CommandError, cannot_listen

if TYPE_CHECKING:
    from uhlp.demo.banking77_demo import RecordedReport
    from uhlp.demo.report import DemoReport

INTERRUPTED = 130


class DemoApp(StrEnum):
    SUPPORT_DESK = "support-desk"
    BANKING77 = "banking77"


def demo(
    app: Annotated[DemoApp, typer.Option(help="Which application to show.")] = DemoApp.SUPPORT_DESK,
    traffic: Annotated[
        Path | None, typer.Option(help="For banking77: the recorded calls (text, llm_label, gold_label; JSON Lines).")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End after the report; exit status 0 only if everything went as expected.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The server's port; another one when it is taken.")
    ] = 8080,
    seed: Annotated[int, typer.Option(help="Of traffic and simulated model.")] = 1,
    report: Annotated[Path | None, typer.Option(help="Write the report to this file as JSON.")] = None,
) -> None:
    """Watch endpoints that a (simulated) model runs turn into code, in two minutes.

    Needs nothing: no key, no Docker, no Redis. Afterwards the server goes on serving until Ctrl-C.
    """
    if app is DemoApp.BANKING77 and traffic is None:
        raise CommandError("banking77 needs the recorded calls", hint="uhlp demo --app banking77 --traffic FILE.jsonl")
    if traffic is not None and not traffic.is_file():
        raise CommandError(f"there is no file {traffic}")
    with suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(_demo(app, traffic, once, port, seed, report)))


async def _demo(app: DemoApp, traffic: Path | None, once: bool, port: int, seed: int, report_file: Path | None) -> int:
    from rich.console import Console

    from uhlp.demo.banking77_demo import Banking77Demo
    from uhlp.demo.processes import DemoFailed
    from uhlp.demo.support_desk_demo import SupportDeskDemo

    console = Console()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uhlp-demo-")))
        run: Coroutine[Any, Any, DemoReport | RecordedReport]
        if app is DemoApp.BANKING77 and traffic is not None:
            run = Banking77Demo(
                console=console, directory=directory, port=port, recording=traffic, stack=stack, goes_on=not once
            ).run()
        else:
            run = SupportDeskDemo(
                console=console, directory=directory, port=port, seed=seed, stack=stack, goes_on=not once
            ).run()
        running: asyncio.Task[DemoReport | RecordedReport] = asyncio.create_task(run)
        interrupted: asyncio.Task[Any] = asyncio.create_task(ended.wait())
        await asyncio.wait([running, interrupted], return_when=asyncio.FIRST_COMPLETED)
        interrupted.cancel()
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            return INTERRUPTED
        try:
            report = running.result()
        except DemoFailed as failure:
            raise CommandError(str(failure)) from None
        if report_file is not None:
            await asyncio.to_thread(_write, report_file, report.to_dict())
        if not once:
            console.print("\nThe server goes on serving; end it with Ctrl-C.", style="dim")
            await ended.wait()
        return 0 if report.is_ok else 1


def _write(file: Path, report: dict[str, Any]) -> None:
    file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def simulate_model(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8099,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers, latencies and errors.")] = 1,
    latency_ms: Annotated[float, typer.Option(min=0, help="Median time of an answer.")] = 250.0,
    noise: Annotated[float, typer.Option(min=0, max=1, help="Share of answers that come out different.")] = 0.0,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=SHARE",
            help="Errors, each with its share: 429, 500, timeout, drop, half, page, error, huge, garbage, mangled, "
            "schema. While it runs, PUT /faults changes them.",
        ),
    ] = None,
) -> None:
    """Play a model, so that a server needs no key: OpenAI- and Anthropic-compatible, with answers that code makes up.

    It knows the tasks of the demo and of the starter application; any other prompt gets an answer of the right form.
    """
    from uhlp.demo.simulated_model import serve_simulated_model

    errors = dict(_share_of(one) for one in fail or ())
    serving = serve_simulated_model(
        host=host,
        port=port,
        seed=seed,
        latency_ms=latency_ms,
        noise=noise,
        errors=errors,
        on_listening=_say_how_to_use_it,
    )
    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(serving)
        except OSError as error:
            raise cannot_listen(host, port, error, command="simulate-model") from None


def _say_how_to_use_it(url: str) -> None:
    from uhlp.demo.simulated_model import CODER_MODEL, TASK_MODEL

    print(f"simulated model at {url}; it answers to any model name as {TASK_MODEL}, as {CODER_MODEL} for handlers")
    print("  let a server use it:")
    print(f"  export OPENAI_API_KEY=simulated OPENAI_BASE_URL={url}/v1 UHLP_LLM__DEFAULT_MODEL={TASK_MODEL}")
    print("  uhlp serve", flush=True)


def _share_of(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    try:
        return kind, float(share)
    except ValueError:
        raise CommandError(f"--fail {text} is not understood", hint="for example --fail 429=0.01") from None
