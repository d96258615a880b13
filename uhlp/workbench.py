"""A second, small composition root: what `uhlp estimate --coder` runs on, without server and data directory."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from uhlp.clock import SystemClock
from uhlp.evolution.coder_estimate import CoderEstimate
from uhlp.evolution.reference import Reference
from uhlp.evolution.verification import Verifier
from uhlp.execution import Executor, HandlerTests
from uhlp.jsonschemas import schema_file
from uhlp.llm import ModelGateway
from uhlp.logs import configure_logs
from uhlp.metering import NullMeter
from uhlp.metrics import MetricCollector
from uhlp.models.definition import LlmConfig
from uhlp.optimization.jit.coder import CoderProposer
from uhlp.sandbox.drivers.choice import make_driver
from uhlp.sandbox.manager import SandboxManager
from uhlp.secret_references import secret_reader
from uhlp.settings import read_settings
from uhlp.tools import CoreMCPServer, ToolNamespaces


@asynccontextmanager
async def open_coder_estimate(coder_model: str) -> AsyncIterator[CoderEstimate]:
    """A coder (`model` or `provider/model`) with sandboxes for what it writes; nothing is left behind."""
    settings, clock, meter = read_settings(), SystemClock(), NullMeter()
    configure_logs(settings.log.format, "warning")
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uhlp-estimate-")))
        read_secret = secret_reader(os.environ, directory)
        gateway = ModelGateway(settings=settings.llm, clock=clock, meter=meter, read_secret=read_secret)
        stack.push_async_callback(gateway.aclose)
        metrics = MetricCollector(schema=schema_file("metric_record"), config=settings.metrics, clock=clock)
        tools = CoreMCPServer(gateway=gateway, metrics=metrics, clock=clock, meter=meter)
        driver = await make_driver(
            settings.sandbox, data_dir=directory, production=False, clock=clock, read_secret=read_secret
        )
        sandboxes = SandboxManager(driver=driver, config=settings.sandbox, clock=clock, meter=meter)
        await sandboxes.open()
        stack.push_async_callback(sandboxes.close)
        executor = Executor(
            sandboxes=sandboxes,
            tools=ToolNamespaces(core=tools, clock=clock),
            clock=clock,
            meter=meter,
            deployment_mode=settings.deployment_mode,
        )
        tests = HandlerTests(
            sandboxes=sandboxes,
            deployment_mode=settings.deployment_mode,
            timeout_s=lambda: settings.evolution.verify.tests_timeout_s,
        )
        verifier = Verifier(
            executor=executor, handler_tests=tests, reference=Reference(executor=executor), config=settings.evolution
        )
        coder = CoderProposer(
            mcp_client=tools,
            llm_of=lambda app_id: LlmConfig(),
            clock=clock,
            default_coder_model=coder_model,
            timeout_s=lambda: settings.evolution.coder_timeout_s,
        )
        yield CoderEstimate(coder=coder, verifier=verifier, executor=executor, config=settings.evolution)
