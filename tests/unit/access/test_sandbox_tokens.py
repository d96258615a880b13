"""Tokens of executions: whose they are, how long they are good, and that nothing but the real one is."""

from hypothesis import given
from hypothesis import strategies as st

from uhlp.access.sandbox_tokens import PREFIX, SandboxIdentity, SandboxTokens
from uhlp.clock import FakeClock

PRICE = SandboxIdentity("shop", "price", "uhlp-1-2", "node", "JIT", "4bf92f3577b34da6a3ce929d0e0e4736.7")
TOKENS = SandboxTokens(clock=FakeClock())
RAW = TOKENS.make(PRICE, lasts_s=30).encode()


def test_a_token_says_whose_it_is_until_its_time_is_over() -> None:
    clock = FakeClock()
    tokens = SandboxTokens(clock=clock)
    raw = tokens.make(PRICE, lasts_s=30).encode()
    assert raw.startswith(PREFIX)
    assert tokens.holder(raw) == PRICE
    clock.advance(29.9)
    assert tokens.holder(raw) == PRICE
    clock.advance(0.1)
    assert tokens.holder(raw) is None


def test_a_token_of_before_a_restart_or_of_another_server_is_nobodys() -> None:
    assert SandboxTokens(clock=FakeClock()).holder(RAW) is None


@given(st.builds(SandboxIdentity, *[st.text(max_size=20)] * 6))
def test_whatever_an_identity_holds_comes_back_as_it_was(identity: SandboxIdentity) -> None:
    assert TOKENS.holder(TOKENS.make(identity, lasts_s=1).encode()) == identity


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_a_token_that_was_changed_anywhere_is_nobodys(at: int, by: int) -> None:
    assert TOKENS.holder(RAW[:at] + bytes([RAW[at] ^ by]) + RAW[at + 1 :]) is None


@given(st.integers(0, len(RAW) - 1))
def test_a_token_that_was_cut_at_either_end_is_nobodys(at: int) -> None:
    assert TOKENS.holder(RAW[:at]) is None
    assert TOKENS.holder(RAW[at + 1 :]) is None


@given(st.integers(0, len(RAW)), st.binary(min_size=1, max_size=40))
def test_a_token_with_something_added_is_nobodys(at: int, more: bytes) -> None:
    assert TOKENS.holder(RAW[:at] + more + RAW[at:]) is None


@given(st.builds(SandboxIdentity, *[st.text(max_size=8)] * 6).filter(lambda one: one != PRICE))
def test_a_signature_is_good_for_its_own_claim_alone(other: SandboxIdentity) -> None:
    theirs = TOKENS.make(other, lasts_s=30).encode()
    claim, signature = theirs.rpartition(b".")[0], RAW.rpartition(b".")[2]
    assert TOKENS.holder(claim + b"." + signature) is None


@given(st.binary(max_size=200))
def test_any_other_bytes_are_nobodys(raw: bytes) -> None:
    assert TOKENS.holder(raw) is None
    assert TOKENS.holder(PREFIX + raw) is None
