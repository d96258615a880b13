"""Support tickets: about two in three say plainly what they are about, the rest takes reading."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Subject:
    """How people write about one thing when it is plain, and how they write when it is not."""

    titles: tuple[str, ...]
    plain: tuple[str, ...]
    oblique: tuple[str, ...]


_ABOUT = {
    "billing": _Subject(
        titles=("Wrong invoice", "Refund please", "Invoice {number}", "Payment taken twice", "Refund of my payment"),
        plain=(
            "my invoice {number} shows a payment of {money} that I never agreed to",
            "the payment of {money} was taken twice for one invoice",
            "please send the refund for invoice {number} to my bank",
            "a refund of my payment of {money} was promised on {day}",
            "the invoice says {money}, but my payment was lower",
            "where is the refund for the payment of {day}",
        ),
        oblique=(
            "my bookkeeper says the sums do not add up again",
            "there is something missing on my statement and I think it went to you",
            "we were told the discount would be taken off and it was not",
            "who do I talk to about the dunning letter of {day}",
        ),
    ),
    "technical": _Subject(
        titles=("App crashes", "Error {number}", "Error after update", "Crash on start", "App shows an error"),
        plain=(
            "the app crashes with an error as soon as I open the {part}",
            "I get error {number} in the app on the {part}",
            "since the update the app crashes on the {part}",
            "the app shows error {number} whenever I save",
            "after the update there is only an error on the {part}",
            "the {part} of the app crashes since {day}",
        ),
        oblique=(
            "the little wheel just keeps spinning since {day}",
            "everything is greyed out and nothing happens when I click",
            "your thing went kaput on my tablet",
            "letters come out as squares when I print",
        ),
    ),
    "account": _Subject(
        titles=("Cannot log in", "Password reset", "Login not possible", "Forgotten password", "Login locked"),
        plain=(
            "my login does not take the password since {day}",
            "the password reset for my login never arrives",
            "the login is locked after three wrong passwords",
            "I changed the password and now the login is locked",
            "the login page says that my password is wrong",
            "how do I reset the password of the login {email}",
        ),
        oblique=(
            "my colleague left and I have to take over from her now",
            "it does not recognise me any more",
            "the six digits you text me come too late every time",
            "we merged with another firm and everyone has a new name",
        ),
    ),
    "shipping": _Subject(
        titles=("Where is my parcel", "Delivery late", "Parcel damaged", "Tracking {number}", "Delivery of my parcel"),
        plain=(
            "the delivery of my parcel was due on {day} and nothing came",
            "tracking {number} for my parcel has not moved since {day}",
            "the parcel was damaged on delivery",
            "the delivery man left my parcel with a stranger",
            "can the delivery of the parcel go to {street}",
            "tracking says the delivery is done, but there is no parcel",
        ),
        oblique=(
            "I stayed at home all {day} for nothing",
            "the box was there but half of it was empty",
            "it has been sitting in some hub for a week",
            "the van drove past my house, I saw it",
        ),
    ),
}
_OTHER = (
    ("Idea", "have you thought of making the {part} available in Welsh"),
    ("Thank you", "just wanted to say that your colleague was very kind on {day}"),
    ("Interview", "I write for a student paper and would like to ask a few questions"),
    ("Job", "do you take interns in the summer"),
    ("Partnership", "we sell coffee and think our customers would like each other"),
    ("Question", "which of your offices is closest to {street}"),
)
_VAGUE_TITLES = ("Help", "Question", "Problem", "Hello", "Please read", "Urgent!!", "(no subject)", "Again")
_OPENINGS = ("Hello,", "Hi there,", "Good morning,", "Dear team,", "Hi,", "To whom it may concern,")
_ASIDES = (
    "I have been with you for {years} years.", "This is the second time I write.", "I tried what the help page says.",
    "My colleague has the same.", "Please answer soon.", "I am travelling until {day}.", "It worked fine last month.",
    "Sorry for my English.", "Could somebody call me back?", "I attach a photo.",
)  # fmt: skip
_CLOSINGS = ("Thanks", "Kind regards", "Best wishes", "Cheers", "Yours, {name}", "Thank you, {name}")
_DECISIVE = ("What I really need to know:", "But my main point:", "First of all though:")
_PARTS = ("settings page", "report view", "dashboard", "calendar", "export screen", "photo gallery", "map")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NAMES = ("Amara", "Jonas", "Priya", "Tom", "Wei", "Lucía", "Olga", "Samir", "Grace", "Matteo")
_STREETS = ("12 Mill Lane", "Hafenstraße 4", "3 rue des Lilas", "88 King Street", "Via Roma 19")

_SHARES = {"plain": 0.64, "aside": 0.08, "two matters": 0.01, "none of ours": 0.075, "oblique": 0.195}
_TYPO_SHARE = 0.12


def ticket(dice: random.Random) -> dict[str, str]:
    """{"subject", "text"}.

    plain: in the queue's usual words. aside: something said in passing before the plain matter. two matters: both
    plain, one of them decisive. oblique: in words that hardly anybody else uses.
    """
    kind = dice.choices(tuple(_SHARES), tuple(_SHARES.values()))[0]
    first, second = (_ABOUT[queue] for queue in dice.sample(tuple(_ABOUT), 2))
    title = dice.choice(_VAGUE_TITLES)
    if kind == "plain":
        title = dice.choice(first.titles) if dice.random() < 0.75 else title
        matters = dice.sample(first.plain, 2 if dice.random() < 0.45 else 1)
    elif kind == "aside":
        matters = [dice.choice(second.oblique), f"{dice.choice(_DECISIVE)} {dice.choice(first.plain)}"]
    elif kind == "two matters":
        matters = [dice.choice(second.plain), f"{dice.choice(_DECISIVE)} {dice.choice(first.plain)}"]
    elif kind == "none of ours":
        title, matter = dice.choice(_OTHER)
        matters = [matter]
    else:
        matters = [dice.choice(first.oblique)]
    sentences = [f"{matter[0].upper()}{matter[1:]}." for matter in matters]
    if dice.random() < 0.6:
        sentences.insert(dice.randrange(2) * len(sentences), dice.choice(_ASIDES))
    text = " ".join((dice.choice(_OPENINGS), *sentences, dice.choice(_CLOSINGS)))
    return {"subject": _filled(dice, title), "text": _with_typo(dice, _filled(dice, text))}


def _filled(dice: random.Random, text: str) -> str:
    name = dice.choice(_NAMES)
    return text.format(
        number=dice.randint(10_000, 99_999),
        money=f"{dice.choice('€$£')}{dice.randint(5, 400)}.{dice.randint(0, 99):02}",
        day=dice.choice(_DAYS),
        part=dice.choice(_PARTS),
        email=f"{name.lower()}{dice.randint(1, 99)}@example.org",
        street=dice.choice(_STREETS),
        years=dice.randint(2, 12),
        name=name,
    )


def _with_typo(dice: random.Random, text: str) -> str:
    """Now and then two neighbouring letters change places."""
    if dice.random() >= _TYPO_SHARE:
        return text
    place = dice.randrange(1, len(text) - 2)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
