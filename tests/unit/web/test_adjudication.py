"""What people say is right, over HTTP."""

from tests.unit.web.fakes import QuietEvolution, services


async def test_a_person_says_what_is_right_for_a_sample_or_an_open_question(client_of, admin) -> None:
    evolution = QuietEvolution()
    client = await client_of(services(evolution=evolution))
    apps = "/admin/v1/apps/shop"
    response = await client.post(f"{apps}/samples/s1/adjudicate", json={"expected": None}, headers=admin)
    assert response.status_code == 200
    body = {"componentId": "echo", "inputHash": "a" * 64, "expected": {"x": 1}, "reason": "seen"}
    response = await client.post(f"{apps}/adjudications", json=body, headers=admin)
    assert response.status_code == 200
    actor = evolution.asked[0][3]["actor"]
    assert actor
    assert evolution.asked == [
        ("adjudicate_sample", "shop", "s1", {"expected": None, "actor": actor, "reason": ""}),
        ("adjudicate_input", "shop", "echo", "a" * 64, {"expected": {"x": 1}, "actor": actor, "reason": "seen"}),
    ]
    listed = (await client.get(f"{apps}/adjudications?componentId=echo", headers=admin)).json()
    assert listed["questions"][0] == {
        "inputHash": "a" * 64,
        "candidateId": "cand-1",
        "got": 1,
        "answers": [2, 3, 4],
    }


async def test_what_is_not_said_cannot_be_right(client_of, admin) -> None:
    client = await client_of(services(evolution=QuietEvolution()))
    apps = "/admin/v1/apps/shop"
    assert (await client.post(f"{apps}/samples/s1/adjudicate", json={}, headers=admin)).status_code == 422
    for body in ({"componentId": "echo", "inputHash": "x", "expected": 1}, {"componentId": "echo", "expected": 1}):
        assert (await client.post(f"{apps}/adjudications", json=body, headers=admin)).status_code == 422
    unknown = {"componentId": "nobody", "inputHash": "a" * 64, "expected": 1}
    assert (await client.post(f"{apps}/adjudications", json=unknown, headers=admin)).status_code == 404
    assert (await client.get(f"{apps}/adjudications?componentId=echo")).status_code == 401
