"""A world whose prompts can be shortened: real overrides, mailbox, runs and git; the OptimizeLoop is made up.

The prompt that reads order lines is long and wordy. `optimizer_works` plays the loop: it takes the requests that wait
and keeps the report that the test wants; the digests in it are those of the real prompts.
"""

from typing import Any

from tests.unit.evolution.world import APP, PARSE, World, component, files, lines
from uhlp.evals.component_datasets import ComponentDatasets
from uhlp.evolution.compression import Compression
from uhlp.evolution.rollouts import LiveHandler
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.sqlite_mailbox import SqliteMailbox
from uhlp.models.definition import AppDefinition
from uhlp.optimization.compress import (
    Modification,
    OptimizationReport,
    OptimizeRequest,
    OptimizeResult,
)
from uhlp.optimization.compress.optimization_report import ArmFigures, Certificate, Spent, Verdict
from uhlp.optimization.compress.optimize_run import OptimizeRun, OptimizeRuns, Step
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore, SectionOverride
from uhlp.prompts.overrides.git_documents import GitDocuments
from uhlp.registry.snapshot import Artifact, ComponentSnapshot

LONG = """\
template: |
  ## Task
  You will be given an order line. Please be so kind as to read it with the greatest care before you do anything.

  ## Rules
  Answer with the quantity and the product. Answer with the quantity and the product. Do so in every single case.

  ## Input
  {{ text }}
"""
SHORT_RULES = "## Rules\nAnswer with quantity and product.\n"
SHORT_TASK = "## Task\nRead this order line.\n"
STABLE = f"overrides/stable/{PARSE}.yaml"


class PromptWorld(World):
    """`shorten` takes a candidate to shadow; `pass_canary` of World takes it on."""

    def make_compression(self) -> Compression:
        async def write(app_id: str, changes: Any, **how: Any) -> str:
            how["actor"] = how.pop("author")
            return await self.registry.apply_files(app_id, changes, **how)

        self.overrides = PromptOverridesStore(documents=GitDocuments(files=self.state, write=write), clock=self.clock)
        self.runs = OptimizeRuns(values=self.state.framework)
        file = MailboxFile(self.folder / "mailbox.db", clock=self.clock)
        self._stack.push_async_callback(file.aclose)
        self.requests: SqliteMailbox[OptimizeRequest, OptimizeResult] = SqliteMailbox(
            name="optimize-requests", body=OptimizeRequest, reply=OptimizeResult, file=file
        )
        self._stack.push_async_callback(self.requests.close)
        return Compression(
            requests=self.requests,
            runs=self.runs,
            overrides=self.overrides,
            datasets=ComponentDatasets(registry=self.registry, samples=self.samples),
            state_manager=self.state,
            config=self.numbers,
        )

    async def register(self, *components: dict[str, Any], app: dict[str, Any] | None = None, **more: Any) -> None:
        components = components or (component(),)
        content = files(*components, **more)
        for one in components:
            content[f"prompts/{one['componentId']}.yaml"] = LONG.encode()
        definition = AppDefinition.model_validate({"appId": APP, **(app or {})})
        await self.registry.register_application(definition, files=content)

    async def optimizer_works(
        self, *, verdict: Verdict = "shorter", reason: str = "", bodies: dict[str, str] | None = None
    ) -> list[OptimizeRequest]:
        """Do what the OptimizeLoop does with every request that waits."""
        done = []
        for message in await self.requests.receive(max_messages=10):
            request = message.body
            run = await self.runs.begin(OptimizeRun(request=request, experiment_id=request.request_id))
            if not run.is_over:
                report = await self._report(request, verdict, reason, bodies or {"rules": SHORT_RULES})
                result = OptimizeResult(request_id=request.request_id, report=report)
                found = {
                    "dataset": request.dataset,
                    "spent": report.spent,
                    "component_id": request.component_id,
                }
                await self.runs.save(run.model_copy(update=found).ended(Step.DONE, result))
            await message.acknowledge()
            done.append(request)
        return done

    async def _report(
        self, request: OptimizeRequest, verdict: Verdict, reason: str, bodies: dict[str, str]
    ) -> OptimizationReport:
        assert request.component_id is not None
        now = self.component(request.component_id)
        assert now.prompt is not None
        assert now.prompt_artifact is not None
        descriptor = PromptDescriptor.of(APP, now.prompt)
        present = (await self.overrides.resolve(descriptor, "stable")).prompt
        hashes = {one.key: one.sha256 for one in present.sections}
        made = [SectionOverride(path=(key,), expected_hash=hashes[key], body=body) for key, body in bodies.items()]
        planned = await self.overrides.planned(descriptor, made)
        artifact = Artifact.of(now.prompt.path, planned.resolved.prompt.artifact(now.output_schema))
        figures = ArmFigures(n=60, passed=60, tokens_in=100.0, tokens_out=5.0)
        return OptimizationReport(
            experiment_id=request.request_id,
            prompt_ns=request.prompt_ns,
            prompt_key=request.prompt_key,
            component_id=request.component_id,
            baseline_digest=now.prompt_artifact.sha256,
            candidate_digest=artifact.sha256,
            verdict=verdict,
            reason=reason,
            baseline=figures,
            certificate=Certificate(
                baseline=figures,
                candidate=figures.model_copy(update={"tokens_in": 70.0}),
                difference=0.0,
                at_least=-0.01,
                is_accepted=True,
            ),
            modifications=tuple(
                Modification(
                    section_path=one.path,
                    original_hash=one.expected_hash,
                    proposed_body=one.body,
                    token_reduction=30,
                    baseline_pass_rate=1.0,
                    candidate_pass_rate=1.0,
                )
                for one in made
            )
            if verdict == "shorter"
            else (),
            spent=Spent(calls=400, tokens=40_000, usd=0.25, seconds=60.0),
        )

    def component(self, component_id: str = PARSE) -> ComponentSnapshot:
        return self.registry.snapshot(APP).components[component_id]

    def served_prompt(self, component_id: str = PARSE) -> str:
        artifact = self.component(component_id).prompt_artifact
        assert artifact is not None
        return artifact.content.decode()

    async def compress(self, component_id: str = PARSE) -> str:
        """A candidate that somebody asks for by hand, worked on once."""
        candidate_id = await self.oversight.optimize(
            APP, component_id, action="compress", actor="ann", reason="it is long"
        )
        await self.compiler.compile(candidate_id)
        return candidate_id

    async def shorten(self, component_id: str = PARSE, *, bodies: dict[str, str] | None = None) -> str:
        """A candidate in shadow."""
        if not (await self.samples.counts(APP, component_id)).train:
            await self.record(lines(30, split="train") + lines(30, split="held_out"), component_id)
        candidate_id = await self.compress(component_id)
        await self.optimizer_works(bodies=bodies)
        await self.compiler.compile(candidate_id)
        assert self.state_of(candidate_id) == "shadow", self.book.candidate(candidate_id).reason
        return candidate_id

    async def prove(self, candidate_id: str, *, most: int = 200) -> None:
        """Traffic until the candidate is in shadow no more."""
        component_id = self.book.candidate(candidate_id).component_id
        start = 5_000
        for _ in range(0, most, 10):
            if self.state_of(candidate_id) != "shadow":
                return
            await self.send_all(lines(10, start=start), component_id)
            start += 20
        raise AssertionError(f"still {self.book.candidate(candidate_id)}")

    async def promote(self, candidate_id: str) -> None:
        await self.prove(candidate_id)
        await self.pass_canary(candidate_id)
        assert self.state_of(candidate_id) == "promoted", self.book.candidate(candidate_id).reason

    def prompt_live(self, component_id: str = PARSE) -> LiveHandler | None:
        live = self.rollouts.in_traffic(APP, component_id)
        return live.candidate or live.prompt

    async def stable_set(self) -> bytes | None:
        return (await self.state.read_tree(APP)).files.get(STABLE)
