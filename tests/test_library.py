"""Which library is measured: releases by the real pip from a folder, wheels, checkouts, and what is wrong with them."""

import hashlib
from pathlib import Path

import pytest
from wheels import wheel

from accuracy import devices, library
from accuracy.library import LibraryError, resolve


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that knows no index but a folder with the releases 0.1 and 0.2."""
    wheel(tmp_path / "releases", "0.1")
    wheel(tmp_path / "releases", "0.2")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "releases"))
    return tmp_path / "cache"


def test_a_release_is_fetched_once_and_comes_first_on_the_path(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time pip is not needed: an index that is gone does not matter."""
    first = resolve("0.1", cache=cache)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    again = resolve("0.1", cache=cache)

    assert first == again
    assert "__version__ = '0.1'" in (first.overlay / "bitsandbytes" / "__init__.py").read_text(encoding="utf-8")
    assert first.sha256 == hashlib.sha256(next(cache.parent.glob("releases/*0.1-*")).read_bytes()).hexdigest()
    assert devices.environment("cpu", [first.overlay])["PYTHONPATH"].startswith(str(first.overlay))
    assert [path.name for path in cache.iterdir()] == ["0.1"]


def test_a_wheel_and_a_checkout_are_taken_where_they_are(cache: Path, tmp_path: Path) -> None:
    """Of a wheel the hash of the file is kept, of a checkout that of its files."""
    built = wheel(tmp_path / "built", "0.3.dev0")
    (tmp_path / "checkout" / "bitsandbytes").mkdir(parents=True)
    module = tmp_path / "checkout" / "bitsandbytes" / "__init__.py"
    module.write_text("", encoding="utf-8")

    assert (resolve(str(built), cache=cache).overlay / "bitsandbytes" / "__init__.py").is_file()
    before = resolve(str(tmp_path / "checkout"), cache=cache)
    module.write_text("changed = True\n", encoding="utf-8")
    after = resolve(str(tmp_path / "checkout"), cache=cache)

    assert before.overlay == after.overlay == tmp_path / "checkout"
    assert before.sha256 != after.sha256


def test_a_version_that_does_not_exist_lists_those_that_do(cache: Path) -> None:
    """And leaves nothing in the cache."""
    with pytest.raises(LibraryError, match=r"no bitsandbytes 9\.9 for this platform; choose one like 0\.1, 0\.2"):
        resolve("9.9", cache=cache)

    assert list(cache.iterdir()) == []


def test_without_an_index_it_asks_for_the_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the cache already stays usable."""
    resolve("0.1", cache=cache)
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    with pytest.raises(LibraryError, match="no release of bitsandbytes at all; is the network there"):
        resolve("0.2", cache=cache)
    assert resolve("0.1", cache=cache).overlay.is_dir()


def test_a_wheel_for_another_platform_is_refused_in_pips_words(cache: Path, tmp_path: Path) -> None:
    """Before anything of it is on a path."""
    foreign = wheel(tmp_path / "foreign", "0.4", platform="win_arm64")

    with pytest.raises(LibraryError, match="not a supported wheel on this platform"):
        resolve(str(foreign), cache=cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("asked", ["latest", "../nothing/there", "0.1; rm"])
def test_what_is_no_version_and_no_path_is_refused(asked: str, cache: Path) -> None:
    """Nothing that pip would take for an option or another package reaches it."""
    with pytest.raises(LibraryError, match=r"give (one like|a version)"):
        resolve(asked, cache=cache)


def test_a_folder_without_the_package_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="holds no bitsandbytes"):
        resolve(str(tmp_path), cache=cache)


def test_a_file_that_is_no_wheel_is_refused(cache: Path, tmp_path: Path) -> None:
    """It has the name of one."""
    broken = tmp_path / "bitsandbytes-0.5-py3-none-any.whl"
    broken.write_bytes(b"not a zip")

    with pytest.raises(LibraryError, match="cannot be unpacked here"):
        resolve(str(broken), cache=cache)


@pytest.mark.parametrize("name", ["bitsandbytes/__init__.py", "bitsandbytes-0.1.dist-info/RECORD"])
def test_a_damaged_cache_is_named_and_left_as_it_is(name: str, cache: Path) -> None:
    """A library that is not what the wheel held is not measured, and its neighbours are not touched."""
    other = resolve("0.2", cache=cache)
    path = resolve("0.1", cache=cache).overlay / name
    path.write_bytes(b"damaged")

    with pytest.raises(LibraryError, match=r"damaged.*remove that folder"):
        resolve("0.1", cache=cache)
    assert path.read_bytes() == b"damaged"
    assert resolve("0.2", cache=cache) == other


def test_a_file_that_the_wheel_did_not_have_is_damage(cache: Path) -> None:
    """It would come first on the path; what Python compiled is no such file."""
    overlay = resolve("0.1", cache=cache).overlay
    (overlay / "bitsandbytes" / "__pycache__").mkdir()
    (overlay / "bitsandbytes" / "__pycache__" / "__init__.cpython-311.pyc").touch()
    resolve("0.1", cache=cache)
    (overlay / "torch.py").touch()

    with pytest.raises(LibraryError, match=r"damaged at torch\.py; remove that folder"):
        resolve("0.1", cache=cache)


def test_a_half_unpacked_wheel_is_never_taken(cache: Path) -> None:
    """What a killed run leaves has another name than what is kept."""
    (cache / f".unpacking-{library.NAME}" / "site").mkdir(parents=True)

    assert resolve("0.1", cache=cache).overlay == cache / "0.1" / "site"
