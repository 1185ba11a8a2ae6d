"""What is known of a kind of device, as data: how to find it, how to run on it, how it computes, what it refuses.

A package of one's own adds a kind by an entry point of the group `accuracy.devices` (docs/devices.md).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from accuracy.case import Case, canonical_json

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How the library computes on a device, where devices differ. The defaults are what any accelerator may do.

    `ieee_division`: quantizers and lookups divide and multiply in IEEE float32, so that codes are known to
    the last tie. `fused_outliers`: the outlier columns of an int8 product are added without a rounding of
    their own. `dequantizes_in_training`: in training an 8-bit layer multiplies by its dequantized weight and
    leaves activations alone. `int8_in_float16`: an int8 product is written in float16 whatever the input.
    `packed_bfloat16`: 4-bit inference has a packed kernel that computes in bfloat16. `fused_in_16_bits`:
    4-bit inference has fused kernels that round weights, or products, to a compute dtype of 16 bits, and that multiply
    and add a double-quantized scale at once in any.
    """

    ieee_division: bool = False
    fused_outliers: bool = False
    dequantizes_in_training: bool = False
    int8_in_float16: bool = False
    packed_bfloat16: bool = False
    fused_in_16_bits: bool = False


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The same device under other circumstances: `limit` says which, `environment` brings them about."""

    name: str
    limit: str
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Configs that a device does not support, why, and who says so.

    `layer` and `case` are globs over the names of the case. `where` maps fields of the config to globs over
    their text, all of which must match; a number, a truth value or None has the text that JSON gives it.
    A config without such a field is not refused.
    """

    reason: str
    source: str
    layer: str = "*"
    case: str = "*"
    where: Mapping[str, str] = field(default_factory=dict)

    def covers(self, case: Case, config: object) -> bool:
        """Whether it speaks of this config of this case."""
        fields = vars(config)
        return (
            fnmatchcase(case.layer, self.layer)
            and fnmatchcase(case.name, self.case)
            and all(name in fields and fnmatchcase(_text(fields[name]), glob) for name, glob in self.where.items())
        )


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One kind of device.

    Args:
        kind: what users call it, on the command line and in every row.
        listing: reference `module:function` to a function that returns the names of the devices that are there,
            in torch's order, none if there is none. Only the process that looks for devices resolves it, so it
            may import torch; the module of the adapter may not.
        torch_device: the type of `torch.device` it runs on, `kind` by default.
        indexed: whether there can be several, so that `kind:1` names the second.
        on_host: whether it computes on the host's processors. Then its workers are forks of a process that has
            imported the library, share the processors with other such devices and have their memory capped. Else
            each worker imports the library itself, and `check` is asked after every task.
        check: reference to a function that is given torch's name of the device, waits for what was asked of it,
            and raises if it no longer computes.
        environment: variables that its workers get on top of their parent's.
        variants: the device under other circumstances, as `kind:name`.
        offers: reference to a function that says for each variant by name why it makes no sense on this machine,
            "" where it does. Without one every variant is offered.
        arithmetic: how the library computes there.
        refusals: what is not supported there: recorded with its reason, never asked of a worker.
        workers: how many work on one such device unless a run says otherwise, if there are processors for them: more
            than one where they were seen to pay and the device can be shared.
        ray_resources: what Ray counts such devices as on a node, any of these; `kind` by default, a custom resource.
        visible: a variable that shows a process only the device of this number. Ray sets its own for the resources
            that it knows; where it does not and there is none here, a node serves one such device.

    Raises:
        ValueError: if a name is not lower-case letters, digits and underscores, a reference is none, or two
            variants have one name.
    """

    kind: str
    listing: str
    torch_device: str = ""
    indexed: bool = False
    on_host: bool = False
    check: str = "accuracy.canary:check"
    environment: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    offers: str = ""
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    refusals: tuple[Refusal, ...] = ()
    workers: int = 1
    ray_resources: tuple[str, ...] = ()
    visible: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "torch_device", self.torch_device or self.kind)
        object.__setattr__(self, "ray_resources", self.ray_resources or (self.kind,))
        names = [variant.name for variant in self.variants]
        for name in (self.kind, *names):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a device; lower-case letters, digits and _ are wanted")
        if len(set(names)) != len(names):
            raise ValueError(f"{self.kind} has two variants of one name: {', '.join(names)}")
        for reference in (self.listing, self.check, *filter(None, [self.offers])):
            if not _REFERENCE.fullmatch(reference):
                raise ValueError(f"{reference!r} is no reference; module:function is wanted")

    def workers_for(self, asked: int | None, processors: int) -> int:
        """How many work on one such device: as many as a run asks for, else its own number, at most one a processor."""
        return asked or max(1, min(self.workers, processors))

    def refusal(self, case: Case, config: object) -> str:
        """Why this config of this case is not supported, with the source; "" where it is."""
        first = next((refusal for refusal in self.refusals if refusal.covers(case, config)), None)
        return "" if first is None else f"{first.reason} ({first.source})"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
