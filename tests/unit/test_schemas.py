"""The published schema files say what the wire models accept."""

import pytest

from uhlp.jsonschemas import check_schema, compile_validator, schema_file
from uhlp.jsonschemas.files import CHECKOUT_FOLDER
from uhlp.jsonschemas.generate import PUBLISHED, schema_text


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_file_is_what_the_model_generates(name: str) -> None:
    on_disk = (CHECKOUT_FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert on_disk == schema_text(name), "run `python -m uhlp.jsonschemas.generate`"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_file_is_a_schema_that_uhlp_itself_accepts(name: str) -> None:
    check_schema(schema_file(name), path=name)


def test_the_app_definition_needs_only_its_id_and_refuses_unknown_fields() -> None:
    validator = compile_validator(schema_file("app_definition"))
    assert validator.problems({"appId": "desk"}) == []
    assert validator.problems({"appId": "desk", "colour": "red"}) != []
    assert validator.problems({"appId": "Desk!"})[0]["path"] == "/appId"


def test_an_unknown_schema_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        schema_file("nothing")
