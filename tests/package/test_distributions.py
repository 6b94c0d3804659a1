"""The wheel and the source distribution hold all that the program needs, and nothing of another project's."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.package.conftest import ROOT, build, run


def wheel_of(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


def sdist_of(dist: Path) -> Path:
    (sdist,) = dist.glob("*.tar.gz")
    return sdist


def metadata_of(dist: Path) -> Message[str, str]:
    wheel = zipfile.ZipFile(wheel_of(dist))
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(path).decode())


def names_in(sdist: Path) -> list[str]:
    with tarfile.open(sdist) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


def test_the_same_commit_gives_the_same_bytes_in_any_checkout(tmp_path: Path) -> None:
    def build_clone(name: str, umask: str, **environ: str) -> dict[str, bytes]:
        clone = tmp_path / name
        run("sh", "-c", f"umask {umask} && git clone -q {ROOT} {clone}")
        told = (f"VENV={ROOT / '.venv'}", f"DIST={clone / 'dist'}", f"PYTHON={sys.executable}")
        run("sh", "-c", f'umask {umask} && make -C {clone} dist "$@"', "make", *told, **environ)
        return {path.name: path.read_bytes() for path in (clone / "dist").iterdir()}

    assert build_clone("one", "022") == build_clone("another", "077", TZ="Asia/Tokyo", LC_ALL="C")


def test_the_wheel_holds_each_file_of_the_package(dist: Path) -> None:
    packaged = {name for name in zipfile.ZipFile(wheel_of(dist)).namelist() if name.startswith("app/")}

    tracked = {str(path.relative_to(ROOT)) for path in (ROOT / "app").rglob("*") if path.is_file()}
    assert packaged == {name for name in tracked if "__pycache__" not in name}


def test_the_wheel_holds_no_other_top_level_name(dist: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel_of(dist)).namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"app", "dragoman.py", "wsgi.py"}


@pytest.mark.parametrize("folder", ["docs", "deploy", "app"])
def test_the_source_distribution_holds_the_folder(dist: Path, folder: str) -> None:
    held = {name for name in names_in(sdist_of(dist)) if name.startswith(f"{folder}/")}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert held >= {name for name in wanted if "__pycache__" not in name}


def test_the_source_distribution_holds_no_tests(dist: Path) -> None:
    assert [name for name in names_in(sdist_of(dist)) if name.startswith("tests")] == []


def test_the_metadata_names_licence_pythons_and_commands(dist: Path) -> None:
    wheel = zipfile.ZipFile(wheel_of(dist))
    metadata = metadata_of(dist)
    (path,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    entry_points = wheel.read(path).decode()

    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License"] == "MIT" or metadata["License-Expression"] == "MIT"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert "dragoman = dragoman:main" in entry_points
    assert "app/py.typed" in wheel.namelist()


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://git.example/team/dragoman.git", "https://git.example/team/dragoman"),
        ("https://git.example/team/dragoman/", "https://git.example/team/dragoman"),
        ("https://user:password@git.example/team/dragoman.git", "https://git.example/team/dragoman"),
        ("git@git.example:team/dragoman.git", "https://git.example/team/dragoman"),
        ("ssh://git@git.example/team/dragoman", "https://git.example/team/dragoman"),
        ("/srv/dragoman.git", ""),
        ("file:///srv/dragoman", ""),
        ("../dragoman", ""),
    ],
)
def test_the_address_is_that_of_the_remote_if_others_can_reach_it(origin: str, address: str, tmp_path: Path) -> None:
    run("git", "init", "-q", tmp_path)
    run("git", "-C", tmp_path, "remote", "add", "origin", origin)

    told = run("make", "-s", "--eval=tell:; @echo '[$(PROJECT_URL)]'", "tell", cwd=ROOT, GIT_DIR=str(tmp_path / ".git"))

    assert told.strip() == f"[{address}]"


def test_the_metadata_names_the_address_and_its_description_links_there(tmp_path: Path) -> None:
    dist = build(tmp_path, PROJECT_URL="https://git.example/team/dragoman")
    metadata = metadata_of(dist)

    urls = dict(each.split(", ") for each in metadata.get_all("Project-URL", []))
    assert urls["Source"] == "https://git.example/team/dragoman"
    assert urls["Issues"] == "https://git.example/team/dragoman/issues"
    links = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert "https://git.example/team/dragoman/raw/HEAD/docs/screenshots/overview.webp" in links
    assert all(link.startswith(("https://", "#")) for link in links)


def test_each_distribution_has_its_hash(dist: Path) -> None:
    told = dict(reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines())

    made = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}
    assert told == {name: value for name, value in made.items() if name != "SHA256SUMS"}


def test_the_bill_of_materials_names_each_pinned_package(dist: Path) -> None:
    bill = json.loads((dist / "dragoman.cdx.json").read_text())

    assert bill["bomFormat"] == "CycloneDX"
    pinned = {
        line.partition("==")[0].lower()
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    assert {part["name"].lower() for part in bill["components"]} == pinned
