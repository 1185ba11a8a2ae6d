"""Which bitsandbytes is measured: the installed one, a release that pip fetches, or a local wheel or checkout.

A release or a wheel is unpacked once into a cache of this machine and put first on the workers' path. It is never
imported here, and the environment that the harness runs in stays as it is.
"""

import base64
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

NAME: Final = "bitsandbytes"
RECORD: Final = "library.json"
NEWEST: Final = 6
"""So many releases are named when the one asked for does not exist."""

_VERSION: Final = re.compile(r"[0-9]+(\.[0-9a-z]+)*(\+[0-9a-z.]+)?")


class LibraryError(ValueError):
    """No such library can be measured; the message says what was seen, what was wanted and what to do."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """One bitsandbytes. `asked` is what the user wrote; `sha256` that of its wheel, or of its files in a checkout."""

    asked: str
    overlay: Path
    sha256: str

    def facts(self) -> dict[str, str]:
        """What a manifest says of it. The folder is left out: it is this machine's affair."""
        return {"asked": self.asked, "sha256": self.sha256}


def resolve(asked: str, *, interpreter: str = sys.executable, cache: Path | None = None) -> Library:
    """The library that `asked` names: a version, a wheel, or a folder that holds the package `bitsandbytes`.

    Args:
        asked: as given to `--bitsandbytes`.
        interpreter: the Python that will import it, whose platform the wheel must fit.
        cache: where unpacked wheels are kept; this user's cache by default.

    Raises:
        LibraryError: if there is no such version, wheel or folder, if pip cannot fetch or unpack it, or if
            what the cache holds is damaged.
    """
    cache = cache or user_cache_path("bitsandbytes-accuracy") / "libraries"
    path = Path(asked)
    if path.suffix == ".whl" or path.exists() or os.sep in asked:
        return _local(path, asked, interpreter, cache)
    if not _VERSION.fullmatch(asked):
        raise LibraryError(f"{asked!r} is neither a version nor a path; give one like 0.49.2, a wheel or a checkout")
    folder = cache / asked
    if not folder.exists():
        with _new_folder(cache) as temporary:
            _keep(_download(asked, Path(temporary), interpreter), Path(temporary), folder, asked, interpreter)
    return _kept(folder, asked)


def releases(interpreter: str = sys.executable) -> list[str]:
    """The releases that pip could fetch for this interpreter and platform, in their order.

    Raises:
        LibraryError: if pip sees none.
    """
    arguments = ("download", "--no-deps", "--only-binary=:all:", "--dest", os.devnull, f"{NAME}==0+none")
    said = _pip(arguments, interpreter)
    listed = re.search(r"from versions: ([^)]*)\)", said)
    if listed is None or listed[1] == "none":
        raise LibraryError(f"pip saw no release of {NAME} at all; is the network there? It says: {_last(said)}")
    return [name.strip() for name in listed[1].split(",")]


def _local(path: Path, asked: str, interpreter: str, cache: Path) -> Library:
    if path.is_dir():
        if not (path / NAME / "__init__.py").is_file():
            raise LibraryError(f"{path} holds no {NAME}/__init__.py; give the folder that the package is in")
        return Library(asked=asked, overlay=path.resolve(), sha256=_tree_hash(path / NAME))
    if not path.is_file():
        raise LibraryError(f"there is no {path}; give a version, a wheel or the folder of a checkout")
    folder = cache / f"wheel-{_hash_file(path)[:16]}"
    if not folder.exists():
        with _new_folder(cache) as temporary:
            _keep(path, Path(temporary), folder, asked, interpreter)
    return _kept(folder, asked)


def _new_folder(cache: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder beside those that are kept, so that a finished one can be renamed into place."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".unpacking-", dir=cache, ignore_cleanup_errors=True)
    except OSError as error:
        raise LibraryError(f"{cache} cannot be written: {error.strerror}; free space or mend its rights") from error


def _download(version: str, folder: Path, interpreter: str) -> Path:
    arguments = ("download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{NAME}=={version}")
    said = _pip(arguments, interpreter)
    wheels = list(folder.glob("*.whl"))
    if wheels:
        return wheels[0]
    if "from versions: none" in said:
        raise LibraryError(f"pip saw no release of {NAME} at all; is the network there? It says: {_last(said)}")
    if "No matching distribution" in said:
        known = re.search(r"from versions: ([^)]*)\)", said)
        listed = f" like {', '.join(known[1].split(', ')[-NEWEST:])}" if known else ""
        raise LibraryError(f"there is no {NAME} {version} for this platform; choose one{listed}")
    raise LibraryError(f"pip cannot fetch {NAME} {version}: {_last(said)}")


def _keep(wheel: Path, temporary: Path, folder: Path, asked: str, interpreter: str) -> None:
    """Unpacks `wheel` and renames the result to `folder`, whole or not at all."""
    site = temporary / "site"
    said = _pip(("install", "--no-deps", "--no-index", "--no-compile", "--target", str(site), str(wheel)), interpreter)
    if not (site / NAME / "__init__.py").is_file():
        why = _last(said).removeprefix(f"{wheel.name} ").removesuffix(".")
        raise LibraryError(f"{wheel.name} cannot be unpacked here: {why}; give a wheel for this platform")
    library = temporary / "library"
    library.mkdir()
    site.rename(library / "site")
    facts = {"asked": asked, "wheel": wheel.name, "sha256": _hash_file(wheel)}
    (library / RECORD).write_text(json.dumps(facts), encoding="utf-8")
    try:
        library.rename(folder)
    except OSError as error:
        if not folder.exists():  # else another run was faster, and has put the same there
            raise LibraryError(
                f"{folder} cannot be written: {error.strerror}; free space or mend its rights"
            ) from error


def _kept(folder: Path, asked: str) -> Library:
    """What the cache holds, once every file has the hash that the wheel said it has."""
    site = folder / "site"
    try:
        facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        sha256 = str(facts["sha256"])
        damaged = next(_damaged(site), None)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise LibraryError(f"the unpacked library in {folder} is damaged ({error}); remove that folder") from error
    if damaged is not None:
        raise LibraryError(f"the unpacked library in {folder} is damaged at {damaged}; remove that folder")
    return Library(asked=asked, overlay=site, sha256=sha256)


def _damaged(site: Path) -> Iterator[str]:
    """The files of an unpacked wheel that are not what its RECORD says, or not in it, by name."""
    (record,) = site.glob(f"{NAME}-*.dist-info/RECORD")
    known = set()
    with record.open(encoding="utf-8", newline="") as lines:
        for name, digest, _ in csv.reader(lines):
            known.add(name)
            if not digest:
                continue
            algorithm, _, expected = digest.partition("=")
            seen = hashlib.new(algorithm, (site / name).read_bytes()).digest()
            if base64.urlsafe_b64encode(seen).rstrip(b"=").decode() != expected:
                yield name
    for path in site.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(site).as_posix() not in known:
            yield path.relative_to(site).as_posix()


def _pip(arguments: Sequence[str], interpreter: str) -> str:
    """What pip printed. It succeeds or not: the caller looks at what it left."""
    target = () if interpreter == sys.executable else ("--python", interpreter)
    command = [sys.executable, "-m", "pip", *target, "--disable-pip-version-check", "--no-input", *arguments]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True)
    return ended.stdout + ended.stderr


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return next(iter([*errors, *reversed(lines)]), "nothing")


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LibraryError(f"{path} cannot be read: {error.strerror}; give a wheel that can be") from error


def _tree_hash(package: Path) -> str:
    """SHA-256 over the names and contents of a package's source and native files, in order of name."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(f"{path.relative_to(package)}\0{_hash_file(path)}\n".encode())
    return total.hexdigest()
