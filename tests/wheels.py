"""Wheels made by hand: releases that the real pip takes from a folder."""

import base64
import hashlib
import zipfile
from pathlib import Path


def wheel(folder: Path, version: str, *, source: str = "", platform: str = "any") -> Path:
    """A wheel of a package called bitsandbytes that holds one module, with the hashes a wheel must have."""
    folder.mkdir(exist_ok=True)
    info = f"bitsandbytes-{version}.dist-info"
    files = {
        "bitsandbytes/__init__.py": f"__version__ = {version!r}\n{source}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: bitsandbytes\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-{platform}\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    path = folder / f"bitsandbytes-{version}-py3-none-{platform}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(name, text)
    return path
