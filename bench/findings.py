"""Keeps what a run found out."""

from __future__ import annotations

from statistics import median

from scenarios import Figure, Scenario


class Findings:
    """CPU times by scenario and server, figures of the gateway, and what was wrong with answers; one value a round."""

    def __init__(self) -> None:
        self.costs: dict[Scenario, dict[str, list[float]]] = {}
        self.figures: dict[Figure, list[float]] = {}
        self.faults: list[str] = []

    def note_cost(self, scenario: Scenario, server: str, us: float) -> None:
        self.costs.setdefault(scenario, {}).setdefault(server, []).append(us)

    def note(self, figure: Figure, value: float) -> None:
        self.figures.setdefault(figure, []).append(value)

    def find_cost(self, scenario: Scenario, server: str) -> float | None:
        """The median CPU time in microseconds per request or event."""
        values = self.costs.get(scenario, {}).get(server)
        return median(values) if values else None

    def find_ratio(self, scenario: Scenario, server: str, to: str) -> float | None:
        """The median of the rounds' ratios: both were measured within the same seconds."""
        costs = self.costs.get(scenario, {})
        ratios = [one / other for one, other in zip(costs.get(server, []), costs.get(to, []), strict=False)]
        return median(ratios) if ratios else None
