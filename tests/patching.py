"""Patches of the library from outside: a folder for PYTHONPATH that changes a module as its import ends."""

from pathlib import Path

# A `sitecustomize` on the path patches the library from outside, as its workers begin to import it.
FINDER = """
import importlib.util
import sys


class Finder:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == {module!r}:
            sys.meta_path.remove(Finder)
            return {function}(importlib.util.find_spec(name))


{body}

sys.meta_path.insert(0, Finder)
"""
SCALED = """
def scaled(spec):
    execute = spec.loader.exec_module

    def exec_module(module):
        execute(module)
        original = module.quantize_4bit

        def quantize_4bit(*args, **options):
            packed, state = original(*args, **options)
            state.absmax *= 1.001
            return packed, state

        module.quantize_4bit = quantize_4bit

    spec.loader.exec_module = exec_module
    return spec
"""


def planted(folder: Path, module: str, body: str) -> Path:
    function = body.split("def ", 1)[1].partition("(")[0]
    patch = folder / "patch"
    patch.mkdir()
    text = FINDER.format(module=module, function=function, body=body)
    (patch / "sitecustomize.py").write_text(text, encoding="utf-8")
    return patch


FORWARD = """
def patched(spec):
    execute = spec.loader.exec_module

    def exec_module(module):
        execute(module)
        original = module.{layer}.forward

        def forward(self, x, *args):
            {statement}

        module.{layer}.forward = forward

    spec.loader.exec_module = exec_module
    return spec
"""


def in_forward(folder: Path, layer: str, statement: str) -> Path:
    """A patch of `layer.forward(self, x)`: the statement may call `original(self, x)` and must return."""
    return planted(folder, "bitsandbytes.nn.modules", FORWARD.format(layer=layer, statement=statement))
