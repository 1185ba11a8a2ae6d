"""Libraries on their way to other machines: only what can be imported goes, and what arrives is what was sent."""

from dataclasses import replace
from pathlib import Path

import pytest

from accuracy.cluster.parcel import packed, unpacked
from accuracy.library import LibraryError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder like a checkout: a package with a native library, metadata, and what nobody imports."""
    folder = tmp_path / "checkout"
    for name, data in {
        "bitsandbytes/__init__.py": b"__version__ = '1'\n",
        "bitsandbytes/libbitsandbytes_cpu.so": bytes(range(256)) * 40,
        "bitsandbytes/nn/__init__.py": b"",
        "bitsandbytes/__pycache__/x.pyc": b"old",
        "bitsandbytes-1.dist-info/METADATA": b"Name: bitsandbytes\n",
        "csrc/kernels.cu": b"x" * 1000,
        ".git/HEAD": b"ref",
        "setup.py": b"",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_what_can_be_imported_arrives_whole(checkout: Path, tmp_path: Path) -> None:
    """No sources of kernels, no history, no compiled modules; and the second time nothing is unpacked."""
    parcel = packed(checkout)
    there = unpacked(parcel, tmp_path / "cache")

    arrived = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert arrived == {
        "bitsandbytes/__init__.py",
        "bitsandbytes/libbitsandbytes_cpu.so",
        "bitsandbytes/nn/__init__.py",
        "bitsandbytes-1.dist-info/METADATA",
        "setup.py",
    }
    assert all((there / name).read_bytes() == (checkout / name).read_bytes() for name in arrived)
    assert unpacked(replace(parcel, data=b""), tmp_path / "cache") == there
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [parcel.name]


def test_the_name_follows_the_content(checkout: Path) -> None:
    """Of every file, and of nothing else: not of its time, and not of what is left out."""
    before = packed(checkout)
    (checkout / "csrc" / "kernels.cu").write_bytes(b"y")
    (checkout / "setup.py").touch()
    assert packed(checkout) == before
    (checkout / "bitsandbytes" / "nn" / "__init__.py").write_bytes(b"changed = True\n")
    assert packed(checkout).name != before.name


@pytest.mark.parametrize("name", ["bitsandbytes/__init__.py", "bitsandbytes/libbitsandbytes_cpu.so"])
def test_a_library_that_was_changed_in_the_cache_is_not_measured(name: str, checkout: Path, tmp_path: Path) -> None:
    parcel = packed(checkout)
    (unpacked(parcel, tmp_path / "cache") / name).write_bytes(b"damaged")
    with pytest.raises(LibraryError, match="is not what was sent; remove that folder"):
        unpacked(parcel, tmp_path / "cache")


def test_what_did_not_arrive_as_it_was_sent_is_refused(checkout: Path, tmp_path: Path) -> None:
    """An archive of something else, and bytes that are none; nothing of them is kept."""
    parcel = packed(checkout)
    (checkout / "setup.py").write_bytes(b"import os\n")
    for data, said in ((packed(checkout).data, "is not what was sent"), (b"PK", "is no archive")):
        with pytest.raises(LibraryError, match=said):
            unpacked(replace(parcel, data=data), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
