import hashlib

import pytest

from uhlp.runner.artifacts import CAPACITY, ArtifactMissing, ArtifactStore, WrongHash


def test_an_artifact_is_found_by_its_hash() -> None:
    store = ArtifactStore()
    sha256 = hashlib.sha256(b"text").hexdigest()
    store.put(sha256, "prompts/a.yaml", "text")
    assert (store.get(sha256).text, store.get(sha256).path) == ("text", "prompts/a.yaml")


def test_text_under_a_wrong_hash_is_refused() -> None:
    with pytest.raises(WrongHash):
        ArtifactStore().put("0" * 64, "a", "text")


def test_the_artifact_used_longest_ago_makes_room_and_is_asked_for_again() -> None:
    store = ArtifactStore()
    names = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(CAPACITY + 1)]
    for number, name in enumerate(names):
        store.put(name, "a", str(number))
        store.get(names[0])
    store.get(names[0])
    with pytest.raises(ArtifactMissing) as missing:
        store.get(names[1])
    assert missing.value.sha256 == names[1]
