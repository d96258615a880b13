"""FairSlots: who may run next, when more is asked than the server can run at once.

A slot is held while a request is answered, whatever that takes: the wait for the application's own sandboxes and a slow
model too. So no application may take all of them: it gets another one only while it holds fewer than are free. Alone it
has half of the slots, of two each has a third, and who comes late finds some free at any time (the dynamic threshold of
Choudhury and Hahne, 1998). Applications that wait are served in turn, each in its own order of arrival.

What applications share beside the slots is the event loop. While there are several, it begins at most `BEGUN_A_TURN`
requests in one turn, but for those of an application that holds less than half of what all do on the average. A flood
so waits here, and not in front of others' answers. An application that is alone has nobody to make room for.
"""

import asyncio
from collections import deque

from uhlp.catalogue import traffic
from uhlp.errors import TooManyRequests
from uhlp.metering import Meter
from uhlp.routing.config import SlotSettings

BEGUN_A_TURN = 2
"""Requests that begin in one turn of the event loop: more of them make every other answer later by what they take."""

SHARED_TURNS = 10_000
"""So many turns after another application was there the server still counts as shared: under load some seconds."""

RETRY_AFTER_S = 1.0


class _Application:
    """An application that holds slots or waits for some."""

    __slots__ = ("app_id", "held", "queue", "waiting")

    def __init__(self, app_id: str) -> None:
        self.app_id = app_id
        self.held = 0
        self.queue: deque[_Waiter] = deque()
        self.waiting = 0
        """Those in the queue, and those that wait for their component."""


class _Component:
    """A component with a limit of its own, while something of it runs or waits."""

    __slots__ = ("admitted", "limit", "waiters")

    def __init__(self) -> None:
        self.admitted = 0
        self.limit = 0
        self.waiters: deque[_Waiter] = deque()


class _Waiter:
    __slots__ = ("application", "future", "is_queued")

    def __init__(self, application: _Application) -> None:
        self.application = application
        self.is_queued = False
        """In its application's queue; before that it may wait for its component."""
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FairSlots:
    """The slots of one server. `take` or `wait`, then `give_back` once; all with the same component and limit."""

    def __init__(self, *, settings: SlotSettings, meter: Meter) -> None:
        self._settings = settings
        self._waiting = traffic.WAITING.on(meter)
        self._free = settings.executions
        self._most_held = settings.executions_per_application or settings.executions
        self._applications: dict[str, _Application] = {}
        self._components: dict[tuple[str, str], _Component] = {}
        self._in_turn: deque[_Application] = deque()
        """Those with something in their queue."""
        self._left_in_turn = BEGUN_A_TURN
        self._shared_turns = 0
        """Left of `SHARED_TURNS`; at 0 nothing is held up for a turn."""
        self._turn: asyncio.Handle | None = None

    def take(self, app_id: str, component_id: str, limit: int | None = None) -> bool:
        """A slot that is free now; False when it has to be waited for. `limit` is the component's own, if it has one.

        This is the hot path: a request that nobody is in the way of does nothing else.
        """
        application = self._applications.get(app_id)
        if application is None:
            if self._free <= 0:
                return False
            application = self._new(app_id)
        elif (
            application.waiting
            or not self._may_hold_another(application)
            or (self._shared_turns and self._left_in_turn <= 0 and not self._holds_little(application))
        ):
            return False
        if limit is not None:
            component = self._component(app_id, component_id, limit)
            if component.admitted >= limit:
                self._forget(application)
                return False
            component.admitted += 1
        application.held += 1
        self._free -= 1
        if self._shared_turns:
            self._left_in_turn -= 1
            if self._turn is None:
                self._look_next_turn()
        return True

    async def wait(self, app_id: str, component_id: str, limit: int | None = None, *, timeout_s: float) -> None:
        """The next slot that is the application's due. Raises TooManyRequests: its queue is full, or none became free
        within the settings' time or `timeout_s`, whichever is less; then nothing has run."""
        application = self._applications.get(app_id)
        if application is None:
            application = self._new(app_id)
        if application.waiting >= self._settings.queue_per_application:
            self._forget(application)
            raise self._refusal(application)
        waiter = _Waiter(application)
        application.waiting += 1
        gauge = self._waiting.labels(app_id)
        gauge.inc()
        limit_s = max(0.0, min(timeout_s, self._settings.queue_wait_s))
        timer = asyncio.get_running_loop().call_later(limit_s, self._give_up, waiter)
        component = None if limit is None else self._component(app_id, component_id, limit)
        try:
            if component is not None and component.admitted >= component.limit:
                component.waiters.append(waiter)
            else:
                self._line_up(waiter, component)
            await waiter.future
        except BaseException:
            self._leave(waiter, component, component_id)
            raise
        finally:
            timer.cancel()
            gauge.dec()

    def give_back(self, app_id: str, component_id: str, limit: int | None = None) -> None:
        """The request has its answer, or the error that stands for one."""
        application = self._applications[app_id]
        application.held -= 1
        self._free += 1
        if limit is not None:
            self._pass_on(app_id, component_id)
        if self._in_turn and self._turn is None:
            self._look_next_turn()
        self._forget(application)

    # Who is next

    def _may_hold_another(self, application: _Application) -> bool:
        return application.held < self._most_held and application.held < self._free

    def _holds_little(self, application: _Application) -> bool:
        return 2 * application.held * len(self._applications) < self._settings.executions - self._free

    def _next_turn(self) -> None:
        """The loop has looked at everything that arrived meanwhile."""
        self._turn = None
        self._shared_turns = SHARED_TURNS if len(self._applications) > 1 else max(0, self._shared_turns - 1)
        most = self._left_in_turn = BEGUN_A_TURN if self._shared_turns else self._free
        passed_over = 0
        while self._left_in_turn > 0 and passed_over < len(self._in_turn):
            application = self._in_turn.popleft()
            if not self._may_hold_another(application):
                self._in_turn.append(application)
                passed_over += 1
                continue
            passed_over = 0
            waiter = application.queue.popleft()
            waiter.is_queued = False
            if not waiter.future.done():  # else it has left, and is about to say so
                waiter.future.set_result(None)
                application.waiting -= 1
                application.held += 1
                self._free -= 1
                self._left_in_turn -= 1
            if application.queue:
                self._in_turn.append(application)
        if self._left_in_turn < most:
            self._look_next_turn()

    def _look_next_turn(self) -> None:
        self._turn = asyncio.get_running_loop().call_soon(self._next_turn)

    def _line_up(self, waiter: _Waiter, component: _Component | None) -> None:
        if component is not None:
            component.admitted += 1
        queue = waiter.application.queue
        queue.append(waiter)
        waiter.is_queued = True
        if len(queue) == 1:
            self._in_turn.append(waiter.application)
        if self._turn is None:
            self._look_next_turn()

    def _give_up(self, waiter: _Waiter) -> None:
        if not waiter.future.done():
            waiter.future.set_exception(self._refusal(waiter.application))

    def _leave(self, waiter: _Waiter, component: _Component | None, component_id: str) -> None:
        """The waiter has not got, or does not use, what it waited for."""
        application, future = waiter.application, waiter.future
        limit = None if component is None else 0
        if future.done() and not future.cancelled() and future.exception() is None:
            self.give_back(application.app_id, component_id, limit)
            return
        application.waiting -= 1
        if component is not None and waiter in component.waiters:
            component.waiters.remove(waiter)
            component = None
        if waiter.is_queued:
            application.queue.remove(waiter)
            if not application.queue:
                self._in_turn.remove(application)
        if component is not None:
            self._pass_on(application.app_id, component_id)
        self._forget(application)

    def _new(self, app_id: str) -> _Application:
        if self._applications:
            self._shared_turns = SHARED_TURNS
        application = self._applications[app_id] = _Application(app_id)
        return application

    def _forget(self, application: _Application) -> None:
        """Nothing is kept of an application that neither runs nor waits."""
        if not application.held and not application.waiting:
            self._applications.pop(application.app_id, None)

    # Components with a limit of their own

    def _component(self, app_id: str, component_id: str, limit: int) -> _Component:
        component = self._components.get((app_id, component_id))
        if component is None:
            component = self._components[app_id, component_id] = _Component()
        component.limit = limit  # as it is defined now
        return component

    def _pass_on(self, app_id: str, component_id: str) -> None:
        """One of the component is over, or left: the next of it may wait for a slot."""
        component = self._components[app_id, component_id]
        component.admitted -= 1
        while component.waiters and component.admitted < component.limit:
            self._line_up(component.waiters.popleft(), component)
        if not component.admitted:
            del self._components[app_id, component_id]

    def _refusal(self, application: _Application) -> TooManyRequests:
        return TooManyRequests(
            f"The application {application.app_id} has {application.held} requests running and {application.waiting} "
            "that wait for their turn.",
            details={"running": application.held, "waiting": application.waiting},
            retry_after_s=RETRY_AFTER_S,
        )
