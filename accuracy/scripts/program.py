"""The script of a failure: which template, filled in, at most 40 lines."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from accuracy import limits
from accuracy.case import (
    Embedding4bitConfig,
    Embedding8bitConfig,
    Linear4bitConfig,
    Linear8bitConfig,
    Stage,
    Status,
)
from accuracy.scripts.alone import alone
from accuracy.scripts.failure import Failure, ScriptError
from accuracy.scripts.subject import Subject

TEMPLATES: Final = Path(__file__).with_name("templates")
MOST_LINES: Final = 40
PARAGRAPHS: Final = (
    "import os", "import copy", "import json", "TABLE", "middles", "def ", "for seed", "try:", "PROGRAM", "print(",
)  # fmt: skip
"""How lines begin before which a blank one helps, as long as there is room."""

STRUCTURE: Final = "structure"
"""The limit of structured residuals."""

SAVED: Final = ("saved_tensors", "saved_state")
"""Facts of the form in which a layer is saved."""

ENCODED: Final = ("codes", "scales", "offset", "nested_table", "nested_scales", "nested_codes")

FOUR_BIT: Final[Mapping[tuple[str, str], str]] = {
    **{("encode", name): "encode_4bit" for name in ENCODED},
    **{("decode", name): "decode_4bit" for name in ("weight", "weight_in_compute_dtype")},
    **{("compute", name): "compute_4bit" for name in ("output", "grad_input", "grad_bias")},
    ("quantization", "weight"): "quantization_weight",
    **{("quantization", name): "quantization_product" for name in ("output", "grad_input")},
    ("contract", "format"): "format_4bit",
}
EIGHT_BIT: Final[Mapping[tuple[str, str], str]] = {
    **{("encode", name): "encode_8bit" for name in ("codes", "scales")},
    ("decode", "weight"): "decode_8bit",
    **{("compute", name): "compute_8bit" for name in ("output", "grad_input", "grad_weight", "grad_bias")},
    ("quantization", "weight"): "quantization_weight",
    **{("quantization", name): "quantization_product" for name in ("output", "grad_input")},
}
LOOKED_UP: Final[Mapping[tuple[str, str], str]] = {
    ("compute", "output"): "embedding",
    ("quantization", "output"): "embedding",
}
TABLES: Final[Mapping[type, Mapping[tuple[str, str], str]]] = {
    Linear4bitConfig: FOUR_BIT,
    Linear8bitConfig: EIGHT_BIT,
    Embedding4bitConfig: {
        **{key: name for key, name in FOUR_BIT.items() if key[0] in ("encode", "decode", "contract")},
        **LOOKED_UP,
    },
    Embedding8bitConfig: {**{key: name for key, name in EIGHT_BIT.items() if key[0] == "encode"}, **LOOKED_UP},
}
"""Templates by stage and quantity, by the config of a layer."""


def text(failure: Failure, bounds: limits.Bounds) -> str:
    """The program, ending in a newline.

    Raises:
        ScriptError: if there is none for this failure.
    """
    subject, template = _chosen(failure, bounds)
    program = _lines(template, subject)
    if len(program) > MOST_LINES:
        program = _lines(template, replace(subject, tight=True))
        program[:2] = [" ".join(program[:2])]
    for number, line in reversed(list(enumerate(program))):
        if len(program) < MOST_LINES and number and line.startswith(PARAGRAPHS):
            program.insert(number, "")
    if len(program) > MOST_LINES:
        raise ScriptError(
            f"the script for {subject.what} of {failure.case.name} has {len(program)} lines, not {MOST_LINES}"
        )
    return "\n".join(program) + "\n"


def _lines(template: str, subject: Subject) -> list[str]:
    return [line.rstrip() for line in filled(template, s=subject).splitlines() if line.strip()]


def _chosen(failure: Failure, bounds: limits.Bounds) -> tuple[Subject, str]:
    config, quantity = alone(failure.config, failure.quantity)
    subject = Subject(failure=failure, bounds=bounds, config=config, quantity=quantity, most_z=_most_z())
    if failure.status in (Status.CRASH, Status.TIMEOUT):
        return subject, "ends"
    if failure.stage is Stage.CONTRACT and quantity in ("completes", "output_form"):
        return subject, "completes" if quantity == "completes" else "form"
    if failure.stage is Stage.CONTRACT and quantity in SAVED:
        return subject, "saved"
    if failure.stage is Stage.INVARIANT and quantity == getattr(config, "relation", ""):
        return subject, "relation"
    template = TABLES.get(type(config), {}).get((failure.stage.value, quantity))
    if template is None:
        raise ScriptError(f"there is no script for {failure.stage.value}/{quantity[:40]} of {failure.case.name}")
    return subject, template


@cache
def _most_z() -> float:
    """The largest structure that the built-in limits let pass."""
    return next(limit.at_most for limit in limits.load(limits.DEFAULT_FILE).limits if limit.id == STRUCTURE)


def ahead() -> Iterator[None]:
    """Compiles all templates, one after the other: of the time that a script takes this is most."""
    for name in _environment().list_templates():
        _environment().get_template(name)
        yield


def filled(template: str, **values: Any) -> str:
    """A template with these values."""
    return _environment().get_template(f"{template}.jinja").render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701  what is made is Python, from values that were checked
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
