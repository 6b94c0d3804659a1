"""Where a model's name leads: routes, providers, tiers, presets, families, the default."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.errors import ConfigError, NotFound
from app.providers.provider import Provider
from app.providers.registry import build_providers
from app.routing.presets import HAIKU, OPUS, SONNET
from app.routing.router import Router
from app.settings import ModelsSettings, ProviderSettings, RouteSettings
from app.transport import Transport, TransportSettings

PROVIDERS = {
    "oca": ProviderSettings(kind="oca", base_url="http://127.0.0.1:9", access_token="t"),
    "local": ProviderSettings(kind="openai", base_url="http://127.0.0.1:9/v1"),
    "ant": ProviderSettings(kind="anthropic", api_key="k"),
}


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Provider]:
    home: Path = tmp_path_factory.mktemp("home")
    return build_providers(PROVIDERS, {}, home, Transport(TransportSettings()))


def lead(providers: dict[str, Provider], name: str, mount: str | None = None, **models: object) -> list[str]:
    router = Router(ModelsSettings(**models), providers)  # type: ignore[arg-type]
    return [upstream.label for upstream in router.resolve(name, mount)]


def to(*targets: str, **more: object) -> RouteSettings:
    return RouteSettings(targets=targets, **more)  # type: ignore[arg-type]


def test_a_client_may_name_the_provider_itself(providers: dict[str, Provider]) -> None:
    assert lead(providers, "local/qwen3", default="oca/gpt-4.1") == ["local/qwen3"]
    assert lead(providers, "oca/oca/gpt-4.1") == ["oca/oca/gpt-4.1"]


def test_an_exact_route_goes_before_a_glob_and_a_longer_glob_before_a_shorter(providers: dict[str, Provider]) -> None:
    routes = {"gpt-4o": to("local/exact"), "gpt-*": to("local/short"), "gpt-4o-*": to("local/long")}

    assert lead(providers, "gpt-4o", routes=routes) == ["local/exact"]
    assert lead(providers, "gpt-4o-mini", routes=routes) == ["local/long"]
    assert lead(providers, "gpt-5", routes=routes) == ["local/short"]


def test_a_route_may_list_fallbacks_and_name_other_routes(providers: dict[str, Provider]) -> None:
    routes = {"fast": to("local/qwen3", "deep"), "deep": to("oca/gpt-4.1")}

    assert lead(providers, "fast", routes=routes) == ["local/qwen3", "oca/gpt-4.1"]


def test_routes_in_a_circle_are_refused(providers: dict[str, Provider]) -> None:
    with pytest.raises(ConfigError, match=r'models\.routes\."a": .* form a loop'):
        lead(providers, "a", routes={"a": to("b"), "b": to("a")})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-haiku-5-5", "oca/small"),
        ("claude-3-5-haiku-20241022", "oca/small"),
        ("haiku", "oca/small"),
        ("claude-sonnet-5-5", "oca/big"),
        ("claude-fable-5-1", "oca/big"),
        ("mythos", "oca/big"),
        ("claude-next-9", "oca/big"),
        ("anthropic/claude-sonnet-4-5", "oca/big"),
        ("claude-opus-5-5[1m]", "oca/opus"),
    ],
)
def test_claude_names_lead_to_their_tier(providers: dict[str, Provider], name: str, expected: str) -> None:
    assert lead(providers, name, small="oca/small", big="oca/big", opus="oca/opus") == [expected]


def test_a_name_of_a_vendors_own_family_goes_to_that_vendor(providers: dict[str, Provider]) -> None:
    assert lead(providers, "claude-opus-5-5", default="oca/gpt-4.1") == ["ant/claude-opus-5-5"]


def test_a_server_that_only_speaks_a_vendors_dialect_is_no_vendor(providers: dict[str, Provider]) -> None:
    assert lead(providers, "gpt-4o", default="oca/gpt-4.1") == ["oca/gpt-4.1"]


def test_any_other_name_leads_to_the_default(providers: dict[str, Provider]) -> None:
    assert lead(providers, "whatever", default="oca/gpt-4.1") == ["oca/gpt-4.1"]
    assert lead(providers, "whatever", default="fast", routes={"fast": to("local/a", "local/b")}) == [
        "local/a",
        "local/b",
    ]


def test_a_name_that_leads_nowhere_is_refused_with_a_hint(providers: dict[str, Provider]) -> None:
    with pytest.raises(NotFound, match=r"<provider>/<model>.*oca, local, ant") as refused:
        lead(providers, "whatever")

    assert refused.value.failure.code == "model_not_found"


def test_a_mount_decides_over_every_route(providers: dict[str, Provider]) -> None:
    assert lead(providers, "fast", "local", routes={"fast": to("oca/x")}) == ["local/fast"]
    assert lead(providers, "local/fast", "local") == ["local/fast"]


def test_below_a_mount_a_name_follows_the_routes_that_lead_there(providers: dict[str, Provider]) -> None:
    assert lead(providers, "claude-haiku-5-5", "oca", small="oca/s", default="oca/d") == ["oca/s"]
    assert lead(providers, "claude-haiku-5-5", "local", small="oca/s") == ["local/claude-haiku-5-5"]
    assert lead(providers, "gpt-4o", "ant", routes={"gpt-*": to("local/x", "ant/y")}) == ["ant/y"]
    assert lead(providers, "mine", "oca", default="oca/d") == ["oca/mine"]


def test_a_windows_size_in_a_name_is_for_claude_code_alone(providers: dict[str, Provider]) -> None:
    assert lead(providers, "claude-opus-5-5[1m]") == ["ant/claude-opus-5-5"]
    assert lead(providers, "claude-opus-5-5[1m]", "ant") == ["ant/claude-opus-5-5"]
    assert lead(providers, "local/qwen3[200k]") == ["local/qwen3"]


def test_a_preset_gives_names_a_meaning_that_routes_may_overrule(providers: dict[str, Provider]) -> None:
    assert lead(providers, "gpt-4o", presets=("openai-to-claude",), big="oca/big") == ["oca/big"]
    assert lead(providers, "gpt-4o", presets=("openai-to-claude",), routes={"gpt-4o": to("local/mine")}) == [
        "local/mine"
    ]


def test_the_names_that_claude_codes_picker_shows_lead_to_their_model(providers: dict[str, Provider]) -> None:
    assert lead(providers, "claude-via/local/qwen3") == ["local/qwen3"]


def test_a_route_limits_the_answer_and_sets_the_policy(providers: dict[str, Provider]) -> None:
    route = to("local/qwen3", max_output=8192, strict=True, reasoning_effort="high")
    router = Router(ModelsSettings(routes={"t": route}), providers)

    (upstream,) = router.resolve("t")

    assert upstream.capabilities.max_output == 8192
    assert upstream.policy == "strict"
    assert upstream.reasoning_effort == "high"


@pytest.mark.parametrize(
    ("models", "key"),
    [({"default": "nobody/x"}, "models.default"), ({"routes": {"a": to("nowhere")}}, 'models.routes."a"')],
)
def test_a_target_that_does_not_exist_is_refused_by_its_key(
    providers: dict[str, Provider], models: dict[str, object], key: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        lead(providers, "x", **models)

    assert refused.value.key == key


# ---- one model under many names

LISTED = {
    "router": ProviderSettings(
        kind="openai",
        base_url="http://127.0.0.1:9/v1",
        models=("anthropic/claude-sonnet-4.5", "openai/gpt-oss-20b", "qwen/qwen3-32b", "shared"),
    ),
    "box": ProviderSettings(
        kind="openai", base_url="http://127.0.0.1:9/v1", models=("qwen3:8b", "llama3.2:latest", "gpt-oss:20b", "shared")
    ),
}


def build(tables: dict[str, ProviderSettings], folder: Path) -> dict[str, Provider]:
    return build_providers(tables, {}, folder, Transport(TransportSettings()))


VARIANTS = [
    "claude-sonnet-4-5",
    "claude-sonnet-4.5",
    "Claude-Sonnet-4.5",
    "claude-sonnet-4-5[1m]",
    "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-5@20250929",
    "anthropic/claude-sonnet-4.5",
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "claude-4.5-sonnet",
    "claude-sonnet-4-5-latest",
    "claude-via/claude-sonnet-4.5",
]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_spelling_of_a_name_finds_its_route(providers: dict[str, Provider], name: str) -> None:
    routes = {"claude-sonnet-4-5": to("local/found"), "claude-*": to("local/other"), "*": to("local/any")}

    assert lead(providers, name, routes=routes, big="oca/big", default="oca/d") == ["local/found"]


@pytest.mark.parametrize("name", ["gpt-4.1", "gpt-4-1", "GPT-4.1", "openai/gpt-4.1", "gpt-4.1-2025-04-14"])
def test_a_route_may_be_written_in_any_spelling(providers: dict[str, Provider], name: str) -> None:
    assert lead(providers, name, routes={"gpt-4.1": to("local/x")}, default="oca/d") == ["local/x"]


def test_the_pattern_that_spells_out_more_goes_before_another_spelling(providers: dict[str, Provider]) -> None:
    routes = {"gpt-4o": to("local/plain"), "gpt-4o-2024*": to("local/dated")}

    assert lead(providers, "gpt-4o-2024-08-06", routes=routes) == ["local/dated"]
    assert lead(providers, "gpt-4o-2025-01-01", routes=routes) == ["local/plain"]


@pytest.mark.parametrize("name", [*VARIANTS, "anthropic/claude-sonnet-4-5"])
def test_every_spelling_reaches_the_provider_that_lists_the_model(tmp_path: Path, name: str) -> None:
    assert lead(build(LISTED, tmp_path), name, default="box/qwen3:8b") == ["router/anthropic/claude-sonnet-4.5"]


@pytest.mark.parametrize("name", ["qwen3:8b\r\n", " qwen3:8b ", "box/qwen3:8b\n"])
def test_blanks_around_a_name_are_no_part_of_it(tmp_path: Path, name: str) -> None:
    assert lead(build(LISTED, tmp_path), name, default="router/shared") == ["box/qwen3:8b"]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("qwen3:8b", "box/qwen3:8b"),
        ("llama3.2:latest", "box/llama3.2:latest"),
        ("llama3.2", "box/llama3.2:latest"),
        ("gpt-oss:20b", "box/gpt-oss:20b"),
        ("openai/gpt-oss-20b", "router/openai/gpt-oss-20b"),
        ("qwen/qwen3-32b", "router/qwen/qwen3-32b"),
        ("qwen3-32b", "router/qwen/qwen3-32b"),
        ("shared", "router/shared"),
        ("unheard-of", "box/d"),
    ],
)
def test_a_name_leads_to_the_provider_that_lists_it(tmp_path: Path, name: str, target: str) -> None:
    assert lead(build(LISTED, tmp_path), name, default="box/d") == [target]


@pytest.mark.parametrize(
    "base_url", [None, "https://api.anthropic.com/v1", "http://127.0.0.1:9", "http://127.0.0.1:9/v1"]
)
def test_claudes_own_names_stay_with_an_anthropic_provider_at_any_address(tmp_path: Path, base_url: str | None) -> None:
    tables = {"anthropic": ProviderSettings(kind="anthropic", api_key="k", base_url=base_url), "oca": PROVIDERS["oca"]}

    assert lead(build(tables, tmp_path), "claude-opus-4.8", default="oca/d") == ["anthropic/claude-opus-4-8"]


def test_a_server_that_only_speaks_the_vendors_dialect_does_not_go_before_the_default(tmp_path: Path) -> None:
    tables = {
        "proxy": ProviderSettings(kind="anthropic", api_key="k", base_url="http://127.0.0.1:9"),
        "oca": PROVIDERS["oca"],
    }

    assert lead(build(tables, tmp_path), "claude-opus-4-8", default="oca/d") == ["oca/d"]
    assert lead(build(tables, tmp_path), "claude-opus-4-8", default="proxy/x") == ["proxy/claude-opus-4-8"]


def test_the_api_goes_before_the_program_whatever_their_order(tmp_path: Path) -> None:
    tables = {"cli": ProviderSettings(kind="claude_cli"), "ant": ProviderSettings(kind="anthropic", api_key="k")}

    assert lead(build(tables, tmp_path), "claude-opus-4-8", default="cli/x") == ["ant/claude-opus-4-8"]


@pytest.mark.parametrize(
    "name", ["nobody/gpt-5", "nobody/claude-sonnet-4-6", "openai/gpt-5", "google/gemini-9", "a/b/c"]
)
def test_an_unknown_provider_is_not_answered_by_the_default(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match="was not found: there is no provider"):
        lead(build(LISTED, tmp_path), name, default="box/d")


def test_a_vendors_name_of_a_known_model_is_no_provider(providers: dict[str, Provider]) -> None:
    assert lead(providers, "anthropic/claude-opus-5-5", default="oca/d") == ["ant/claude-opus-5-5"]
    assert lead(providers, "anthropic/claude-haiku-5-5", small="oca/s", default="oca/d") == ["oca/s"]


@pytest.mark.parametrize("name", ["claude-opus-5-5", "haiku", "claude-sonnet-4-6[1m]", "anthropic/claude-fable-5-1"])
def test_claudes_names_are_known_with_only_a_default(tmp_path: Path, name: str) -> None:
    assert lead(build(LISTED, tmp_path), name, default="box/d", unknown="refuse") == ["box/d"]


@pytest.mark.parametrize("name", ["unheard-of", "gpt-4o", "claude-sonet-4-6"])
def test_what_nothing_knows_may_be_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match=r"models\.unknown"):
        lead(build(LISTED, tmp_path), name, default="box/d", unknown="refuse")


@pytest.mark.parametrize(("name", "target"), [("d", "box/d"), ("b", "router/b"), ("org/r", "router/org/r")])
@pytest.mark.parametrize("unknown", ["default", "refuse"])
def test_a_model_that_the_settings_name_is_known_without_any_list(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, target: str, unknown: str
) -> None:
    routes = {"mine": to("router/org/r", "box/b")}

    assert lead(build(LISTED, tmp_path), name, default="box/d", big="router/b", routes=routes, unknown=unknown) == [
        target
    ]
    assert not caplog.records


@pytest.mark.parametrize("default", ["claude-sonnet-4-6", "gpt-5", "any-name"])
@pytest.mark.parametrize("kind", ["oca", "anthropic", "openai", "demo"])
def test_a_bare_default_leads_somewhere_where_there_is_one_provider(tmp_path: Path, default: str, kind: str) -> None:
    tables = {kind: ProviderSettings(kind=kind, base_url="http://127.0.0.1:9", api_key="k")}

    (label,) = lead(build(tables, tmp_path), "unheard-of", default=default)

    assert label == f"{kind}/{default}"


@pytest.mark.parametrize(("tier", "newest"), [("haiku", HAIKU), ("Sonnet", SONNET), ("opus", OPUS)])
def test_a_tier_alone_is_the_vendor_s_newest_model_of_it(tmp_path: Path, tier: str, newest: str) -> None:
    tables = {"anthropic": ProviderSettings(kind="anthropic", base_url="http://127.0.0.1:9", api_key="k")}
    older = {"anthropic": msgspec.structs.replace(tables["anthropic"], models=(newest.replace("-5-5", "-4-6"),))}

    default = f"anthropic/{SONNET}"

    assert lead(build(tables, tmp_path), tier, default=default) == [f"anthropic/{newest}"]
    assert lead(build(older, tmp_path), tier, default=default) == [f"anthropic/{newest.replace('-5-5', '-4-6')}"]
    assert lead(build(tables, tmp_path), tier, default=default, big="anthropic/b", small="anthropic/s") == [
        "anthropic/s" if tier == "haiku" else "anthropic/b"
    ]


MATCHED = {
    "local/x": "the name itself",
    "mine": 'models.routes."mine"',
    "my-9": 'models.routes."my-*"',
    "haiku": "models.small",
    "claude-opus-5-5": "models.big",
    "o1": "preset, models.big",
    "unheard-of": "models.default",
}


@pytest.mark.parametrize(("name", "matched"), MATCHED.items())
def test_every_upstream_says_what_chose_it(providers: dict[str, Provider], name: str, matched: str) -> None:
    models = ModelsSettings(
        routes={"mine": to("local/a"), "my-*": to("local/b")},
        small="oca/s",
        big="oca/b",
        default="oca/d",
        presets=("openai-to-claude",),
    )

    assert Router(models, providers).resolve(name)[0].matched == matched


def test_all_wrong_targets_are_told_at_once(providers: dict[str, Provider]) -> None:
    with pytest.raises(ConfigError) as refused:
        lead(providers, "x", default="nobody/x", small="nobody/y", routes={"a": to("nobody/z")})

    assert [fault.key for fault in refused.value.faults] == ["models.default", "models.small", 'models.routes."a"']
