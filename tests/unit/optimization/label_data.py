"""Made-up label data for tests: texts whose labels follow from words, with as much noise as asked for."""

import random

KEYWORDS = {
    "refund": ["refund", "money back", "reimburse"],
    "delivery": ["parcel", "delivery late", "courier"],
    "login": ["password reset", "locked account", "sign in"],
    "invoice": ["invoice copy", "vat receipt", "billing address"],
}
FILLERS = """
hello please could you help me with this since yesterday morning again thanks what should happen now for my
order really urgent question about it today nobody answers i need some kind advice regarding that thing soon
""".split()  # noqa: SIM905 (a list of forty quoted words reads worse)


def tickets(count, *, seed=1, noise=0.0, vague=0.2):
    """(input, label) pairs; a `vague` share holds no keyword, a `noise` share a label at random."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        label = chance.choice(sorted(KEYWORDS))
        words = chance.sample(FILLERS, 8)
        if chance.random() >= vague:
            words.insert(chance.randrange(8), chance.choice(KEYWORDS[label]))
        shown = chance.choice(sorted(KEYWORDS)) if chance.random() < noise else label
        rows.append(({"text": " ".join(words)}, shown))
    return rows


def crossed(count, *, seed=1):
    """Labels that no single word gives away: what is done and what it is done to decide together."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        deed, thing = chance.choice(["cancel", "change"]), chance.choice(["subscription", "booking"])
        words = [deed, thing, *chance.sample(FILLERS, 6)]
        chance.shuffle(words)
        rows.append(({"text": " ".join(words)}, f"{deed}_{thing}"))
    return rows
