"""Compression: the optimisation run that a candidate for a shorter prompt comes from.

The run belongs to the OptimizeLoop, wherever one works, and is named after the candidate: who asks again, after a
restart too, finds it where it is. Nobody waits for it: it is looked at in every cycle until it is over.
"""

from hashlib import sha256
from typing import Protocol

from uhlp.errors import UhlpError
from uhlp.evals.component_datasets import own_evaluator
from uhlp.evals.dataset import Dataset
from uhlp.evals.undeclared_text import undeclared_text
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.kept_prompt import KeptPrompt
from uhlp.evolution.measuring import MeasurementFailed
from uhlp.mailbox.mailbox import Mailbox
from uhlp.optimization.compress import OptimizationReport, OptimizeBudget, OptimizeRequest, OptimizeResult
from uhlp.optimization.compress.modifications import overrides_of
from uhlp.optimization.compress.optimize_run import OptimizeRun, OptimizeRuns
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore
from uhlp.prompts.overrides.git_documents import override_file, override_path
from uhlp.prompts.overrides.override_set import STABLE, override_id
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.state.state_manager import StateManager
from uhlp.traffic.split import Split


class Datasets(Protocol):
    """What is known of a component's inputs."""

    async def dataset_of(self, ns: str, component_id: str) -> Dataset:
        """Its golden examples, adjudications and recorded samples."""
        ...


class Compression:
    """Asks for runs, reads them, and makes of a report what a candidate keeps."""

    def __init__(
        self,
        *,
        requests: Mailbox[OptimizeRequest, OptimizeResult],
        runs: OptimizeRuns,
        overrides: PromptOverridesStore,
        datasets: Datasets,
        state_manager: StateManager,
        config: ConfigInForce,
    ) -> None:
        self._requests = requests
        self._runs = runs
        self._overrides = overrides
        self._datasets = datasets
        self._state = state_manager
        self._config = config

    async def run_of(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        *,
        is_judged: bool,
        usd_left: float | None,
    ) -> OptimizeRun:
        """The candidate's run; asked for now, if nobody has. Raises MeasurementFailed when it cannot be asked for."""
        try:
            run = await self._runs.find(request_id_of(candidate))
            if run is not None:
                return run
            request = await self._request(candidate, app, component, is_judged, usd_left)
            await self._requests.send(request)
            return await self._runs.begin(OptimizeRun(request=request, experiment_id=request.request_id))
        except UhlpError as error:
            raise MeasurementFailed(f"the optimisation cannot be asked for: {error.message}") from error

    async def undeclared_text(self, app: AppSnapshot, component: ComponentSnapshot) -> str | None:
        """The field of its answers that is prose, though its comparator does not say so."""
        optimization = component.definition.optimization
        dataset = await self._datasets.dataset_of(app.app_id, component.definition.component_id)
        return undeclared_text(dataset, optimization.comparator)

    async def cancel(self, candidate: Candidate) -> None:
        """End the run of a candidate that is over."""
        run = await self._runs.find(request_id_of(candidate))
        if run is not None and not run.is_over:
            await self._runs.cancel(run.request.request_id)

    async def kept(
        self, candidate: Candidate, app: AppSnapshot, component: ComponentSnapshot, report: OptimizationReport
    ) -> KeptPrompt | None:
        """The prompt that a report leads to; None when that is not the one which the report is about.

        Raises UhlpError when the modifications do not fit what is there.
        """
        prompt, served = component.prompt, component.prompt_artifact
        if prompt is None or served is None or served.sha256 != report.baseline_digest:
            return None
        descriptor = PromptDescriptor.of(app.app_id, prompt)
        planned = await self._overrides.planned(
            descriptor,
            overrides_of(report.modifications),
            tag=STABLE,
            provenance={"candidate": candidate.id, "experiment": report.experiment_id},
        )
        artifact = Artifact.of(prompt.path, planned.resolved.prompt.artifact(component.output_schema))
        if artifact.sha256 != report.candidate_digest:
            return None
        files = (await self._state.read_tree(app.app_id)).files
        return KeptPrompt(
            artifact=artifact,
            previous=served,
            overrides=override_file(planned.overrides),
            overrides_before=files.get(override_path(override_id(app.app_id, descriptor.key, STABLE))),
            report=report,
        )

    async def _request(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        is_judged: bool,
        usd_left: float | None,
    ) -> OptimizeRequest:
        assert component.prompt is not None  # noqa: S101  the caller asked
        config = self._config.now.compress
        dataset = await self._datasets.dataset_of(app.app_id, candidate.component_id)
        return OptimizeRequest(
            prompt_ns=app.app_id,
            prompt_key=PromptDescriptor.of(app.app_id, component.prompt).key,
            component_id=candidate.component_id,
            dataset=Dataset(
                samples=(
                    *_some(dataset, "train", config.samples).samples,
                    *_some(dataset, "held_out", config.samples).samples,
                )
            ),
            evaluator=own_evaluator(app, component, is_judged=is_judged),
            budget=OptimizeBudget(
                calls=config.most_calls,
                seconds=config.most_s,
                usd=max(usd_left, 1e-6) if usd_left is not None else None,
            ),
            request_id=request_id_of(candidate),
        )


def request_id_of(candidate: Candidate) -> str:
    """The name of its run. Candidates' ids are random, and so is this."""
    return f"compress-{sha256(f'{candidate.app_id}/{candidate.id}/{candidate.created_at}'.encode()).hexdigest()[:24]}"


def _some(dataset: Dataset, split: Split, most: int) -> Dataset:
    """What stands first, golden examples and people's words before recordings."""
    return dataset.of_split(split).first(most)
