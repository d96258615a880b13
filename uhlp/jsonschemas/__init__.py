"""JSON Schema: schemas are checked at registration, values are validated on the request path.

The only home of jsonschema (explains what is wrong with a schema) and jsonschema_rs (validates in microseconds).
Draft 2020-12 unless `$schema` names an older one; `format` is an annotation, as that draft has it.
"""

from uhlp.jsonschemas.files import schema_file
from uhlp.jsonschemas.inferred import schema_of
from uhlp.jsonschemas.schema_check import check_schema
from uhlp.jsonschemas.validator import Problem, Validator, compile_validator

__all__ = ["Problem", "Validator", "check_schema", "compile_validator", "schema_file", "schema_of"]
