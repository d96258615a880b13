"""What an open panel costs the requests beside it: `python -m tests.bench.panel [rounds]`.

Two servers with one core each time; one of them has two pages of its panel open in a browser, the overview and an
application, which follow the load. The browser shares the other core with load and sandboxes, whoever is measured.
Processor time of the idle servers tells the same on a machine that is busy otherwise.
"""

import os
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.bench.application import APP_ID, TICKET, register
from tests.bench.load import LOAD_CORE, measure
from tests.bench.processes import ADMIN_TOKEN, Running, move_sandboxes, uhlp_serve
from tests.bench.rounds import Results, Target, print_table, run_rounds, verdict

CLOSED, OPEN = "UHLP, JIT, panel never opened", "UHLP, JIT, panel open in a browser"
PAGES = ("/panel/", f"/panel/apps/{APP_ID}")
IDLE_S = 10


def run(*, rounds: int = 5, seconds: int = 3) -> Results:
    """Measure at 16 connections and at one, and print table and ratios."""
    with ExitStack() as stack:
        servers, targets = {}, {}
        for name in (CLOSED, OPEN):
            servers[name] = running = stack.enter_context(uhlp_serve())
            register(running.url)
            targets[name] = Target(f"{running.url}/apps/{APP_ID}/code", TICKET)
            measure(targets[name].url, TICKET, connections=16, seconds=1)  # starts the sandboxes
            move_sandboxes(running, LOAD_CORE)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        stack.callback(browser.close)
        _open_panel(browser, servers[OPEN])
        results = run_rounds(targets, connections=(16, 1), rounds=rounds, seconds=seconds)
        idle = {name: _idle_ms_per_s(running) for name, running in servers.items()}
    print_table(results)
    for connections in (16, 1):
        closed, opened = results[CLOSED][connections], results[OPEN][connections]
        share = opened.requests_per_s / closed.requests_per_s
        print(verdict(f"req/s at c={connections}, panel open over closed", share, 0.97, at_least=True))
    for name, ms in idle.items():
        print(f"{name}: {ms:.1f} ms of processor time a second while idle")
    return results


def _open_panel(browser: Browser, running: Running) -> None:
    context = browser.new_context()
    for path in PAGES:
        page = context.new_page()
        page.goto(f"{running.url}/panel/login")
        page.get_by_label("Admin token").fill(ADMIN_TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.goto(running.url + path)
        page.get_by_role("heading", level=1).wait_for()


def _idle_ms_per_s(running: Running) -> float:
    """Processor time of the server's worker, without its sandboxes, over some seconds without requests."""
    time.sleep(2)  # what the load left behind is written
    before = _processor_s(running.pid)
    time.sleep(IDLE_S)
    return (_processor_s(running.pid) - before) / IDLE_S * 1_000


def _processor_s(supervisor: int) -> float:
    """Of the process below the supervisor, which holds the event loop."""
    workers = (Path(f"/proc/{supervisor}/task/{supervisor}/children")).read_text().split()
    ticks = 0
    for pid in workers or [str(supervisor)]:
        fields = (Path(f"/proc/{pid}/stat")).read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)
