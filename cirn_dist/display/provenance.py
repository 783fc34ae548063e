"""What a run was made of, as a tree for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from cirn_dist.display.terminal import duration
from cirn_dist.rundir.made import Made
from cirn_dist.rundir.provenance import SHORT, Node

_STYLES = {"run": "bold", "score": "bold green", "checkpoint": "", "shards": "cyan", "raw": "dim", "missing": "red"}


def provenance_tree(root: Node) -> RenderableType:
    """Lay out what everything was made of; what was shown before is not shown again."""
    seen: set[int] = set()
    tree = Tree(_label("", root, again=False), guide_style="dim")
    for role, parent in root.parents:
        if id(parent) not in seen and not _shown(parent, seen):
            _grow(tree, role, parent, seen)
    return Group(tree, Text(), _verdict(root))


def _verdict(root: Node) -> Text:
    """Say whether what was recorded is what is there, and what was changed in the course of the run."""
    problems, changed = root.problems(), root.overrides
    told = Text()
    if problems:
        told.append(f"{len(problems)} link{'s do' if len(problems) > 1 else ' does'} not fit\n", style="red")
    elif not changed:
        told.append("every link fits\n", style="green")
    if changed:
        fits = "" if problems else "what was recorded is there, but "
        number = f"{len(changed)} setting{'s were' if len(changed) > 1 else ' was'}"
        told.append(f"{fits}{number} changed in the course of the run:\n", style="yellow")
        told.append("".join(f"  {override}\n" for override in changed))
    told.rstrip()
    return told


def _shown(node: Node, seen: set[int]) -> bool:
    """Whether a stage without a score of its own has been shown as another's parent."""
    return node.kind == "checkpoint" and id(node) in seen


def _grow(tree: Tree, role: str, node: Node, seen: set[int]) -> None:
    again = id(node) in seen and bool(node.parents)
    branch = tree.add(_label(role, node, again=again))
    seen.add(id(node))
    if not again:
        for parent_role, parent in node.parents:
            _grow(branch, parent_role, parent, seen)


def _label(role: str, node: Node, *, again: bool) -> Text:
    text = Text(overflow="fold").append(f"{role}: " if role else "", style="dim")
    text.append(node.name, style=_STYLES.get(node.kind, ""))
    if again:
        return text.append("  (above)", style="dim")
    if node.note:
        text.append(f"  {node.note}", style="dim")
    if node.made is not None:
        text.append(f", {_made(node.made)}", style="dim")
    if node.fingerprint and not node.problem:
        text.append(f"  {node.fingerprint[:SHORT]}", style="dim")
    if node.problem:
        text.append(f"  ✗ {node.problem}", style="red")
    return text


def _made(made: Made) -> str:
    """Say how long a stage took, in how many starts, and by which code."""
    starts = f" in {len(made.starts)} starts" if len(made.starts) > 1 else ""
    codes = dict.fromkeys(start.by.commit or start.by.version for start in made.starts)
    taken = "" if made.taken is None else f", taken from {made.taken}"
    return f"{duration(made.seconds)}{starts} by {', '.join(codes)}{taken}"
