"""Recipes and their options: what cannot be used is refused before anything is packed, in the recipe's words."""

from __future__ import annotations

from pathlib import Path

import pytest
from rawdata import camvid

from cirn_dist.data.pack.pack import pack
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.errors import ConfigError

HEAD = "name: x\nlabel_space: camvid11\n"
BOTH = HEAD + "splits: {train: {}}\n"


def form(**keys: str) -> str:
    told = ", ".join(f"{key}: {value}" for key, value in {"images": "a/*.png", "labels": "'b/{1}.png'", **keys}.items())
    return f"{BOTH}forms: [{{{told}}}]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "not YAML"),
        ("- a", "must be a mapping of keys to values"),
        ("name: x", "splits: missing"),
        (BOTH + "colour: 3\nsize: [0, 5]", "colour: unknown key"),
        (BOTH + "colour: 3\nsize: [0, 5]", r"size\.0: input should be greater than or equal to 1 \(got 0\)"),
        ("name: x\nlabel_space: kitti\nsplits: {train: {}}", "unknown label space"),
        ("name: x\nlabel_space: {name: y, classes: [a, b], palette: [[0,0,0]]}\nsplits: {train: {}}", "1 palette"),
        (BOTH + "codec: gif", "codec"),
        (HEAD + "splits: {val: {}}", "no split 'train'"),
        (BOTH + "roots: [../other]", "roots: roots are folders below the raw folder"),
        (BOTH + "seed: 3", "seed: layout files does not use it"),
        (HEAD + "splits: {train: {first: 3}}", "first: layout files does not use it"),
        (HEAD + "layout: streets\nsplits: {train: {list: a.txt, count: 3}}", "list: layout streets does not use it"),
        (HEAD + "layout: streets\nsplits: {train: {}}", "split 'train' does not say how many images"),
        (HEAD + "splits: {train: {ranges: [[b, a]]}}", r"splits\.train\.ranges: b comes after a"),
        (form(images="/data/*.png"), r"forms\.0\.images: a pattern is a path below the raw folder"),
        (form(labels="'../b/{1}.png'"), r"forms\.0\.labels: a pattern is a path below"),
        (form(labels="'b/{2}.png'"), r"labels: \{2\}, but `images` has 1 wildcards"),
        (form(labels="'b/{name}.png'"), r"labels: \{name\}, but `images` has 1 wildcards"),
        (form(labels="b/all.png"), r"without \{1\} every image would have the same label"),
        (form(key="'{0}'"), r"key: \{0\}, but"),
        (form(ids="{300: sky}"), r"forms\.0\.ids\.300: input should be less than or equal to 255"),
        (form(ids="{-1: ignore}"), r"forms\.0\.ids\.-1: input should be greater than or equal to 0"),
        (form(ids="{7: sky, '7': road}"), "id 7 is there twice"),
        (form(ids="{7: sky, 7: road}"), "the key 7 is written"),
        (form(ids="{7: true}"), r"forms\.0\.ids\.7: input should be a valid"),
        (form(ids="{7: skyy}"), "ids: 'skyy' is no class of camvid11"),
        (form(ids="{7: 11}"), "ids: 11 is no class of camvid11"),
        (form(ids="cityscape"), "ids: unknown id map 'cityscape'"),
        (form(colours="camvid32"), "colours are for encoding colour, not index"),
        (form(ids="{1: sky}", encoding="colour"), "ids are for encoding index, not colour"),
        (form(encoding="colour", colours="camvid31"), "colours: unknown colour map 'camvid31'; did you mean camvid32"),
        (form(encoding="colour", colours="{skyy: [1, 2, 3]}"), "colours: 'skyy' is no class"),
        (form(encoding="colour", colours="{sky: [1, 2, 300]}"), r"forms\.0\.colours\.sky: a colour is \[r, g, b\]"),
        (form(encoding="colour", colours="{sky: '#12345'}"), r"forms\.0\.colours\.sky: a colour is"),
        (form(encoding="colour", colours="{sky: #123456\n}"), "is the '#' in quotes"),
        (form(encoding="colour", colours="{sky: '#010203', road: [[9, 9, 9], [1, 2, 3]]}"), "sky and road have one"),
        (form(encoding="colour", colours="{sky: '#010203', ignore: [1, 2, 3]}"), "sky and ignore have one colour"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_used_is_refused_by_its_key(text: str, reason: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        pack(recipe, camvid(tmp_path / "raw"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["ids: cityscapes", "encoding: colour, colours: cityscapes"])
def test_a_known_map_that_has_none_of_the_classes_is_refused(text: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    space = "{name: two, classes: [way, rest], palette: [[1, 2, 3], [4, 5, 6]]}"
    recipe.write_text(
        f"name: x\nlabel_space: {space}\nsplits: {{train: {{}}}}\nforms: [{{images: '*', labels: 'l/{{1}}', {text}}}]"
    )
    with pytest.raises(ConfigError, match="cityscapes has no class of two; name them: way, rest"):
        load_recipe(recipe)


@pytest.mark.parametrize(
    ("recipe", "options", "reason"),
    [
        ("camvid", {"cuont": 5}, "cuont is no option of a recipe of files; did you mean count"),
        ("camvid", {"seed": 5}, "seed is no option of a recipe of files"),
        ("camvid", {"first": 5}, "first is no option of a recipe of files"),
        ("streets", {"list": "a.txt"}, "list is no option of a recipe of rendered images"),
        (
            "camvid",
            {"count": "many"},
            r"^option count of camvid: splits\.train\.count: input should be a valid integer",
        ),
        ("camvid", {"count": 0}, r"splits\.train\.count: input should be greater than or equal to 1 \(got 0\)"),
        ("camvid", {"max_left_out": 2}, "max_left_out: input should be less than or equal to 1"),
        ("gta5", {"label_space": "kitti"}, "unknown label space 'kitti'"),
    ],
)
def test_an_option_that_a_recipe_does_not_have_is_refused(recipe, options, reason, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        pack(recipe, tmp_path, tmp_path / "out", options=options)
    assert "permitted" not in str(caught.value)


def test_a_recipe_split_size_or_codec_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="camvid"):
        pack("camvit", tmp_path, tmp_path / "out")
    for options in ({}, {"count": 2}):
        with pytest.raises(ConfigError, match="no split 'trian'; did you mean train"):
            pack("camvid", tmp_path, tmp_path / "out", "trian", options=options)
    with pytest.raises(ConfigError, match="size: images of 0x24 pixels"):
        pack("camvid", tmp_path, tmp_path / "out", size=(0, 24))
    with pytest.raises(ConfigError, match="unknown codec 'gif'"):
        pack("camvid", tmp_path, tmp_path / "out", codec="gif")


def test_a_split_without_keys_is_a_split(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nsplits:\n  train:\nforms: [{images: 'train/*.png'}]\n")
    raw = camvid(tmp_path / "raw", 3)
    assert len(pack(tmp_path / "r.yaml", raw, tmp_path / "out")) == 3
    assert len(pack(tmp_path / "r.yaml", raw, tmp_path / "two", options={"count": 2})) == 2


def test_sets_that_were_packed_before_still_open() -> None:
    """A packed set remembers its recipe's fingerprint; a shipped recipe's changes only when what it packs does."""
    known = {
        "camvid": "2f59c824ec648a67", "cityscapes": "42cdd64bc061e95e", "folder": "715bd219ae934e4c",
        "gta5": "d4ce6cc55448c5e7", "streets": "c2f82b55f4f56b4a", "synthia": "bfdda89ce50e441f",
    }  # fmt: skip
    assert {name: load_recipe(name).fingerprint[:16] for name in known} == known
    assert load_recipe("camvid", {"max_left_out": 0.5}).fingerprint == load_recipe("camvid").fingerprint
    assert load_recipe("camvid", {"count": 5}).fingerprint != load_recipe("camvid").fingerprint
