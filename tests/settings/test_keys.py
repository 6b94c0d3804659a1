"""`[keys]` and `[shared]` in the file: what is read, and what is refused by its key."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.settings import AlertsSettings, Settings, find_secrets, load_settings


def load(folder: Path, text: str, **environ: str) -> Settings:
    file = folder / "settings.toml"
    file.write_text(text)
    return load_settings(file, {"HOME": str(folder), **environ}, {})


EXPIRIES = {
    "2027-01-31": "2027-01-31T00:00:00+00:00",
    '"2027-01-31"': "2027-01-31T00:00:00+00:00",
    "2027-01-31T18:00:00Z": "2027-01-31T18:00:00+00:00",
    "2027-01-31 18:00:00+02:00": "2027-01-31T18:00:00+02:00",
    '"2027-01-31T18:00"': "2027-01-31T18:00:00+00:00",
}


@pytest.mark.parametrize("written", EXPIRIES)
def test_an_end_is_a_date_or_a_moment_in_toml_or_in_text(tmp_path: Path, written: str) -> None:
    settings = load(tmp_path, f'[keys.ci]\nkey = "dm-0123456789"\nexpires = {written}')

    assert settings.keys["ci"].expires == datetime.datetime.fromisoformat(EXPIRIES[written])


def test_a_key_comes_from_a_variable_and_is_a_secret(tmp_path: Path) -> None:
    settings = load(tmp_path, '[keys.ci]\nkey = "${CI_KEY}"\nbudget_per_day = 2.5', CI_KEY=" dm-0123456789\n")

    assert (settings.keys["ci"].key, settings.keys["ci"].budget_per_day) == ("dm-0123456789", 2.5)
    assert "dm-0123456789" not in repr(settings)
    assert "dm-0123456789" in find_secrets(settings)


def test_ten_thousand_keys_delay_no_start(tmp_path: Path) -> None:
    text = "".join(f'[keys.k{number}]\nkey = "dm-{number:032}"\n' for number in range(10_000))
    began = time.process_time()

    settings = load(tmp_path, text)

    assert len(settings.keys) == 10_000
    assert time.process_time() - began < 5


def test_named_keys_let_a_server_listen_to_others(tmp_path: Path) -> None:
    settings = load(tmp_path, '[server]\nhost = "0.0.0.0"\n[keys.ci]\nkey = "dm-0123456789"\n[providers.ollama]')

    assert set(settings.providers) == {"ollama"}


REFUSED: dict[str, tuple[str, str]] = {
    "no key": ("[keys.ci]", "keys.ci"),
    "an empty key": ('[keys.ci]\nkey = " "', "keys.ci.key"),
    "half a hash": ('[keys.ci]\nkey = "sha256:abc"', "keys.ci.key"),
    "a role that is none": ('[keys.ci]\nkey = "k"\nrole = "root"', "keys.ci.role"),
    "a name with spaces": ('[keys."c i"]\nkey = "k"', "keys.c i"),
    "a setting that is none": ('[keys.ci]\nkey = "k"\nbudget = 1', "keys.ci.budget"),
    "no requests at all": ('[keys.ci]\nkey = "k"\nrequests_per_minute = 0', "keys.ci.requests_per_minute"),
    "a budget below nothing": ('[keys.ci]\nkey = "k"\nbudget_per_day = -1', "keys.ci.budget_per_day"),
    "a budget below what is counted": ('[keys.ci]\nkey = "k"\nbudget_per_month = 1e-12', "keys.ci.budget_per_month"),
    "a budget of 0": ('[keys.ci]\nkey = "k"\nbudget_per_day = 0', "keys.ci.budget_per_day"),
    "a provider's budget of nothing": ("[providers.ollama]\nbudget_per_day = 0", "providers.ollama.budget_per_day"),
    "a provider's limit below nothing": (
        "[providers.ollama]\ntokens_per_hour = -1",
        "providers.ollama.tokens_per_hour",
    ),
    "an end that is no date": ('[keys.ci]\nkey = "k"\nexpires = "soon"', "keys.ci.expires"),
    "an end in numbers": ('[keys.ci]\nkey = "k"\nexpires = 5', "keys.ci.expires"),
    "an empty pattern": ('[keys.ci]\nkey = "k"\nmodels = [""]', "keys.ci.models"),
    "two names of one key": ('[keys.a]\nkey = "k"\n[keys.b]\nkey = "k"', "keys.b.key"),
    "a key that is an unnamed one too": ('[server]\napi_keys = ["k"]\n[keys.b]\nkey = "k"', "keys.b.key"),
    "a Redis that is none": ('[shared]\nredis = "http://localhost"', "shared.redis"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, case: str) -> None:
    text, key = REFUSED[case]

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)

    assert key in [fault.key for fault in caught.value.faults] or caught.value.key.startswith(key)


def test_a_password_of_redis_is_masked(tmp_path: Path) -> None:
    settings: Any = load(tmp_path, '[shared]\nredis = "redis://:hunter2-hunter2@host:6379/0"')

    assert "hunter2" not in repr(settings)
    assert "hunter2-hunter2" in find_secrets(settings)


def test_a_webhooks_address_hides_what_follows_its_host_alone() -> None:
    addresses = (
        "https://hooks.example.com/T0/B0/verysecretpart",
        "http://me:hunter2-hunter2@127.0.0.1:9/in?token=abcdefgh",
    )
    found = list(find_secrets(Settings(alerts=AlertsSettings(webhooks=addresses))))

    assert {"T0/B0/verysecretpart", "hunter2-hunter2", "abcdefgh"} <= set(found)
    assert not [each for each in found if "http" in each or "hooks.example" in each]
