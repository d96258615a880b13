"""The workflow that the README shows is one."""

from pathlib import Path

from tests.unit.workflows.random_workflows import assert_sound
from uhlp.workflows import parse_workflow

README = Path(__file__).parents[3] / "README.md"


def test_the_example_of_the_readme_is_accepted() -> None:
    section = README.read_text(encoding="utf-8").partition("\n## Workflows\n")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    plan = parse_workflow(example.encode(), path="workflows/order.yaml")
    assert_sound(plan)
    assert plan.step_ids == ("read", "stock", "ask", "size", "approval", "answer", "refused")
