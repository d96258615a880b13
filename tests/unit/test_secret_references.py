from pathlib import Path

from uhlp.secret_references import resolve, secret_reader


def test_a_secret_is_read_from_the_environment_then_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "KEY").write_text("from-file\n")
    assert resolve("secret:KEY", secret_reader({"KEY": "from-env"}, tmp_path)) == "from-env"
    assert resolve("secret:KEY", secret_reader({}, tmp_path)) == "from-file"
    assert resolve("secret:../KEY", secret_reader({}, tmp_path / "sub")) is None
    assert resolve("secret:ABSENT", secret_reader({}, tmp_path)) is None
    assert resolve("plain", secret_reader({})) == "plain"
