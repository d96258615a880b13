"""Case notes that a colleague should be able to take over after one sentence."""

import random

_WHO = ("The customer", "Mrs Okafor", "Mr Lindqvist", "A buyer at Harrow Ltd", "Ms Tanaka", "The school's office")
_THINGS = ("label printer", "monitor stand", "office chair", "standing desk", "headset", "filing cabinet", "webcam")
_TROUBLES = (
    "arrived with a cracked base",
    "stopped working after two weeks",
    "was delivered to the wrong floor and then vanished",
    "does not fit the desk it was sold for",
    "makes a loud noise when it warms up",
    "came without the screws",
)
_STEPS = (
    "We asked for photos and got three of them",
    "A replacement was offered but is out of stock until the ninth",
    "The warehouse confirms that the parcel left in one piece",
    "The first technician could not reproduce it",
    "We sent the manual again, which did not help",
    "The carrier opened an inquiry that is still running",
)
_WISHES = (
    "wants the money back before the end of the month",
    "would keep it for a discount",
    "asks for a call on Thursday, not before noon",
    "threatens to order elsewhere",
    "needs an answer for the insurance",
)
_ASIDES = (
    "It is their third order this year.",
    "They were friendly on the phone.",
    "The earlier notes were lost in the move to the new system.",
    "Note that the account is shared with a branch in Lyon.",
    "See also last week's call.",
)


def case(dice: random.Random) -> dict[str, str]:
    """{"text"}: four to seven sentences of notes."""
    thing = dice.choice(_THINGS)
    sentences = [f"{dice.choice(_WHO)} reports that the {thing} {dice.choice(_TROUBLES)}."]
    sentences += [f"{step}." for step in dice.sample(_STEPS, dice.randint(1, 3))]
    sentences += dice.sample(_ASIDES, dice.randint(1, 2))
    sentences.append(f"Order {dice.randint(100000, 999999)}; the customer {dice.choice(_WISHES)}.")
    return {"text": " ".join(sentences)}
