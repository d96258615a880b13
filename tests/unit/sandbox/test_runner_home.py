"""The folder that sandboxes run our runner from."""

from pathlib import Path

from tests.synced_paths import synced, system_calls

ASSEMBLE = """
import sys
from pathlib import Path
from uhlp.sandbox.drivers.runner_home import assemble
assemble(Path(sys.argv[1]))
"""


def test_everything_in_a_home_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    lines = system_calls(ASSEMBLE, data_dir, tmp_path / "trace")
    (home,) = (data_dir / "runner").iterdir()
    named = next(at for at, line in enumerate(lines) if "rename" in line and f'"{home}"' in line)
    before = {path.partition("/.building-")[2].partition("/")[2] for path in synced(lines[:named])}
    inside = {str(path.relative_to(home)) for path in home.rglob("*")}
    assert {"uhlp_runner/zygote.py", "jinja2"} <= inside
    assert {"", *inside} <= before
