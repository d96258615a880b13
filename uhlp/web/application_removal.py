"""How an application goes: out of service first, then what it ran, then what is kept of it."""

from uhlp.web.services import Services


async def remove_application(services: Services, app_id: str, *, delete_state: bool) -> None:
    """Answer no new request, let those in flight finish within the drain time, end the sandboxes, drop the windows.

    With `delete_state` the messages of its queues, its samples, the cases that its candidates lost, evaluations and the
    runs of its workflows go too, and then its runtime values and repository: as long as these are there, an interrupted
    removal can be asked for again.
    The metric collector frees the series of what is no longer registered by itself. AppNotFound when there is nothing
    to remove.
    """
    queues = services.sources.queues.known(app_id)
    await services.registry.deregister_application(app_id)
    await services.sandboxes.stop_application(app_id)
    services.windows.forget(app_id)
    if delete_state:
        await services.sources.queues.clear(queues)
        await services.samples.delete_application(app_id)
        await services.evolution.forget(app_id)
        await services.workflows.delete_application(app_id)
        await services.eval_runs.forget(app_id)
        await services.optimize_runs.forget(app_id)
        await services.registry.deregister_application(app_id, delete_state=True)
