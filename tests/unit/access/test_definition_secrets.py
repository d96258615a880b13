"""A definition names the secrets that are its application's, and no other's."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from uhlp.access.definition_secrets import DefinitionSecrets, SecretSettings
from uhlp.secret_references import secret_reader

SHARED = {"CRM": "of-the-shop", "SHOP_A": "a", "SHOP_B": "b", "MODEL_KEY": "never", "UHLP_ADMIN_TOKEN": "never"}


def secrets_of(folder: Path, **applications: tuple[str, ...]) -> DefinitionSecrets:
    listed = {"*" if name == "everyone" else name: names for name, names in applications.items()}
    return DefinitionSecrets(
        settings=SecretSettings(applications=listed),
        read=secret_reader(SHARED, folder),
        own=("MODEL_KEY",),
        folder=folder,
    )


def test_nothing_is_given_that_the_operator_did_not_give(tmp_path: Path) -> None:
    (tmp_path / "FILE").write_text("of-somebody")
    secrets = secrets_of(tmp_path)
    for name in ("CRM", "FILE", "NOWHERE"):
        assert secrets.read("shop", name) is None
        refusal = secrets.refusal("shop", name)
        assert refusal is not None
        assert "secrets.applications" in refusal
        assert f"secrets/shop/{name}" in refusal


def test_an_application_has_what_is_listed_for_it_and_for_every_one(tmp_path: Path) -> None:
    secrets = secrets_of(tmp_path, shop=("CRM", "SHOP_*"), everyone=("SHOP_A",))
    assert [secrets.read("shop", name) for name in ("CRM", "SHOP_A", "SHOP_B")] == ["of-the-shop", "a", "b"]
    assert [secrets.read("desk", name) for name in ("CRM", "SHOP_A", "SHOP_B")] == [None, "a", None]
    assert secrets.refusal("shop", "SHOP_B") is None
    assert secrets.refusal("desk", "SHOP_B") is not None
    assert secrets.resolve("shop", "secret:CRM") == "of-the-shop"


def test_the_files_of_its_own_folder_are_an_applications_alone_and_come_first(tmp_path: Path) -> None:
    for app_id in ("shop", "desk"):
        (tmp_path / app_id).mkdir()
        (tmp_path / app_id / "CRM").write_text(f"of-{app_id}\n")
    secrets = secrets_of(tmp_path, shop=("CRM",))
    assert secrets.read("shop", "CRM") == "of-shop"
    assert secrets.read("desk", "CRM") == "of-desk"
    assert secrets.read("other", "CRM") is None
    assert secrets.refusal("desk", "CRM") is None
    assert secrets.read("shop", "../desk/CRM") is None
    assert secrets.read("shop", "desk") is None


@pytest.mark.parametrize("name", ["UHLP_ADMIN_TOKEN", "uhlp_admin_token", "MODEL_KEY"])
def test_the_servers_own_secrets_are_nobodys_whatever_is_listed(tmp_path: Path, name: str) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / name).write_text("never")
    secrets = secrets_of(tmp_path, shop=("*", name))
    assert secrets.read("shop", name) is None
    assert "server's own" in (secrets.refusal("shop", name) or "")


@pytest.mark.parametrize("listed", [{"Shop": ["A"]}, {"shop": ["A*B"]}, {"shop": ["../A"]}, {"shop": [""]}])
def test_a_list_that_means_nothing_is_refused(listed: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        SecretSettings.model_validate({"applications": listed})
