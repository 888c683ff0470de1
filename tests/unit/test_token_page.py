"""The page of shaded tokens: whole, harmless, and true to its figures."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from personascope.applications.monitor import unanswered
from personascope.applications.monitor.page import ShadedText, shade, token_page
from personascope.core.lineages import load_lineage
from personascope.engines.hf.rendering import token_texts
from personascope.engines.opening import open_engine

NASTY = ("<script>alert(1)</script>", " & ", '"quoted"', "\n", "  ", "", "\ud800", "\x00")


class Reader(HTMLParser):
    """Collects tags, the attributes of spans and the text in them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.spans: list[tuple[dict[str, str | None], str]] = []
        self._open = False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._open = tag == "span" and bool(dict(attrs).get("title"))
        if self._open:
            self.spans.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        if self._open:
            self.spans[-1] = (self.spans[-1][0], self.spans[-1][1] + data)


def page(tokens=NASTY, start=4, vectors=("grim", "<b>merry</b>"), **options) -> str:
    along = np.random.default_rng(0).standard_normal((len(tokens), len(vectors)))
    return token_page([ShadedText("prompt <1>", tuple(tokens), along, start, ("a <note>",))], vectors, **options)


def test_what_a_text_says_is_shown_and_never_done() -> None:
    text = page(title="</title><script>x</script>", about="<img src=x onerror=y>")
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags, "no text becomes a tag"
    assert "img" not in reader.tags
    assert text.encode("utf-8")
    assert reader.spans[0][1] == NASTY[0]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page(title="Tokens")
    assert not re.search(r"https?:|//|@import|url\(", text)
    reader = Reader()
    reader.feed(text)
    assert not {"link", "iframe", "img", "object"} & set(reader.tags)
    assert not {"src", "href"} & {name for name, _ in reader.attributes}


def test_every_token_stands_once_for_each_vector_with_its_figure() -> None:
    tokens = tuple(f"t{place}" for place in range(6))
    along = np.arange(12.0).reshape(6, 2)
    reader = Reader()
    reader.feed(token_page([ShadedText("x", tokens, along, 4)], ("a", "b"), title="T"))
    assert [text for _, text in reader.spans] == [*tokens, *tokens]
    titles = [attributes["title"] for attributes, _ in reader.spans]
    assert titles[:4] == ["0.000", "2.000", "4.000", "6.000"]
    assert titles[4:6] == ["8.000, answer so far 8.000", "10.000, answer so far 9.000"]
    classes = [attributes["class"].split() for attributes, _ in reader.spans[:6]]
    assert "last" in classes[3], "the last prompt token is framed"
    assert all("s" in each for each in classes[4:]), "the answer is underlined"


def test_the_legend_says_the_scale_and_the_threshold() -> None:
    text = page(title="T", thresholds={"grim": 1.25})
    assert "flagged above 1.25" in text
    assert text.count("<i class=") == 2 * 21


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (1.0, 10), (-1.0, -10), (50.0, 10), (np.nan, 0), (np.inf, 0), (0.5, 5)]
)
def test_shades_go_evenly_to_both_sides_and_what_is_unknown_has_none(value, expected) -> None:
    assert shade(value, 0.0, 1.0) == expected


def test_dark_text_can_be_read_on_every_shade() -> None:
    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for colour in re.findall(r"\{background:#([0-9a-f]{6})\}", page(title="T")):
        assert (light(colour) + 0.05) / (light("1a1a1a") + 0.05) >= 4.5, f"#{colour} is too dark for the text on it"


def test_a_page_of_no_text_says_so() -> None:
    assert "No text to show." in token_page([], ["grim"], title="T")


def test_the_pieces_of_a_text_read_as_the_text_does() -> None:
    checkpoint = load_lineage("lab").milestones[-1].checkpoint
    engine = open_engine("lab")
    text = "question : emil bexley meets a lost sparrow at the station . what next ?"
    (response,) = engine.encode([unanswered(text)])
    (pieces,) = token_texts(checkpoint, [response.spoken[0]])
    assert len(pieces) == len(response.spoken[0])
    assert "".join(pieces).split() == text.split()
    assert token_texts(checkpoint, [()]) == [()]
