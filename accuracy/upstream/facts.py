"""What is seen of a layer, in words: where a tensor is and of which dtype, whether a state is there, what is raised."""

from collections.abc import Callable, Iterable
from typing import Any


def placed(tensor: Any) -> str:
    """Dtype and type of device: `int8 on cpu`; `none` where there is no tensor."""
    if tensor is None:
        return "none"
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}"


def present(state: object) -> str:
    """`set`, or `not set` for None."""
    return "not set" if state is None else "set"


def agreed(words: Iterable[str]) -> str:
    """What was seen every time; where it changed, all that was seen, in the order in which it came."""
    return ", then ".join(dict.fromkeys(words)) or "never seen"


def raised(call: Callable[[], object]) -> str:
    """The name of the exception that the call raises, or `nothing`."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - what is raised is what was asked
        return type(error).__name__
    return "nothing"
