import pytest

from uhlp.traffic.redaction import Redaction


def test_a_named_field_is_masked_at_any_depth():
    value = {"email": "a@b.c", "items": [{"email": "d@e.f", "n": 1}]}
    assert Redaction(["email"]).apply(value) == {"email": "[redacted]", "items": [{"email": "[redacted]", "n": 1}]}


def test_a_pointer_masks_one_place():
    value = {"customer": {"card": "4111", "name": "N"}, "card": "kept"}
    assert Redaction(["/customer/card"]).apply(value) == {
        "customer": {"card": "[redacted]", "name": "N"},
        "card": "kept",
    }


def test_a_star_stands_for_every_element():
    value = {"lines": [{"sku": "a", "note": "x"}, {"sku": "b", "note": "y"}]}
    masked = Redaction(["/lines/*/note"]).apply(value)
    assert masked == {"lines": [{"sku": "a", "note": "[redacted]"}, {"sku": "b", "note": "[redacted]"}]}


def test_values_that_look_like_secrets_are_masked_without_being_named():
    value = {
        "text": "my key is sk-proj-abcdefghijklmnop1234, help",
        "password": "hunter2",
        "key": "AKIAIOSFODNN7EXAMPLE",
    }
    assert Redaction().apply(value) == {"text": "my key is [secret], help", "password": "[redacted]", "key": "[secret]"}


@pytest.mark.parametrize(
    "secret",
    [
        f"uhlp_admin_{'0f' * 8}_{'1e' * 32}",
        f"uhlp_{'0f' * 8}_{'1e' * 24}",
        "uhlp-admin-abcdefghijklmnopqrstuvwxyz012345",
    ],
)
def test_our_own_tokens_and_keys_are_masked(secret):
    assert Redaction().apply({"text": f"I use {secret} here"}) == {"text": "I use [secret] here"}


def test_ordinary_text_stays_as_it_is():
    value = {"text": "Where is order 1234567890123456? The bearer of bad news.", "n": 1.5, "none": None, "ok": True}
    assert Redaction().apply(value) == value


def test_the_value_handed_in_is_not_changed():
    value = {"email": "a", "list": [{"email": "b"}]}
    Redaction(["email"]).apply(value)
    assert value == {"email": "a", "list": [{"email": "b"}]}
