"""The wheel carries what is not Python, and works without the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_an_installed_wheel_finds_its_configurations_recipes_and_scripts(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    sources = (
        tmp_path / "sources"
    )  # a build in the checkout would leave a build/ folder there, and take old files from it
    for folder in ("cirn_dist", "configs", "launch", "shards"):
        shutil.copytree(ROOT / folder, sources / folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for file in ("LICENSE", "README.md", "pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / file, sources)
    build = [*pip, "wheel", str(sources), "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run(build, check=True, timeout=240, cwd=tmp_path)
    (wheel,) = tmp_path.glob("cirn_dist-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "launch", "shards"):
        for file in (ROOT / folder).rglob("*.*"):
            assert f"cirn_dist/_data/{file.relative_to(ROOT)}" in names
    assert not [name for name in names if name.startswith(("configs/", "tests/"))]
    assert all(
        f"cirn_dist/{file.relative_to(ROOT / 'cirn_dist')}" in names for file in (ROOT / "cirn_dist").rglob("*.py")
    )

    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, timeout=240)
    for foreign in ("configs", "launch", "shards"):  # another package's, installed beside it
        (site / foreign).mkdir()
        (site / foreign / "__init__.py").touch()
    code = (
        "from cirn_dist.config.load import load; from cirn_dist.data.pack.recipes import load_recipe; import cirn_dist;"
        "from cirn_dist.resources import folder; assert (folder('launch') / 'slurm/job.sh').is_file();"
        "load('gta5_cityscapes'); load_recipe('camvid'); print(cirn_dist.__file__)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(site))
