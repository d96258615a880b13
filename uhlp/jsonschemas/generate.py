"""Write schemas/*.schema.json from the wire models: `python -m uhlp.jsonschemas.generate`."""

import json

from pydantic import BaseModel

from uhlp.jsonschemas.files import CHECKOUT_FOLDER
from uhlp.models.definition import AppDefinition
from uhlp.models.execute import ExecuteFault, ExecuteRequest, ExecuteResponse
from uhlp.models.metric import MetricRecord
from uhlp.models.prompt import PromptTemplate
from uhlp.models.workflow import WorkflowDefinition

PUBLISHED: dict[str, type[BaseModel]] = {
    "app_definition": AppDefinition,
    "execute_fault": ExecuteFault,
    "execute_request": ExecuteRequest,
    "execute_response": ExecuteResponse,
    "metric_record": MetricRecord,
    "prompt_template": PromptTemplate,
    "workflow": WorkflowDefinition,
}


def schema_text(name: str) -> str:
    """The text of `schemas/<name>.schema.json`: what its model accepts, in Draft 2020-12."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | PUBLISHED[name].model_json_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    CHECKOUT_FOLDER.mkdir(exist_ok=True)
    for name in PUBLISHED:
        (CHECKOUT_FOLDER / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
