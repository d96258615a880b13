"""Servers of the settings, and the secrets that settings keep for themselves."""

import pytest
from pydantic import SecretStr, ValidationError

from uhlp.secret_references import references_in
from uhlp.settings import read_settings
from uhlp.tools.gateway.config import McpSettings, SharedServer


def test_a_server_is_an_address_or_a_program():
    settings = McpSettings.model_validate(
        {
            "servers": {
                "search": {"url": "https://search.example/mcp", "headers": {"Authorization": "secret:SEARCH"}},
                "files": {"command": "/usr/bin/files-mcp", "args": ["--root", "/srv"]},
                "notes": {"command": ["/usr/bin/node", "notes.js"], "env": {"NOTES_TOKEN": "secret:NOTES"}},
            },
            "idleTimeoutS": 60,
        }
    )
    assert settings.servers["files"].argv == ("/usr/bin/files-mcp", "--root", "/srv")
    assert settings.servers["notes"].argv == ("/usr/bin/node", "notes.js")
    assert settings.idle_timeout_s == 60


@pytest.mark.parametrize(
    "server",
    [
        {},
        {"url": "https://h/", "command": ["x"]},
        {"url": "https://h/", "args": ["x"]},
        {"command": ["/x"], "headers": {"X": "y"}},
        {"command": ["/x"], "env": {"A B": "y"}},
        {"command": ["/x"], "env": {"API_KEY": "abc"}},
        {"url": "file:///etc/passwd"},
        {"url": "https://h/", "headers": {"Authorization": "abc"}},
    ],
)
def test_a_server_that_cannot_be_meant_is_refused(server: dict):
    with pytest.raises(ValidationError):
        SharedServer.model_validate(server)


def test_servers_are_read_from_variables():
    settings = read_settings(
        {"UHLP_MCP__SERVERS": '{"all": {"url": "http://127.0.0.1:1/mcp"}}', "UHLP_MCP__ALLOW_HOSTS": '["crm.internal"]'}
    )
    assert settings.mcp.servers["all"].url == "http://127.0.0.1:1/mcp"
    assert settings.mcp.allow_hosts == ("crm.internal",)


def test_secrets_that_settings_refer_to_are_known():
    settings = {
        "llm": {"providers": {"main": {"apiKey": SecretStr("secret:MAIN_KEY")}}},
        "mcp": {"servers": {"crm": {"headers": {"Authorization": "Bearer secret:CRM"}}}},
        "hosts": ("a", 3, None),
    }
    assert references_in(settings) == {"MAIN_KEY", "CRM", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"}
