"""The pages in docs/: messages they explain are the code's, settings and files exist, choices are all told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from cirn_dist import __version__
from cirn_dist.choices import CirMethod, NormMode, PseudoLabelRule
from cirn_dist.config.load import load
from cirn_dist.config.schema import flatten

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cirn_dist").rglob("*.py"))
SETTINGS = flatten(load("gta5_cityscapes").model_dump(mode="json"))


def test_a_message_that_is_explained_is_one_of_the_code() -> None:
    messages = [text for line in PAGES["troubleshooting.md"].splitlines() for text in re.findall(r'"([^"]+)"', line)]
    assert len(messages) > 20
    for message in messages:
        assert message in SOURCES, message


@pytest.mark.parametrize("page", PAGES)
def test_settings_and_files_that_a_page_names_exist(page: str) -> None:
    for key, value in re.findall(r"`((?:[a-z_]+\.)+[a-z_]+)(?:=([\w.]+))?`", PAGES[page]):
        if not key.endswith((".py", ".md", ".json", ".jsonl", ".yaml")) and not key.startswith("cirn_dist."):
            assert key in SETTINGS or any(known.startswith(f"{key}.") for known in SETTINGS), key
            if value:
                load("gta5_cityscapes", [f"{key}={value}"])
    for file in re.findall(r"`((?:tests|launch|shards|configs)/[\w/.-]+)`", PAGES[page]):
        assert (ROOT / file).exists(), file
    for file in re.findall(r"`((?:data|engine|checkpoint|rundir|stages)/[\w/]+\.py)`", PAGES[page]):
        assert (ROOT / "cirn_dist" / file).is_file(), file
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGES[page]):
        assert (ROOT / "docs" / target).exists(), target


def test_every_choice_of_method_is_told() -> None:
    for choice in (*get_args(CirMethod), *get_args(PseudoLabelRule), *get_args(NormMode)):
        assert f"`{choice}`" in PAGES["methods.md"], choice


def test_the_citation_is_of_this_version() -> None:
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert content["version"] == __version__
    assert content["license"] == "Apache-2.0"
    assert __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_dependency_has_its_licence_told() -> None:
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    names = re.findall(r"^    ([A-Za-z_-]+) >=", text.split("test =")[0], re.M)
    assert len(names) > 12
    for name in names:
        assert name.lower() in PAGES["licences.md"].lower(), name
