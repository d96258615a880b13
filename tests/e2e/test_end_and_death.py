"""How a server ends, and what happens when a part of it is killed."""

import os
import signal
import socket

import pytest

from tests.e2e.applications import BILLING, PARCEL, SHIPPING, TICKET, desk
from tests.e2e.model import Model
from tests.e2e.server import END_WITHIN_S, Server, kill, wait_until
from tests.e2e.traffic import InFlight, steady_load


@pytest.fixture(autouse=True)
def registered(server: Server) -> None:
    server.administer("POST", "/apps", desk())


def is_refused(server: Server) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", server.port)) != 0


def wait_until_alone(server: Server) -> None:
    """Every process of the server and its sandboxes has gone, and the port is free."""
    wait_until(lambda: not server.processes(), "every process has ended", END_WITHIN_S)
    assert is_refused(server)


def test_sigterm_lets_a_request_in_flight_finish_and_leaves_nothing(server: Server, model: Model) -> None:
    model.says(BILLING)
    model.hold()
    request = InFlight(server).post("/apps/desk/classify", TICKET)
    wait_until(lambda: model.asked, "the model is asked")
    server.signal(signal.SIGTERM)
    wait_until(lambda: "Shutting down" in server.stderr.read_text(), "the server begins to end")
    model.release()
    answer = request.result(END_WITHIN_S)
    assert (answer.status_code, answer.json()) == (200, BILLING)
    assert server.wait() == 0
    wait_until_alone(server)


def test_a_killed_worker_refuses_nobody_and_is_back(server: Server) -> None:
    assert server.http.post("/apps/desk/sort", json=PARCEL).status_code == 200
    dead, orphans = server.worker_pid, set(server.sandboxes())
    with steady_load(server, "/healthz") as load:
        wait_until(lambda: load.answered >= 20, "the load is answered")
        kill(dead)
        wait_until(lambda: server.answers("/readyz") and server.worker_pid != dead, "a new worker serves", 30)
        before = load.answered
        wait_until(lambda: load.answered >= before + 20, "the load is answered again")
    assert load.refused == 0
    assert load.cut_off <= 4, "only requests in flight are lost"
    assert set(load.statuses) == {200}
    assert orphans
    wait_until(lambda: not orphans & set(server.sandboxes()), "the dead worker's sandboxes have gone")
    assert server.http.post("/apps/desk/sort", json=PARCEL).json() == SHIPPING


def test_a_killed_supervisor_takes_worker_and_sandboxes_along(server: Server) -> None:
    assert server.http.post("/apps/desk/sort", json=PARCEL).status_code == 200
    assert server.sandboxes()
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until_alone(server)


def test_supervisor_and_worker_killed_together_leave_no_sandbox(server: Server) -> None:
    assert server.http.post("/apps/desk/sort", json=PARCEL).status_code == 200
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)
    server.wait()
    wait_until_alone(server)
    server.start()
    assert server.http.post("/apps/desk/sort", json=PARCEL).json() == SHIPPING


def test_a_model_request_whose_sandbox_is_killed_ends_well_or_with_a_typed_error(server: Server, model: Model) -> None:
    model.says(BILLING, times=4)
    model.hold()
    request = InFlight(server).post("/apps/desk/classify", TICKET)
    wait_until(lambda: model.asked, "the model is asked")
    for pid in server.sandboxes():
        kill(pid)
    model.release()
    answer = request.result(END_WITHIN_S)
    if answer.status_code != 200:
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "SANDBOX_DIED")
    assert server.http.post("/apps/desk/classify", json=TICKET).json() == BILLING
    assert server.answers("/readyz")


def test_a_handler_whose_sandbox_is_killed_is_replaced_by_the_model_and_no_other(server: Server, model: Model) -> None:
    model.says(BILLING)
    server.administer("POST", "/apps", desk("other"))
    for app_id in ("desk", "other"):  # their sandboxes are there before two handlers have to run at once
        assert server.http.post(f"/apps/{app_id}/sort", json=PARCEL).json() == SHIPPING
    requests = InFlight(server)
    slow = requests.post("/apps/desk/sort", {**PARCEL, "seconds": 5})
    neighbour = requests.post("/apps/other/sort", {**PARCEL, "seconds": 3})
    wait_until(lambda: busy(server) == 2, "both handlers run")
    for pid in server.sandboxes("desk"):
        kill(pid)
    answer = slow.result(END_WITHIN_S)
    assert (answer.status_code, answer.json()) == (200, BILLING)
    assert answer.headers["X-UHLP-Handler"] == "llm"
    assert answer.headers["X-UHLP-Deoptimized"]
    undisturbed = neighbour.result(END_WITHIN_S)
    assert (undisturbed.headers["X-UHLP-Handler"], undisturbed.json()) == ("jit", SHIPPING)
    assert [server.http.post("/apps/desk/sort", json=PARCEL).json() for _ in range(4)] == [SHIPPING] * 4


def busy(server: Server) -> int:
    """Workers in the middle of a call."""
    pools = server.administer("GET", "/sandboxes")["sandboxes"]
    return sum(pool["busy"] for pool in pools)
