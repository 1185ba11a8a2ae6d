"""The pinned code tables. A changed entry in the library must show, so these are not read from it.

NF4: QLoRA (Dettmers et al. 2023), appendix E. FP4: one sign, two exponent, one mantissa bit, normalized
by 12 (bitsandbytes `functional.get_4bit_type`). Dynamic 8 bit: 8-Bit Approximations for Parallelism
in Deep Learning (Dettmers 2016); the float32 values are those of `functional.create_dynamic_map`,
whose last bits depend on the order of its float32 operations, and so on the processor; they are pinned
and not derived, and a table that a layer stores is held to them within what that order can do.
"""

from functools import cache

import torch
from torch import Tensor

from accuracy.oracles.rounding import UNIT_ROUNDOFF

_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
_FP4_TWELFTHS = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)

# The 127 positive magnitudes that occur with both signs, as float32 bit patterns, ascending.
_DYNAMIC_MAGNITUDES = (
    0x3513A3B7, 0x365A1A94, 0x370205FF, 0x37B24206, 0x38378034, 0x388AEFB3, 0x38BA1F4B, 0x3923D70B, 0x398CE705,
    0x39C7E283, 0x3A016F01, 0x3A1EECC1, 0x3A3C6A80, 0x3A59E83E, 0x3A7765FF, 0x3AA7EF9D, 0x3AF1A9FC, 0x3B1DB22D,
    0x3B428F5C, 0x3B676C8A, 0x3B8624DD, 0x3B989374, 0x3BAB020D, 0x3BBD70A4, 0x3BCFDF3B, 0x3BE24DD3, 0x3BF4BC6A,
    0x3C039581, 0x3C0CCCCD, 0x3C160418, 0x3C1F3B64, 0x3C3AE148, 0x3C68F5C3, 0x3C8B851F, 0x3CA28F5D, 0x3CB9999A,
    0x3CD0A3D7, 0x3CE7AE15, 0x3CFEB852, 0x3D0AE148, 0x3D166667, 0x3D21EB85, 0x3D2D70A3, 0x3D38F5C3, 0x3D447AE1,
    0x3D500000, 0x3D5B851F, 0x3D670A3D, 0x3D728F5D, 0x3D7E147B, 0x3D84CCCD, 0x3D8A8F5D, 0x3D9051EB, 0x3D96147B,
    0x3D9BD70A, 0x3DA1999A, 0x3DA75C2A, 0x3DAD1EB8, 0x3DB2E148, 0x3DB8A3D7, 0x3DBE6667, 0x3DC428F7, 0x3DC9EB85,
    0x3DDB3334, 0x3DF80000, 0x3E0A6666, 0x3E18CCCD, 0x3E273333, 0x3E35999A, 0x3E440000, 0x3E526666, 0x3E60CCCD,
    0x3E6F3333, 0x3E7D9999, 0x3E860000, 0x3E8D3334, 0x3E946666, 0x3E9B999A, 0x3EA2CCCC, 0x3EAA0000, 0x3EB13333,
    0x3EB86666, 0x3EBF999A, 0x3EC6CCCC, 0x3ECE0000, 0x3ED53333, 0x3EDC6666, 0x3EE3999A, 0x3EEACCCC, 0x3EF20000,
    0x3EF93332, 0x3F003333, 0x3F03CCCC, 0x3F076666, 0x3F0B0000, 0x3F0E999A, 0x3F123334, 0x3F15CCCD, 0x3F196666,
    0x3F1D0000, 0x3F20999A, 0x3F243334, 0x3F27CCCD, 0x3F2B6666, 0x3F2F0000, 0x3F32999A, 0x3F363334, 0x3F39CCCD,
    0x3F3D6666, 0x3F410000, 0x3F44999A, 0x3F483333, 0x3F4BCCCD, 0x3F4F6666, 0x3F530000, 0x3F56999A, 0x3F5A3333,
    0x3F5DCCCD, 0x3F616666, 0x3F650000, 0x3F68999A, 0x3F6C3333, 0x3F6FCCCD, 0x3F736666, 0x3F770000, 0x3F7A999A,
    0x3F7E3333,
)  # fmt: skip


def four_bit(quant_type: str) -> Tensor:
    """The 16 values of `quant_type` ("nf4" or "fp4") by code, float32.

    Raises:
        KeyError: for another quant type.
    """
    return _FOUR_BIT[quant_type]


def dynamic_8bit() -> Tensor:
    """The 256 values of the dynamic 8-bit map in ascending order, float32: ± magnitudes, 0 and 1."""
    return _DYNAMIC


@cache
def dynamic_8bit_bound() -> Tensor:
    """How far the entries of two evaluations of the dynamic map may be apart in float32, elementwise, float64 [256].

    An entry is 10^k·m, where m is the mean of two edges of `linspace(0.1, 1)`. A step, its product and a sum put an
    edge at most 3u off, since it is at most 1 (1 - 0.1 is rounded, and divided by a power of two without error); the
    mean, half of a sum, adds u·m, and the power of ten, rounded, with its product another 2u·m. Each of two
    evaluations may be so far off. 0 and 1 are stored as they are.
    """
    entries = _DYNAMIC.double().abs()
    decade = 10.0 ** entries.clamp(min=1e-7).log10().ceil()
    bound = 2 * UNIT_ROUNDOFF[torch.float32] * (3 * decade + 3 * entries)
    return torch.where((entries == 0) | (entries == 1), 0.0, bound)


def _dynamic() -> Tensor:
    magnitudes = torch.tensor(_DYNAMIC_MAGNITUDES, dtype=torch.int32).view(torch.float32)
    return torch.cat([-magnitudes.flip(0), torch.zeros(1), magnitudes, torch.ones(1)])


_DYNAMIC = _dynamic()
_FP4_HALF = torch.tensor(_FP4_TWELFTHS) / 12
_FOUR_BIT = {
    "nf4": torch.tensor(_NF4),
    "fp4": torch.cat([_FP4_HALF, -_FP4_HALF]),
}
