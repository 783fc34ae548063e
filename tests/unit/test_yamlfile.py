"""YAML is read in one way only: what has two meanings is refused, and what is written is read back."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from cirn_dist.config.yamlfile import parse_yaml, read_mapping, read_yaml, to_yaml
from cirn_dist.errors import ConfigError

TEXTS = st.text() | st.from_regex(r"[-+.0-9eExo_:nyNY~<=]{1,6}", fullmatch=True) | st.sampled_from(["no", "on", "1e5"])
NUMBERS = st.integers() | st.floats(allow_nan=False)
CONTENT = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(CONTENT)
def test_what_is_written_is_read_back_by_this_reader_and_by_any_other(content: Any) -> None:
    for flow in (False, True):
        text = to_yaml(content, flow=flow)
        assert parse_yaml(text, "x") == content
        assert yaml.safe_load(text) == content
    assert "\n" not in to_yaml(content, flow=True)


@given(st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text().filter(lambda text: not any(c.isdigit() for c in text)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_.", min_size=1), inner, max_size=4),
))  # fmt: skip
def test_what_older_versions_wrote_is_read_as_they_read_it(content: Any) -> None:
    assert parse_yaml(yaml.safe_dump(content, sort_keys=False, width=120), "x") == content


@pytest.mark.parametrize("file", sorted(ROOT.glob("[!.]*/**/*.yaml")), ids=lambda file: file.name)
def test_every_shipped_file_means_what_it_meant(file: Path) -> None:
    assert read_yaml(file) == yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("-08", -8), ("0o17", 15), ("0x1F", 31), ("+3", 3),
        ("1e-4", 1e-4), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), (".inf", math.inf), ("-.INF", -math.inf),
        ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("yes", "yes"), ("No", "No"), ("on", "on"), ("OFF", "OFF"),
        ("y", "y"), ("1_000", "1_000"), ("0b11", "0b11"), ("2020-01-01", "2020-01-01"), ("=", "="),
        ("True", True), ("FALSE", False), ("tRUE", "tRUE"), ("~", None), ("NULL", None), ("", None), ("nUll", "nUll"),
        ("'1'", "1"), ("!!str 1", "1"), ("!!float 1", 1.0), ("e5", "e5"), (".", "."), ("-", [None]),
    ],
)  # fmt: skip
def test_plain_words_are_read_by_the_core_schema(text: str, value: Any) -> None:
    found = parse_yaml(text, "x")
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read_and_left_to_the_schema() -> None:
    assert math.isnan(parse_yaml(".nan", "x"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "the key a is written in lines 1 and 3; keep one"),
        ("x: {b: 1, b: 2}", "the key b is written twice in line 1; keep one"),
        ("1: a\n0x1: b", "the key 0x1 is written in lines 1 and 2"),
        ("'a': 1\na: 1", "the key a is written in lines 1 and 2"),
        ("<<: {a: 1}\n<<: {b: 1}", "the key << is written in lines 1 and 2"),
        ("b: &b {a: 1}\nc: {<<: *b, d: 1,\n d: 2}", "the key d is written in lines 2 and 3"),
        ("a:\n\tb: 1", "line 2: found character '\\t' that cannot start any token; indent with spaces, not tabs"),
        ("a: 1\n---\na: 2", "line 2: a second document begins"),
        ("a: [1\nb: 2", "line 2: expected ',' or ']'"),
        ("a: *b", "found undefined alias 'b'"),
        ("a: &a [1, *a]", "an anchor inside itself"),
        ("a: &a {b: {c: *a}}", "an anchor inside itself"),
        ("[1]: 2", "a key that is no plain word"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("!!binary aGk=", "could not determine a constructor"),
        ("!!int nine", "no whole number"),
        ("!!bool no", "neither true nor false"),
        ("!!float much", "no number"),
        ('"\\U00110000"', "not in range"),
        ('"\\UFFFFFFFF"', "too large"),
        ("9" * 5000, "no whole number"),
        ("[" * 60, "more than 50 levels"),
        ("a: \x07", "unacceptable character #x0007"),
        ("<<: 3", "expected a mapping"),
    ],
)
def test_what_has_two_meanings_or_none_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "here.yaml")
    assert str(caught.value).startswith("here.yaml: not YAML: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


def test_merged_keys_may_be_written_again() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: [*b, *a, {z: 4}], x: 5}"
    assert parse_yaml(text, "x") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 5, "y": 3, "z": 4}}


@pytest.mark.parametrize("merge", [False, True])
def test_aliases_cannot_multiply_a_file(merge: bool) -> None:
    first = "a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(10)) + "}\n"
    star = "{{<<: [{0}]}}" if merge else "[{0}]"
    more = (f"a{i}: &a{i} {star.format(', '.join([f'*a{i - 1}'] * 10))}\n" for i in range(1, 30))
    began = time.monotonic()
    with pytest.raises(ConfigError, match="more than 200,000 values with its aliases"):
        parse_yaml(first + "".join(more), "bomb")
    assert time.monotonic() - began < 10


def test_a_file_of_another_encoding_or_size(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_bytes("a: ä".encode(encoding))
        assert read_mapping(file) == {"a": "ä"}
    file.write_bytes(b"")
    assert read_mapping(file) == {}
    for data, said in (
        (b"a: 1\nb: \xe9t\xe9", "no UTF-8 text in line 2; save it as UTF-8"),
        (b"\xff\xfea", "no UTF-16 text in line 1"),
        (b"# " + b"x" * 2**22, "larger than 4 MiB"),
        (b"- 1", "must be a mapping of keys to values"),
        (b"just words", "must be a mapping of keys to values"),
    ):
        file.write_bytes(data)
        with pytest.raises(ConfigError, match=said) as caught:
            read_mapping(file)
        assert str(caught.value).startswith(str(file))
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory"):
        read_mapping(tmp_path)
