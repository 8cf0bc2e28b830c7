"""What others wrote reaches the screen as signs to read, never as signs that act."""

import io
import json
import sys

import pytest

from steppe.cli.output import answer, complain, plain, print_json, print_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Größe 🙂\tand\nlines", "plain, Größe 🙂\tand\nlines"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\x07\x9b", "a\\rb\\x07\\x9b"),
        ("\u202egnp\u2066", "\\u202egnp\\u2066"),
        ("\udcff", "\\udcff"),
    ],
)
def test_signs_that_act_are_written_as_escapes(text, shown):
    assert plain(text) == shown


def test_an_encoding_that_lacks_a_sign_gets_its_code():
    assert plain("λ ≤ 2", "latin-1") == "\\u03bb \\u2264 2"
    assert plain("Größe", "latin-1") == "Größe"


def test_tables_on_a_terminal_hold_no_foreign_escapes(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    print_table(["claim"], [["\x1b]0;owned\x07"], ["holds"]])
    assert "\\x1b]0;owned\\x07" in screen.getvalue()
    assert "\x1b]0" not in screen.getvalue()


def test_a_very_long_error_keeps_its_beginning_and_its_remedy(capsys):
    complain("`on` must be local, got " + "x" * 100_000 + "; write local:2")
    said = capsys.readouterr().err
    assert said.startswith("steppe: `on` must be local, got xxx")
    assert said.endswith("; write local:2\n")
    assert len(said) < 1500


def test_streams_without_unicode_get_answers_all_the_same(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", screen)
    answer("λ ≤ 2")
    print_json({"said": "λ"})
    screen.seek(0)
    first, _, rest = screen.read().partition("\n")
    assert first == "\\u03bb \\u2264 2"
    assert json.loads(rest) == {"said": "λ"}
