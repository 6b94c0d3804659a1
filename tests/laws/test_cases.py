"""The laws run over all that there is: none of them can vanish unnoticed."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.dialects.registry import DIALECTS as REGISTERED
from tests.laws import cases
from tests.laws.test_one_truth import SPOILED
from tests.laws.test_plain_requests import PARSERS

# The laws by module, and what each of them is run over. A law that is added or taken away is so here too.
LAWS = {
    "test_clean_replies": {
        "test_what_passes_as_clean_needs_no_repair": "dialects",
        "test_recorded_answers_are_mostly_clean": "dialects",
    },
    "test_one_truth": {
        "test_what_passes_is_what_the_adaptation_leaves_alone": "spoiled",
        "test_a_plain_request_passes_to_every_upstream_that_answers_in_the_open": "dialects",
    },
    "test_plain_passing": {
        "test_any_request_passes_on_both_ways_or_on_none": "dialects",
        "test_recorded_and_spoiled_requests_pass_on_both_ways_or_on_none": "dialects",
        "test_no_second_model_reaches_an_upstream": "dialects",
        "test_a_plain_question_is_judged_by_its_type": "dialects",
    },
    "test_plain_requests": {  # of the two dialects that have a short way
        "test_any_request_is_read_alike_on_both_ways": "parsers",
        "test_recorded_requests_are_read_alike_on_both_ways": "parsers",
        "test_a_plain_question_goes_the_short_way": "parsers",
        "test_what_is_no_text_goes_the_long_way": "parsers",
    },
    "test_repeated_tools": {  # over declarations and upstreams that are drawn
        "test_a_repeated_declaration_is_translated_as_a_new_one_is": "",
        "test_definitions_of_one_length_are_told_apart": "",
        "test_tools_of_vendors_are_not_kept": "",
        "test_what_is_kept_is_bounded": "",
        "test_a_declaration_that_is_too_large_is_not_kept": "",
    },
    "test_requests": {
        "test_a_request_parsed_and_rendered_is_the_same_request": "requests",
        "test_a_request_keeps_every_value_or_reports_it": "requests",
        "test_what_the_conversation_knows_is_no_extension": "requests",
        "test_the_same_request_gives_the_same_bytes": "requests",
        "test_a_request_passes_byte_by_byte_or_means_the_same": "requests",
        "test_another_model_name_changes_nothing_else": "requests",
        "test_a_cut_body_is_refused_and_nothing_worse": "requests",
        "test_what_was_said_reaches_an_upstream_of_another_dialect": "pairs",
        "test_a_setting_reaches_an_upstream_of_another_dialect_or_is_reported": "pairs",
    },
    "test_robustness": {
        "test_a_request_with_something_odd_in_it_is_served_or_refused": "requests",
        "test_an_answer_with_something_odd_in_it_is_read_or_reported": "responses",
        "test_a_stream_with_something_odd_in_it_is_read_or_fails": "streams",
    },
    "test_sleeping_steps": {  # over requests and upstreams that are drawn
        "test_a_step_that_sleeps_would_have_done_nothing": "",
        "test_the_short_way_through_the_steps_leads_where_the_long_one_does": "",
        "test_a_plain_question_wakes_nothing": "",
    },
    "test_speaking": {
        "test_a_conversation_is_the_same_after_it_was_written_and_read": "dialects",
        "test_whatever_a_client_said_reaches_every_upstream": "dialects clients",
        "test_whatever_an_upstream_said_reaches_every_client_wherever_it_is_cut": "dialects clients",
        "test_what_needs_no_repair_passes_byte_by_byte": "dialects",
    },
    "test_streams": {
        "test_a_stream_folds_into_its_whole_answer": "twins",
        "test_a_stream_cut_at_every_byte_gives_the_same_events": "streams",
        "test_a_stream_cut_anywhere_gives_the_same_events_and_bytes": "streams",
        "test_each_block_opens_once_closes_once_and_speaks_in_between": "streams",
        "test_a_truncated_stream_never_ends_as_if_it_were_whole": "streams",
        "test_a_truncated_passthrough_tells_the_client": "streams",
        "test_a_clean_stream_passes_byte_by_byte_and_a_mended_one_says_the_same": "streams",
        "test_a_clean_answer_passes_byte_by_byte_and_a_mended_one_says_the_same": "responses",
        "test_every_client_hears_what_the_upstream_said": "streams clients",
        "test_a_stream_that_is_written_is_numbered_like_one_of_the_vendor": "clean",
        "test_an_answer_without_a_place_for_words_is_the_upstreams_fault": "responses",
        "test_a_cut_upstream_gives_every_client_an_error": "streams clients",
        "test_every_client_reads_a_whole_answer": "responses clients",
        "test_an_end_mark_that_the_client_did_not_ask_for_is_a_normal_end": "clients",
    },
    "test_runs": {
        "test_recorded_streams_become_the_same_bytes": "streams",
        "test_any_texts_become_the_same_bytes": "dialects",
        "test_texts_that_are_sent_over_and_over_become_the_same_bytes": "dialects",
        "test_a_plain_stream_is_a_run_but_for_its_ends": "dialects",
        "test_long_streams_become_the_same_bytes": "dialects",
        "test_noise_of_vendors_changes_nothing": "dialects",
        "test_a_stream_with_noise_is_translated_as_a_run": "dialects",
    },
}
HERE = Path(__file__).parent


def test_every_registered_dialect_is_under_the_laws() -> None:
    assert {dialect.NAME for dialect in cases.DIALECTS} == set(REGISTERED)


@pytest.mark.parametrize("dialect", cases.DIALECTS, ids=lambda dialect: dialect.NAME)
@pytest.mark.parametrize(("kind", "least"), [("requests", 10), ("responses", 5), ("streams", 10)])
def test_every_dialect_has_wire_files_of_each_kind(dialect: object, kind: str, least: int) -> None:
    files = [param for param in cases.every_file(kind) if param.values[0] is dialect]

    assert len(files) >= least


def test_every_law_runs_over_all_that_there_is() -> None:
    found = {path.stem: dict(_laws_of(path.stem)) for path in HERE.glob("test_*.py") if path != Path(__file__)}

    sizes = _sizes()
    expected = {
        module: {law: math.prod(sizes[over] for over in kinds.split()) for law, kinds in laws.items()}
        for module, laws in LAWS.items()
    }
    assert found == expected


@pytest.mark.parametrize("dialect", cases.DIALECTS, ids=lambda dialect: dialect.NAME)
def test_only_wire_files_that_exist_are_called_mended(dialect: Any) -> None:
    folder = cases.WIRE / dialect.NAME
    mended = json.loads((folder / cases.MENDED).read_bytes())

    assert set(mended) == {"requests", "responses", "streams"}
    for kind, names in mended.items():
        assert set(names) <= {path.stem for path in (folder / kind).iterdir()}, kind


def _sizes() -> dict[str, int]:
    """How much there is of what laws run over, counted on the disk and not by the functions that the laws use."""
    names = list(REGISTERED)
    kinds = {
        kind: sum(len(list((cases.WIRE / name / kind).iterdir())) for name in names)
        for kind in ("requests", "responses", "streams")
    }
    stems = [[{path.stem for path in (cases.WIRE / name / kind).iterdir()} for kind in kinds] for name in names]
    return {
        **kinds,
        "clean": len(cases.every_clean_stream()),
        "twins": sum(len(responses & streams) for _, responses, streams in stems),
        "dialects": len(names),
        "clients": len(names),
        "pairs": len(names) * (len(names) - 1),
        "parsers": len(PARSERS),
        "spoiled": sum(len(SPOILED[cases.form_of(name)]) for name in names),
    }


def _laws_of(module: str) -> Iterator[tuple[str, int]]:
    """The tests of a module, each with the number of its cases."""
    for name, law in vars(importlib.import_module(f"tests.laws.{module}")).items():
        if name.startswith("test_"):
            yield name, _count(law)


def _count(law: Callable[..., None]) -> int:
    marks = [mark for mark in getattr(law, "pytestmark", []) if mark.name == "parametrize"]
    return math.prod(len(mark.args[1]) for mark in marks)
