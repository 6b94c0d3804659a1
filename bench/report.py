"""Prints what was found beside the targets."""

from __future__ import annotations

import platform
from statistics import median

from findings import Findings
from peers import SMG, SWITCHYARD
from programs import NGINX, NODE, OURS
from scenarios import Scenario

NONE = "-"


def print_report(findings: Findings, seconds: float) -> None:
    """Two tables in Markdown, so that they can be kept as they are."""
    print(f"\n\nPython {platform.python_version()}, {seconds:.0f} s. CPU time in microseconds, median of rounds.\n")
    if findings.costs:
        print("| scenario | per | dragoman | nginx | bare Node | x nginx | x Node | target x Node | |")
        print("|---|---|--:|--:|--:|--:|--:|--:|---|")
        for scenario in findings.costs:
            print(_describe_cost(findings, scenario))
    _print_peers(findings)
    if findings.figures:
        print("\n| figure | measured | target | |\n|---|--:|--:|---|")
    for figure, values in findings.figures.items():
        value = median(values)
        limit = NONE if figure.limit is None else f"{figure.limit:g} {figure.unit}"
        print(f"| {figure.name} | {value:.3g} {figure.unit} | {limit} | {_judge(value, figure.limit)} |")
    for fault in findings.faults:
        print(f"\nWRONG: {fault}")


def _print_peers(findings: Findings) -> None:
    """All gateways by bare Node, where compiled ones were measured."""
    names = (OURS, SMG, SWITCHYARD)
    if not any(name in costs for costs in findings.costs.values() for name in (SMG, SWITCHYARD)):
        return
    print(f"\n| x bare Node | {' | '.join(names)} |\n|---|--:|--:|--:|")
    for scenario in findings.costs:
        ratios = [_show(findings.find_ratio(scenario, name, NODE)) for name in names]
        print(f"| {scenario.name} | {' | '.join(ratios)} |")


def _describe_cost(findings: Findings, scenario: Scenario) -> str:
    costs = [_show(findings.find_cost(scenario, name)) for name in (OURS, NGINX, NODE)]
    ratios = [findings.find_ratio(scenario, OURS, name) for name in (NGINX, NODE)]
    verdict = _judge(ratios[1], scenario.limit)
    cells = [scenario.name, scenario.per, *costs, *map(_show, ratios), _show(scenario.limit), verdict]
    return "| " + " | ".join(cells) + " |"


def _show(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _judge(value: float | None, limit: float | None) -> str:
    if value is None or limit is None:
        return ""
    return "ok" if value <= limit else "over"
