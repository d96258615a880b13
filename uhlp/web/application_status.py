"""An application's status, as every face of the server shows it: its definition's, and its sandboxes'."""

from typing import Any

from uhlp.web.services import Services


async def application_status(services: Services, app_id: str) -> tuple[str, dict[str, Any]]:
    """What the registry says of the definition; DEGRADED too while sandboxes cannot serve all of an active application.

    The details then hold `sandboxProblems`, a sentence each.
    """
    status, details = await services.registry.get_application_status(app_id)
    problems = services.sandboxes.problems(app_id)
    if not problems:
        return str(status), details
    details = {"message": problems[0], **details, "sandboxProblems": problems}
    return "DEGRADED" if status == "ACTIVE" else str(status), details
