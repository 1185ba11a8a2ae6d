"""A library on its way to other machines: what can be imported from a folder as one archive, named by its content.

A node unpacks it once into its own cache, and looks at every file again each time it is used.
"""

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from accuracy.library import LibraryError

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """An archive of a folder. `name` is the SHA-256 over the names and contents of its files."""

    name: str
    data: bytes


def packed(folder: Path) -> Parcel:
    """Packages, modules and metadata of distributions in `folder`; what else lies there, as in a checkout, does not go.

    Raises:
        LibraryError: if a file cannot be read.
    """
    archive = io.BytesIO()
    try:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as members:
            for name, path in _files(folder):
                members.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED, 1)
        return Parcel(name=_name(folder), data=archive.getvalue())
    except OSError as error:
        raise LibraryError(f"{folder} cannot be read: {error.strerror}; give a library that can be") from error


def unpacked(parcel: Parcel, cache: Path | None = None) -> Path:
    """The folder on this machine that holds what the parcel does, whole and unchanged.

    Raises:
        LibraryError: if it cannot be unpacked, or what came or was kept is not what was sent.
    """
    cache = cache or user_cache_path("bitsandbytes-accuracy") / "parcels"
    folder = cache / parcel.name
    if not folder.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=cache, ignore_cleanup_errors=True) as temporary:
                _keep(parcel, Path(temporary) / "site", folder)
        except OSError as error:
            raise LibraryError(
                f"{folder} cannot be written: {error.strerror}; free space or mend its rights"
            ) from error
    try:
        same = _name(folder) == parcel.name
    except OSError as error:
        raise LibraryError(f"{folder} cannot be read: {error.strerror}; remove that folder") from error
    if not same:
        raise LibraryError(f"the unpacked library in {folder} is not what was sent; remove that folder")
    return folder


def _keep(parcel: Parcel, site: Path, folder: Path) -> None:
    """Unpacks into `site` and renames that to `folder`, whole or not at all."""
    try:
        with zipfile.ZipFile(io.BytesIO(parcel.data)) as members:
            members.extractall(site)
    except zipfile.BadZipFile as error:
        raise LibraryError(f"the library that came is no archive: {error}; begin the run again") from error
    if _name(site) != parcel.name:
        raise LibraryError("the library that came is not what was sent; begin the run again")
    try:
        site.rename(folder)
    except OSError:
        if not folder.exists():  # else another agent of this machine was faster, and has put the same there
            raise


def _name(folder: Path) -> str:
    total = hashlib.sha256()
    for name, path in _files(folder):
        with path.open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file of what can be imported, with its name in the folder, in order; no compiled modules."""
    for entry in sorted(folder.iterdir()):
        if entry.is_file() and entry.suffix in {".py", ".so", ".pyd"}:
            yield entry.name, entry
        elif entry.is_dir() and ((entry / "__init__.py").is_file() or entry.suffix == ".dist-info"):
            for path in sorted(entry.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    yield path.relative_to(folder).as_posix(), path
