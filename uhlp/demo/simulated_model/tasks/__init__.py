"""What the simulated model can do. To add a task: write its module, then name it in TASKS."""

from uhlp.demo.simulated_model.tasks import (
    amounts,
    case_summary,
    drafts,
    order_lines,
    order_notes,
    starter_ticket,
    ticket_triage,
)
from uhlp.demo.simulated_model.tasks.task import Task

TASKS: tuple[Task, ...] = (
    drafts.TASK,
    order_lines.TASK,
    ticket_triage.TASK,
    case_summary.TASK,
    amounts.TASK,
    starter_ticket.TASK,
    order_notes.TASK,
)


def task_of(prompt: str) -> Task | None:
    """The task that a prompt asks for, by the phrase that its text contains."""
    return next((task for task in TASKS if task.phrase in prompt), None)
