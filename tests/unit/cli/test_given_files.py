"""Files that somebody names: what is wrong with them is told in one line, with what would be right."""

from pathlib import Path

import pytest

from uhlp.cli.definition_folder import read_folder
from uhlp.cli.failure import CommandError
from uhlp.cli.given_files import parsed_json, text_of


def test_what_cannot_be_read_is_told_with_the_hint(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"gone cannot be read: No such file or directory") as gone:
        text_of(tmp_path / "gone", hint="name another")
    assert gone.value.hint == "name another"
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="is not UTF-8 text"):
        text_of(tmp_path / "bytes")
    with pytest.raises(CommandError, match=r"rules\.json is not JSON: .*line 1"):
        parsed_json("{", "rules.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [("appId: [", "line 1, is not valid YAML|line 2, is not valid YAML"), ("version: '1'", "has no appId"),
     ("- a", "has no appId")],
)  # fmt: skip
def test_a_folder_whose_app_yaml_is_none_is_told_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "app.yaml").write_text(text)
    with pytest.raises(CommandError, match=said):
        read_folder(tmp_path)
