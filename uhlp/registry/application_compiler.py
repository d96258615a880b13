"""From the files of a repository to an application's snapshot, or to the list of everything that is wrong."""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import DefinitionInvalid, ValidationFailed
from uhlp.models.definition import AppDefinition, ComponentDefinition
from uhlp.prompts import Prompt, parse_prompt
from uhlp.registry.component_compiler import ComparatorCheck, ComponentCompiler, check_rules
from uhlp.registry.configuration import configuration_problem
from uhlp.registry.definition_files import APP_FILE, REGISTRY_FILE, DefinitionReader, Files
from uhlp.registry.offers import Offers
from uhlp.registry.problems import Problems
from uhlp.registry.route_table import Route, RouteConflict, RouteTable
from uhlp.registry.secret_scan import find_secrets
from uhlp.registry.security_check import check_security
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.registry.stable_overrides import overridden_prompts
from uhlp.registry.trigger_check import check_triggers
from uhlp.registry.workflow_compiler import WorkflowCompiler
from uhlp.state.remote import Remote


def compile_application(
    app_id: str,
    files: Files,
    *,
    revision: str,
    global_configuration: Mapping[str, Any],
    check_comparator: ComparatorCheck = lambda policies: None,
    offers: Offers | None = None,
) -> AppSnapshot:
    """The snapshot of `files` at `revision`. CPU only, a few milliseconds: call it in a thread.

    `offers` is what this server has for it to name; without it any name will do.
    Raises DefinitionInvalid; details.problems lists {"file", "path", "line"?, "message"} for all that is wrong.
    """
    problems = Problems(app_id)
    for file, content in files.items():
        for line, kind in find_secrets(content):
            problems.add(file, f"this looks like {kind}; write `secret:NAME` and keep the value outside", line=line)
    reader = DefinitionReader(files, problems)
    app, registry = reader.app(app_id), reader.components()
    prompts = _prompts(files, problems)
    if app is None:
        problems.raise_any()
        raise AssertionError("an unreadable app.yaml is always a problem")
    _check_app(app, reader)
    overridden = overridden_prompts(app_id, prompts, files, problems)
    definitions = () if registry is None else registry.components
    if offers is not None:
        offers.check(app, definitions, reader)
    workflows = WorkflowCompiler(files, problems)
    workflows.check(app, definitions)
    compiler = ComponentCompiler(
        app,
        files,
        prompts=prompts,
        served_prompts=overridden.prompts,
        workflows=workflows,
        reader=reader,
        problems=problems,
        global_configuration=global_configuration,
        check_comparator=check_comparator,
    )
    components: dict[str, ComponentSnapshot] = {}
    for index, definition in enumerate(definitions):
        at = f"/components/{index}"
        if definition.component_id in components:
            reader.problem(REGISTRY_FILE, f"{at}/componentId", f"{definition.component_id} is defined twice")
        components[definition.component_id] = compiler.compile(definition, at)
    routes = _routes(definitions, reader)
    check_triggers(definitions, components, reader)
    problems.raise_any()
    whole = app if registry is None else app.model_copy(update={"initial_component_registry": registry})
    api_keys = {key.key_id: key for key in app.security_config.api_keys}
    return AppSnapshot(
        app_id,
        revision,
        whole,
        components,
        routes,
        api_keys,
        workflows=workflows.plans,
        stale_overrides=overridden.stale,
    )


def _prompts(files: Files, problems: Problems) -> dict[str, Prompt | None]:
    """Every prompt by its path; None stands for one that does not parse, and whose problems are told."""
    prompts: dict[str, Prompt | None] = {}
    for file in files:
        if file.startswith("prompts/") and file.endswith(".yaml"):
            try:
                prompts[file] = parse_prompt(files[file], path=file)
            except DefinitionInvalid as error:
                prompts[file] = None
                problems.take(error, file)
    return prompts


def _check_app(app: AppDefinition, reader: DefinitionReader) -> None:
    check_rules(app.optimization_config.rules, APP_FILE, "/optimizationConfig/rules", reader)
    names = [pool.pool_name for pool in app.sandbox_pools.pools]
    for index, pool in enumerate(app.sandbox_pools.pools):
        at = f"/sandboxPools/pools/{index}"
        if pool.pool_name in names[:index]:
            reader.problem(APP_FILE, f"{at}/poolName", f"the pool {pool.pool_name} is defined twice")
        if pool.min_instances > pool.max_instances:
            reader.problem(APP_FILE, f"{at}/minInstances", "minInstances is larger than maxInstances")
    if problem := configuration_problem(app.configuration):
        reader.problem(APP_FILE, f"/configuration{problem[0]}", problem[1])
    check_security(app.security_config, reader)
    try:
        Remote.of(app.state_store_config.params)
    except ValidationFailed as error:
        reader.problem(APP_FILE, "/stateStoreConfig/params", error.message)


def _routes(definitions: tuple[ComponentDefinition, ...], reader: DefinitionReader) -> RouteTable:
    table = RouteTable()
    for index, definition in enumerate(definitions):
        matcher = definition.route_matcher
        if matcher is None:
            continue
        try:
            table.add(Route(definition.component_id, matcher.path_pattern, matcher.methods))
        except RouteConflict as error:
            reader.problem(REGISTRY_FILE, f"/components/{index}/routeMatcher/pathPattern", str(error))
    return table
