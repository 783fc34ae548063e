"""Nothing in the package runs what it reads: no pickle, no evaluated text, no shell; found in the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cirn_dist"
RUN_CODE = {"eval", "exec", "compile", "__import__"}
READERS = {  # by their last two names
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load",
    "joblib.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "jit.load", "hub.load",
    "os.system", "os.popen", "tempfile.mktemp", "pd.read_pickle",
}  # fmt: skip
NEEDS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False), "np.save": ("allow_pickle", False)}
# Ranks of one job send each other what Python pickles; nobody else can write there. These two may, and look at what
# they send first.
COLLECTIVES = {"all_gather_object", "broadcast_object_list", "gather_object", "scatter_object_list", "send_object_list"}
MAY_SEND = {("engine/runtime.py", "all_gather_object"), ("engine/collect.py", "all_gather_object")}


def unsafe(text: str, file: str = "") -> Iterator[str]:
    """Yield what a module does that runs what it reads, or might."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                if f"{(node.module or '').split('.')[-1]}.{name.name}" in READERS:
                    yield f"{node.lineno}: from {node.module} import {name.name}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        last, given = ".".join(called.split(".")[-2:]), {key.arg: key.value for key in node.keywords}
        if called in RUN_CODE or last in READERS:
            yield f"{node.lineno}: {called}"
        if last in NEEDS:
            name, wanted = NEEDS[last]
            value = given.get(name)
            if not (isinstance(value, ast.Constant) and value.value is wanted):
                yield f"{node.lineno}: {called} without {name}={wanted}"
        shell = given.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            yield f"{node.lineno}: {called} with a shell"
        name = called.split(".")[-1]
        if name in COLLECTIVES and (file, name) not in MAY_SEND:
            yield f"{node.lineno}: {called} sends pickles"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_runs_nothing_that_it_reads(path: Path) -> None:
    assert not list(unsafe(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()))


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.load(file)",
        "from pickle import loads",
        "pickle.Unpickler(file).load()",
        "eval(text)",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "from yaml import unsafe_load",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "torch.hub.load(repository, model)",
        "dist.all_gather_object(items, item)",
        "torch.distributed.broadcast_object_list(items)",
    ],
)
def test_what_is_looked_for_would_be_found(text: str) -> None:
    assert list(unsafe(text, "cli/app.py"))


def test_what_is_safe_passes() -> None:
    text = (
        "torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\nyaml.safe_load(t)\nnet.eval()\nre.compile(t)"
    )
    assert not list(unsafe(text))
