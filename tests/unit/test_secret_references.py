from pathlib import Path

import pytest

from uhlp.secret_references import for_definitions, resolve, secret_reader


def test_a_secret_is_read_from_the_environment_then_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "KEY").write_text("from-file\n")
    assert resolve("secret:KEY", secret_reader({"KEY": "from-env"}, tmp_path)) == "from-env"
    assert resolve("secret:KEY", secret_reader({}, tmp_path)) == "from-file"
    assert resolve("secret:../KEY", secret_reader({}, tmp_path / "sub")) is None
    assert resolve("secret:ABSENT", secret_reader({}, tmp_path)) is None
    assert resolve("plain", secret_reader({})) == "plain"


@pytest.mark.parametrize("name", ["UHLP_ADMIN_TOKEN", "uhlp_admin_token", "MODEL_KEY"])
def test_a_definition_is_given_no_secret_of_the_servers_own(name: str) -> None:
    read = for_definitions(secret_reader({name: "never", "PAY": "theirs"}), own={"MODEL_KEY"})
    assert resolve(f"secret:{name}", read) is None
    assert resolve("secret:PAY", read) == "theirs"
