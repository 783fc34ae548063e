"""Reading and writing YAML: one reader for every YAML file and value of the project.

Plain words are read by YAML 1.2's core schema, not by PyYAML's 1.1: `010` is ten, `1e-4` a number, and `1:30`, `no` and
`2020-01-01` are text. What can be read in two ways is refused: a key that is written twice, a second document, an
anchor inside itself; so is what no configuration needs: tags beyond the core's, and aliases that multiply a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cirn_dist.errors import ConfigError

_LARGEST = 4 * 2**20  # bytes of a file
_DEEPEST, _MOST = 50, 200_000  # levels, and values with every alias written out
_BREAKS = re.compile(r"[\n\r\x85\u2028\u2029]")
_MERGE = "tag:yaml.org,2002:merge"

# YAML 1.2.2, section 10.3.2; a word that matches none is text. Each with the characters such a word may begin with.
_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)


class _Reader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema, which refuses what is ambiguous."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name; filled below
    yaml_constructors = {
        f"tag:yaml.org,2002:{kind}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
        for kind in ("null", "str", "seq", "map")
    } | {None: yaml.SafeLoader.yaml_constructors[None]}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}  # by the node's identity, once it is whole
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value; one that is too deep, too large, or inside itself is refused."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        alias = self.check_event(yaml.AliasEvent)
        if self._depth >= _DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {_DEEPEST} levels", problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if alias and id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an anchor inside itself", problem_mark=mark)
        if not alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if self._sizes[id(node)] > _MOST:
            raise yaml.MarkedYAMLError(problem=f"more than {_MOST:,} values with its aliases", problem_mark=mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; a key written twice is refused, one that a merge (`<<`) brings may be written again."""
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is no plain word", problem_mark=key.start_mark)
            name = "<<" if key.tag == _MERGE else self.construct_object(key)
            line = key.start_mark.line + 1
            if name in lines:
                where = f"in lines {lines[name]} and {line}" if lines[name] != line else f"twice in line {line}"
                raise yaml.YAMLError(f"the key {key.value} is written {where}; keep one")
            lines[name] = line
        return node

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """Read text; half of a pair that stands for one character is none, and cannot be written again."""
        text: str = self.construct_scalar(node)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise yaml.MarkedYAMLError(problem="half a character (a lone surrogate)", problem_mark=node.start_mark)
        return text

    def construct_bool(self, node: yaml.ScalarNode) -> bool:
        """Read true or false."""
        text = self.construct_scalar(node).lower()
        if text not in ("true", "false"):
            raise yaml.MarkedYAMLError(problem="neither true nor false", problem_mark=node.start_mark)
        return text == "true"

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number: decimal with or without zeros in front, 0o17 or 0x1F."""
        text = self.construct_scalar(node)
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError as error:  # tagged !!int by hand, or of more digits than Python reads
            raise yaml.MarkedYAMLError(problem=f"no whole number ({error})", problem_mark=node.start_mark) from None

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """Read a number; .inf and .nan too, which whoever takes it may refuse."""
        text = self.construct_scalar(node).lower()
        try:
            return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text))
        except ValueError:
            raise yaml.MarkedYAMLError(problem="no number", problem_mark=node.start_mark) from None


class _Writer(yaml.SafeDumper):
    """PyYAML's safe dumper, which puts in quotes what either version of YAML would not read as text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Write text with line breaks in double quotes: in the other styles PyYAML loses some of them."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None)


for _kind, _pattern, _first in _CORE:
    _tag, _words = f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$")
    _Reader.add_implicit_resolver(_tag, _words, _first)
    _Writer.add_implicit_resolver(_tag, _words, _first)
_Writer.add_representer(str, _Writer.represent_text)
_Reader.add_constructor("tag:yaml.org,2002:str", _Reader.construct_text)
_Reader.add_constructor("tag:yaml.org,2002:bool", _Reader.construct_bool)
_Reader.add_constructor("tag:yaml.org,2002:int", _Reader.construct_int)
_Reader.add_constructor("tag:yaml.org,2002:float", _Reader.construct_float)


def parse_yaml(text: str, where: str | Path) -> Any:
    """Return the content of YAML text.

    Raises:
        ConfigError: it is not YAML, or can be read in two ways; says in which line.
    """
    reader = None
    try:
        reader = _Reader(text)
        return reader.get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"not YAML: {_told(error, lines=chr(10) in text)}", where=where) from None
    finally:
        if reader is not None:
            reader.dispose()


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file, in UTF-8 or, with its mark, UTF-16.

    Raises:
        ConfigError: as `parse_yaml`, or it cannot be read, is no text, or is too large for YAML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=path) from None
    if len(data) > _LARGEST:
        raise ConfigError(f"not YAML: larger than {_LARGEST // 2**20} MiB", where=path, fix="give a YAML file")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"not YAML: no {encoding[:6].rstrip('-').upper()} text in line {line}", where=path, fix="save it as UTF-8"
        ) from None
    return parse_yaml(text, path)


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping of keys to values that a YAML file holds; of an empty file, an empty one.

    Raises:
        ConfigError: as `read_yaml`, or it holds something else.
    """
    content = read_yaml(path)
    if content is not None and not isinstance(content, dict):
        raise ConfigError("must be a mapping of keys to values", where=path, fix="write `key: value` lines")
    return content or {}


def to_yaml(content: Any, *, flow: bool = False) -> str:
    """Return YAML text that `parse_yaml`, and any other reader, reads back to the same content.

    Args:
        flow: in one line, as a value is written after `key=`.
    """
    style: dict[str, Any] = {"default_flow_style": True, "width": float("inf")} if flow else {"width": 120}
    text: str = yaml.dump(content, Dumper=_Writer, sort_keys=False, allow_unicode=True, **style)
    return text.removesuffix("...\n").strip() if flow else text


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _told(error: Exception, *, lines: bool) -> str:
    """Return what is wrong and, of a text of several lines, in which; PyYAML's excerpt of the file is left out."""
    mark = getattr(error, "problem_mark", None)
    text = " ".join(str(getattr(error, "problem", None) or error).split())
    if "'\\t'" in text:
        text += "; indent with spaces, not tabs"
    if text == "but found another document":
        text = "a second document begins (---); keep one to a file"
    return f"line {mark.line + 1}: {text}" if mark is not None and lines else text
