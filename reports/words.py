"""How numbers, verdicts and names are written on the page: one place for rounding, units and wording."""

import math
import shlex
import unicodedata
from collections.abc import Iterable, Sequence

from accuracy.case import Stage, Verdict

MINUS = "−"

SYMBOLS = {
    Verdict.PASS: "✓",
    Verdict.WARN: "!",
    Verdict.FAIL: "✗",
    Verdict.NOT_RUN: "○",
    Verdict.NOT_SUPPORTED: "–",
}
"""Beside every colour stands one of these, so that no verdict is told by colour alone."""

VERDICTS = {
    Verdict.PASS: "pass",
    Verdict.WARN: "warning",
    Verdict.FAIL: "fail",
    Verdict.NOT_RUN: "not run",
    Verdict.NOT_SUPPORTED: "not supported",
}

SEVERITY = (Verdict.FAIL, Verdict.NOT_RUN, Verdict.WARN, Verdict.PASS, Verdict.NOT_SUPPORTED)
"""Worst first. What did not run outranks a warning: nobody has looked there."""

DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}

STAGES = tuple(stage.value for stage in Stage)

QUANTITIES = {
    ("contract", "completes"): "Completion",
    ("contract", "output_form"): "Form of the output",
    ("encode", "scales"): "Stored scales",
    ("encode", "codes"): "Stored codes",
    ("decode", "weight"): "Decoded weight",
    ("compute", "output"): "Output",
    ("compute", "grad_input"): "Input gradient",
    ("compute", "grad_weight"): "Weight gradient",
    ("compute", "grad_bias"): "Bias gradient",
    ("quantization", "weight"): "Quantization error of the weight",
    ("quantization", "output"): "Quantization error of the output",
    ("quantization", "grad_input"): "Quantization error of the input gradient",
    ("encode", "nested_codes"): "Stored codes of the scales",
    ("encode", "nested_scales"): "Stored scales of the scales",
    ("encode", "nested_table"): "Stored table of the scales' codes",
    ("encode", "offset"): "Stored offset of the scales",
    ("decode", "weight_in_compute_dtype"): "Decoded weight in the compute dtype",
}

PARTS = {"kbit": "k-bit layer", "first": "first layer", "second": "second layer", "published": "published tolerance"}
"""What the first word of a quantity says of networks, and of comparisons that upstream's tests make."""

FARTHEST = 9999.0
"""Beyond every finite margin of float64, in bits."""

_SMALLEST_PLAIN = 1e-3
_LARGEST_PLAIN = 1e5


def number(value: float) -> str:
    """Three significant digits: `0.0123`, `1.5e-6`, `0`, `∞`, `NaN`."""
    if math.isnan(value):
        return "NaN"
    sign = MINUS if value < 0 else ""
    size = abs(value)
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    if _SMALLEST_PLAIN <= size < _LARGEST_PLAIN:
        digits = max(0, 2 - math.floor(math.log10(size)))
        text = f"{size:.{digits}f}"
        return sign + (text.rstrip("0").rstrip(".") if "." in text else text)
    mantissa, exponent = f"{size:.2e}".split("e")
    power = int(exponent)
    return f"{sign}{mantissa.rstrip('0').rstrip('.')}e{MINUS if power < 0 else ''}{abs(power)}"


def count(value: int) -> str:
    """A count with its thousands apart: `840,000`."""
    return f"{value:,}"


def counted(value: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: `1 case`, `1,024 cases`."""
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def percent(fraction: float) -> str:
    """A fraction as per cent, two significant digits: `2 %`, `0.31 %`."""
    return f"{number(float(f'{100 * fraction:.2g}'))} %"


def margin(ratio: float) -> str:
    """log2(limit ÷ worst error) in bits, signed; `exact` for no error at all.

    A ratio above 1 never reads as positive, however it rounds; NaN and infinite errors keep their name.
    """
    if math.isnan(ratio):
        return "NaN"
    if ratio == 0:
        return "exact"
    if math.isinf(ratio):
        return f"{MINUS}∞"
    sign = MINUS if ratio > 1 else "+"
    return f"{sign}{abs(math.log2(ratio)):.1f}"


def standing(stage: str, ratio: float) -> str:
    """What stands where a margin is shown: of a contract, whether it was kept; else the margin."""
    if stage == Stage.CONTRACT.value:
        return "kept" if ratio == 0 else "broken"
    return "inexact" if math.isinf(ratio) else margin(ratio)


def margin_value(ratio: float) -> float:
    """The margin as a number to sort and filter by, rounded down so that no failure reads as 0 or more."""
    if math.isnan(ratio) or math.isinf(ratio):
        return -FARTHEST
    return FARTHEST if ratio == 0 else math.floor(-100 * math.log2(ratio)) / 100


def times_limit(ratio: float) -> str:
    """How large the worst error is, beside its limit: `1.7 × the limit`."""
    if math.isnan(ratio):
        return "not a number"
    if math.isinf(ratio):
        return "beyond any limit"
    return f"{number(ratio)} × the limit"


def duration(seconds: float) -> str:
    """`48 s`, `4 min 12 s`, `1 h 03 min`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def dtype(name: str) -> str:
    """`fp32`, `fp16`, `bf16`; an unknown name as it is."""
    return DTYPES.get(name, name)


def dtype_rank(name: str) -> tuple[int, str]:
    """The place of a dtype, widest first; unknown ones come last, by name."""
    known = list(DTYPES)
    return (known.index(name) if name in known else len(known)), name


def quantity(stage: str, name: str) -> str:
    """What a quantity is called in a sentence: `Input gradient`, `Stored codes (first layer)`."""
    part, _, rest = name.partition("_")
    if (stage, name) not in QUANTITIES and part in PARTS and rest:
        own = QUANTITIES.get(("compute" if part == "published" else stage, rest)) or _plain(rest)
        return f"{own} ({PARTS[part]})"
    return QUANTITIES.get((stage, name)) or _plain(name)


def _plain(name: str) -> str:
    return name.replace("_", " ").capitalize()


def stage_rank(stage: str) -> int:
    """The place of a stage in the flow; unknown stages come last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, last = items
    return f"{', '.join(head)} and {last}" if head else last


def verdict_order(verdict: str, ratio: float) -> tuple[int, float]:
    """A sort key, worst first: severity, then the smallest margin; NaN before any number."""
    return SEVERITY.index(Verdict(verdict)), -math.inf if math.isnan(ratio) else -ratio


def worst(verdicts: Sequence[str]) -> Verdict:
    """The most severe of some verdicts."""
    return min((Verdict(verdict) for verdict in verdicts), key=SEVERITY.index)


def clipped(text: str, longest: int = 400) -> str:
    """A text from outside, cut so that one message cannot bury the page."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def replay(run: str, identity: str) -> str:
    """The command that runs one case again, ready for a shell whatever the run folder is called."""
    return f"accuracy replay {shlex.quote(run)} {identity}"


def script(run: str, identity: str) -> str:
    """The command that prints a program that shows a failure."""
    return f"accuracy script {shlex.quote(run)} {identity}"


def visible(text: str) -> str:
    r"""Text with what a reader cannot see made visible, so that no string can hide or reorder the page.

    Control, format (among them those that turn the direction of text) and surrogate characters
    become `\u202e` and the like; newlines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(f"\\u{ord(letter):04x}" if _hidden(letter) else letter for letter in text)


def one_line(text: str) -> str:
    """`visible` text on one line, for terminals, logs and table cells: line ends and tabs become spaces."""
    return " ".join(visible(text).split())


def _hidden(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in "\n\t"
