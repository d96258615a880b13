"""Settings: what is read, what is refused, where each value comes from, and the admin token."""

import stat
from pathlib import Path

import pytest

from uhlp.errors import ValidationFailed
from uhlp.settings import Settings, admin_token_of, describe, read_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "uhlp.toml"


def test_without_variables_and_file_the_defaults_hold(file: Path) -> None:
    settings = read_settings({}, file)
    assert (settings.data_dir, settings.runtime.url, settings.llm.providers) == (Path("uhlp-data"), "sqlite", {})


def test_variables_stand_above_the_file_leaf_by_leaf(file: Path) -> None:
    file.write_text('[evolution]\ncycle_s = 7\n[log]\nformat = "json"\nlevel = "error"\n')
    settings = read_settings({"UHLP_LOG__LEVEL": "debug", "PATH": "/bin"}, file)
    assert (settings.evolution.cycle_s, settings.log.format, settings.log.level) == (7, "json", "debug")


def test_a_variable_may_hold_json(file: Path) -> None:
    rules = '[{"condition": {"expression": "count(requests) > 5"}}]'
    settings = read_settings({"UHLP_OPTIMIZATION__RULES": rules}, file)
    assert settings.optimization.rules[0].condition.expression == "count(requests) > 5"


def test_an_empty_variable_says_nothing(file: Path) -> None:
    assert read_settings({"UHLP_ADMIN_TOKEN": "", "UHLP_DATA_DIR": ""}, file) == read_settings({}, file)


def test_a_provider_is_configured_by_variables_alone(file: Path) -> None:
    name = "UHLP_LLM__PROVIDERS__SIM__"
    settings = read_settings({f"{name}KIND": "openai", f"{name}BASE_URL": "http://127.0.0.1:9/v1"}, file)
    assert settings.llm.providers["sim"].kind == "openai"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("UHLP_COLOUR", "red", "UHLP_COLOUR is not a setting"),
        ("UHLP_RUNTIME__COLOUR", "red", r"runtime\.colour: there is no such setting; `uhlp settings` lists all"),
        (
            "UHLP_EVOLUTION__CYCLES",
            "1",
            r"evolution\.cycles: there is no such setting; did you mean evolution\.cycle_s\?",
        ),
        ("UHLP_EVOLUTION__CYCLE_S", "soon", "evolution.cycle_s"),
        ("UHLP_DEPLOYMENT_MODE", "prod", "deployment_mode"),
        (
            "UHLP_LLM__PROVIDERS",
            '{"mine": {"kind": "openai", "colour": 1}}',
            r": llm\.providers\.mine\.colour: there is no",
        ),
        ("UHLP_OPTIMIZATION__RULES", "[", "optimization"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(file: Path, variable: str, value: str, said: str) -> None:
    with pytest.raises(ValidationFailed, match=said):
        read_settings({variable: value}, file)


@pytest.mark.parametrize("text", ["colour = 1", "data_dir = [", "[runtime]\ncolour = 1"])
def test_a_wrong_file_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ValidationFailed, match=r"colour|uhlp\.toml"):
        read_settings({}, file)


@pytest.mark.parametrize("variable", ["UHLP_URL", "UHLP_REQUIRE_SERVICES", "UHLP_DEOPT_EVERY_N", "UHLP_ALWAYS_SHADOW"])
def test_variables_of_the_command_line_and_the_tests_are_known(file: Path, variable: str) -> None:
    read_settings({variable: "1"}, file)


def test_every_setting_says_where_it_comes_from(file: Path) -> None:
    file.write_text('[llm.providers.mine]\nkind = "openai"\nbaseUrl = "http://127.0.0.1:9/v1"\n')
    environment = {"UHLP_LIMITS": '{"max_body_bytes": 2048}', "OPENAI_API_KEY": "sk-secret"}
    described = describe(read_settings(environment, file), environment, file)
    origins = {name: one["origin"] for name, one in described.items()}
    assert origins["limits.max_body_bytes"] == "environment"
    assert origins["llm.providers.mine.base_url"] == "uhlp.toml"
    assert origins["llm.providers.openai.base_url"] == "environment"
    assert origins["log.level"] == "default"


def test_secrets_are_masked(file: Path) -> None:
    environment = {
        "UHLP_ADMIN_TOKEN": "my-secret",
        "OPENAI_API_KEY": "my-secret",
        "UHLP_RUNTIME__URL": "redis://:my-secret@cache:6379/0",
    }
    described = describe(read_settings(environment, file), environment, file)
    assert "my-secret" not in repr(described)
    assert described["runtime.url"]["value"].endswith("@cache:6379/0")


def test_the_admin_token_is_made_once_and_kept_unreadable_for_others(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    token, is_new = admin_token_of(settings)
    assert is_new
    assert admin_token_of(settings) == (token, False)
    kept = tmp_path / "admin_token"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["admin_token"]


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "admin_token").touch()
    token, is_new = admin_token_of(Settings(data_dir=tmp_path))
    assert (bool(token), is_new) == (True, True)


def test_production_makes_no_token(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed, match="UHLP_ADMIN_TOKEN"):
        admin_token_of(Settings(data_dir=tmp_path, deployment_mode="production"))
    given = Settings.model_validate({"data_dir": tmp_path, "deployment_mode": "production", "admin_token": "t0ken"})
    assert admin_token_of(given) == ("t0ken", False)


@pytest.mark.parametrize(("given", "domain"), [("Apps.Example.COM.", "apps.example.com"), ("localhost", "localhost")])
def test_a_base_domain_is_a_name_alone(file: Path, given: str, domain: str) -> None:
    assert read_settings({"UHLP_BASE_DOMAIN": given}, file).base_domain == domain


@pytest.mark.parametrize(
    "given", ["http://a.example", "a.example:80", ".a.example", "10.0.0.1", "a..b", "-a.b", "*.a.b"]
)
def test_what_is_no_base_domain_is_refused(file: Path, given: str) -> None:
    with pytest.raises(ValidationFailed, match=r"base_domain.*domain alone"):
        read_settings({"UHLP_BASE_DOMAIN": given}, file)


def test_definitions_are_trusted_in_development_alone_and_as_far_as_nothing_is_set(file: Path) -> None:
    here = read_settings({"UHLP_REMOTES__PATHS": '{"desk": ["/srv/git"]}'}, file)
    assert here.mcp.allow_hosts == here.remotes.allow_hosts == ("*",)
    assert here.secrets.applications == {"*": ("*",)}
    assert here.remotes.paths == {"desk": (Path("/srv/git"),)}
    for mode in ("staging", "production"):
        there = read_settings({"UHLP_DEPLOYMENT_MODE": mode}, file)
        assert there.mcp.allow_hosts == there.remotes.allow_hosts == ()
        assert (there.secrets.applications, there.remotes.paths) == ({}, {})
