"""What stands around every page: places, the way back, who looks, and the dialog that asks for a reason."""

from uhlp.access.administrator import Administrator, Role
from uhlp.web.documentation.lane import DOCUMENTATION
from uhlp.web.panel.addresses import PANEL, PLACES
from uhlp.web.panel.markup import Markup, link, tag
from uhlp.web.panel.page import Page


def heading(page: Page, administrator: Administrator) -> Markup:
    """Places, then the title with the way back to it."""
    places = [
        link(
            name,
            address,
            class_="here" if name == page.place else None,
            aria_current="page" if name == page.place else None,
        )
        for name, address in PLACES
    ]
    leave = tag("form", tag("button", "Log out", class_="button quiet"), method="post", action=f"{PANEL}/logout")
    who = tag("div", tag("span", f"{administrator.name} · {administrator.role}", class_="who"), leave, class_="visitor")
    bar = tag(
        "div", link("UHLP", f"{PANEL}/", class_="brand"), tag("nav", *places, aria_label="Places"), who, class_="bar"
    )
    steps = [tag("li", link(name, address)) for name, address in page.trail]
    trail = tag("nav", tag("ol", *steps), aria_label="Way back", class_="trail") if steps else None
    skip = tag("a", "Skip to content", href="#content", class_="skip")
    return tag("div", skip, bar, tag("div", trail, tag("h1", page.title), class_="title"))


def footing(administrator: Administrator) -> Markup:
    allowed = {
        Role.VIEWER: "You may look.",
        Role.OPERATOR: "You may look, approve, pause and roll back.",
        Role.OWNER: "You may do everything.",
    }[administrator.role]
    return tag(
        "p",
        f"{allowed} Times are in your time zone; UTC on hover. Pages update by themselves. ",
        link("Documentation", DOCUMENTATION),
        class_="quiet",
    )


def dialog() -> Markup:
    """One for the whole page; the page's script fills it from the button that was pressed."""
    return tag(
        "dialog",
        tag(
            "form",
            tag("h2", "", data_part="title", id="ask-title"),
            tag("p", "", data_part="text"),
            tag(
                "label",
                tag("span", "", data_part="label"),
                tag("textarea", "", data_part="value", rows=3),
                data_part="more",
            ),
            tag(
                "label",
                tag("span", "Reason (it is kept)"),
                tag("textarea", "", data_part="reason", rows=2, required=True, maxlength=2000),
                data_part="why",
            ),
            tag(
                "div",
                tag("button", "Cancel", type="button", class_="button quiet", data_part="cancel"),
                tag("button", "Confirm", class_="button strong", data_part="confirm"),
                class_="buttons",
            ),
        ),
        data_part="ask",
        aria_labelledby="ask-title",
    )
