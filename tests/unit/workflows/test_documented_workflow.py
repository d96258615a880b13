"""The workflow that the documentation shows is one."""

from pathlib import Path

from tests.unit.workflows.random_workflows import assert_sound
from uhlp.workflows import parse_workflow

PAGE = Path(__file__).parents[3] / "uhlp" / "docs" / "workflows.md"


def test_the_example_of_the_page_is_accepted() -> None:
    example = PAGE.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    plan = parse_workflow(example.encode(), path="workflows/order.yaml")
    assert_sound(plan)
    assert plan.step_ids == ("read", "stock", "ask", "size", "approval", "answer", "refused")
