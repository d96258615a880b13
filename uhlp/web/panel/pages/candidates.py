"""All candidates, newest first; by state when one is asked for."""

from uhlp.evolution.candidate import CandidateState
from uhlp.web.panel import addresses, figures
from uhlp.web.panel.candidate_marks import candidate_link, state_badge
from uhlp.web.panel.markup import Markup, empty, link, table, tag, when
from uhlp.web.panel.page import Page, Section, Visit

MOST = 200
_COLUMNS = [
    "Candidate",
    "Component",
    "State",
    "Why",
    "Attempt",
    "Wrong of compared",
    "Wrong, proven",
    "Coverage",
    "Since",
]


async def candidates_page(visit: Visit) -> Page:
    state = visit.query.get("state") or None
    after = visit.query.get("after") or None
    # refuses a state or a cursor that does not exist
    await visit.services.evolution.candidates(None, state, limit=1, after=after)

    async def listed() -> Markup:
        return await _listed(visit, state, after)

    return Page(
        title="Candidates", place="Candidates", sections=(Section(name="Candidates", draw=listed, is_plain=True),)
    )


async def _listed(visit: Visit, state: str | None, after: str | None) -> Markup:
    page = await visit.services.evolution.candidates(None, state, limit=MOST, after=after)
    found = page.rows
    links = [link("all", addresses.CANDIDATES, aria_current=None if state else "true")]
    links += [
        link(figures.words(one), f"{addresses.CANDIDATES}?state={one}", aria_current="true" if one == state else None)
        for one in CandidateState
    ]
    chosen = tag("nav", *links, class_="filters", aria_label="States")
    if not found:
        hint = "A rule that fires, or the button on a component's page, starts one."
        return chosen + empty("No candidate is in this state." if state else "No candidates yet.", hint)
    rows = [
        [
            candidate_link(one),
            link(f"{one['appId']} / {one['componentId']}", addresses.component(one["appId"], one["componentId"])),
            state_badge(one["state"]),
            one["reason"],
            figures.count(one["attempt"]),
            f"{one['k']:,} of {one['n']:,}",
            figures.proven(one["proven"]),
            figures.share(one["coverage"]),
            when(one["updatedAt"]),
        ]
        for one in found
    ]
    more = Markup()
    if page.cursor is not None:
        older = addresses.candidates(state=state, after=page.cursor)
        more = tag("p", link("older ones", older), class_="quiet")
    return chosen + table("Candidates", _COLUMNS, rows, numeric=_COLUMNS[4:8]) + more
