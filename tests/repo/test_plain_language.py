"""The documents and the names keep to plain language, as far as it can be counted."""

import ast
from pathlib import Path

import pytest

from tests.repo.plain_language import (
    MAX_WORDS,
    avoided_names,
    documents,
    findings,
    sentences,
)
from tests.repo.source import ROOT, Source, product_files


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_has_no_long_sentence_and_no_avoided_phrase(path: Path) -> None:
    assert list(findings(path)) == []


def test_no_name_holds_an_avoided_word() -> None:
    assert [line for source in product_files() for line in avoided_names(source)] == []


def test_sentences_end_at_cells_items_headings_and_stops() -> None:
    text = "# Head\n\nOne two. Three\nfour! `a. B`\n\n- item\n- next\n\n| a | b |\n|---|---|\n"
    text += "```\nno. prose\n```\n<!-- none. -->\nend of [the link](x.md).\n"
    assert [sentence for _, sentence in sentences(text) if sentence.strip("-")] == [
        "Head",
        "One two.",
        "Three four!",
        "`code`",
        "item",
        "next",
        "a",
        "b",
        "end of the link.",
    ]


def test_lines_are_counted_through_code() -> None:
    assert list(sentences("```\na\nb\n```\nLate.")) == [(5, "Late.")]


def test_a_long_sentence_and_an_avoided_phrase_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    long = " ".join(["word"] * (MAX_WORDS + 1)) + "."
    page.write_text(f"{long}\n\nIt goes on, one a tier.\n")
    assert [line.split(": ")[1] for line in findings(page)] == [
        f"{MAX_WORDS + 1} words, allowed",
        "'one a tier', better",
        "'goes on', better",
    ]


def test_an_avoided_word_is_found_within_a_name() -> None:
    text = "class SaysWhat:\n    def f(self, whoever_asks):\n        essay = 1\n"
    source = Source(ROOT / "x.py", "x", text, ast.parse(text))
    assert [line.split(": ")[1] for line in avoided_names(source)] == [
        "'SaysWhat' holds 'says', better",
        "'whoever_asks' holds 'whoever', better",
    ]


def test_a_name_that_is_an_avoided_word_is_reported_but_for_a_field() -> None:
    text = "class Row:\n    kept: int\n\ndef f(one):\n    found = [told for told in one]\n"
    source = Source(ROOT / "x.py", "x", text, ast.parse(text))
    names = {line.split("'")[1] for line in avoided_names(source)}
    assert names == {"found", "one", "told"}
