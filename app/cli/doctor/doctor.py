"""`dragoman doctor`: finds what is wrong with a setup, and the commands that fix it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from app.blueprints.operations.support_bundle import make_bundle
from app.cli.doctor import network_checks, provider_checks, settings_checks, store_checks
from app.cli.doctor.claude_checks import check_claude
from app.cli.doctor.codex_checks import check_codex
from app.cli.doctor.finding import Check, Finding, Level, Subject, open_subject
from app.cli.doctor.machine_checks import check_shells, check_versions
from app.cli.launcher.gateway import open_gateway
from app.cli.options import config_option, hush_log, json_option, waiting_for, write_private
from app.cli.terminal import echo
from app.known_secrets import known_secrets
from app.logs.console import wants_colours

# Ordered so that a fault explains those after it.
CHECKS: tuple[Check, ...] = (
    *settings_checks.CHECKS,
    *store_checks.CHECKS,
    *network_checks.CHECKS,
    *provider_checks.CHECKS,
    check_claude,
    check_codex,
    check_shells,
    check_versions,
)
# Those of them that contact something outside this machine.
OUTSIDE = frozenset(
    {
        *(store_checks.check_postgres, store_checks.check_redis),
        *(network_checks.check_proxies, network_checks.check_hosts),
        *(provider_checks.check_windows, provider_checks.check_ollama),
    }
)
MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warn", "yellow"),
    "error": ("FAIL", "red"),
}


@click.command()
@config_option
@json_option
@click.option("--offline", is_flag=True, help="Contact no provider.")
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Show a bug report without secrets, then write it to a file.",
)
@click.option("--yes", is_flag=True, help="Write the file without asking.")
def doctor(path: Path | None, as_json: bool, offline: bool, bundle: Path | None, yes: bool) -> None:
    """Diagnose problems: settings, port, clients, network, logins, and one real request to each provider.

    Each finding comes with the command that fixes it. Exits with 1 if there is an error.
    """
    hush_log()  # the findings say it
    with open_subject(path, time.time()) as subject:
        findings = list[Finding]()
        found = examine(subject, path, offline=offline)
        while True:
            with waiting_for("the next check"):
                finding = next(found, None)
            if finding is None:
                break
            findings.append(finding)
            if not as_json:
                echo(describe(finding))
        if as_json:
            echo(known_secrets.mask(json.dumps(msgspec.to_builtins(findings), indent=2)))
        else:
            echo(_sum_up(findings))
        if bundle is not None:
            found_here = msgspec.to_builtins(findings)
            text = make_bundle(subject.settings, subject.environ, subject.home, findings=found_here)
            _write_bundle(bundle, text, yes=yes)
    sys.exit(any(finding.level == "error" for finding in findings))


def examine(subject: Subject, path: Path | None, *, offline: bool) -> Iterator[Finding]:
    """Yields all findings as they are made. A check that fails itself is also a finding."""
    for check in CHECKS:
        if offline and check in OUTSIDE:
            continue
        try:
            yield from check(subject)
        except Exception as error:
            message = f"{check.__name__} failed: {type(error).__name__}: {str(error)[:200]}"
            yield Finding("warning", "doctor", known_secrets.mask(message))
    if not offline and subject.settings is not None and subject.routing is not None:
        with tempfile.TemporaryDirectory(prefix="dragoman-") as folder, contextlib.ExitStack() as stack:
            try:
                url = stack.enter_context(open_gateway(subject.settings, path, Path(folder), quiet=True))
            except click.ClickException as error:
                yield Finding("error", "gateway", error.message, "dragoman serve")
                return
            yield from provider_checks.check_answers(subject, url)


def describe(finding: Finding) -> str:
    """A finding for a person; without colour if NO_COLOR is set or the output is a pipe."""
    word, colour = MARKS[finding.level]
    mark = click.style(word, fg=colour) if wants_colours(os.environ) else word
    text = f"{mark}{' ' * (5 - len(word))} {finding.check}: {finding.what}"
    shown = f"{text}\n      → {finding.remedy}" if finding.remedy else text
    return known_secrets.mask(shown)


def _sum_up(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level == level for finding in findings) for level in MARKS}
    if not counts["error"] + counts["warning"]:
        return "\nAll is well."
    return f"\n{_count(counts['error'], 'error')}, {_count(counts['warning'], 'warning')}."


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _write_bundle(file: Path, text: str, *, yes: bool) -> None:
    echo(f"\n{text}\n", err=True)
    if not yes and not click.confirm(f"Write this to {file}?", err=True):
        return
    write_private(file, text, over=True)
    echo(f"wrote {file}", err=True)
