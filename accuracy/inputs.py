"""Config and 64-bit seed to tensors. Everything is drawn in float32 on the CPU and cast to the dtype it has."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Generator, Tensor

from accuracy.behaviour import Network, Repeated
from accuracy.case import Embedding8bitConfig, LinearConfig

Distribution = Callable[[tuple[int, ...], Generator], Tensor]

OUTLIER_FACTOR: Final = 20.0
TINY: Final = 2.0e-3
HUGE: Final = 150.0


@dataclass(frozen=True, kw_only=True)
class LinearInputs:
    """Tensors of one dense layer: weight [N, K], bias [N] or None, x [*batch, K], grad_output [*batch, N]."""

    weight: Tensor
    bias: Tensor | None
    x: Tensor
    grad_output: Tensor


@dataclass(frozen=True, kw_only=True)
class NetworkInputs(LinearInputs):
    """Tensors of two dense layers in sequence: of the one that the config describes, and of the other one.

    x [steps, *batch, K] enters the network, grad_output [*batch, N] comes back into its end.
    """

    other_weight: Tensor
    other_bias: Tensor


@dataclass(frozen=True, kw_only=True)
class EmbeddingInputs:
    """Tensors of one embedding: weight [rows, dim] and row numbers, the first and the last row among them."""

    weight: Tensor
    index: Tensor


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1), the same on every machine: torch draws normal numbers otherwise, by an ulp, on a CPU without AVX2."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator).item())
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32))


def uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniform on [-1, 1)."""
    return torch.rand(shape, generator=generator) * 2 - 1


def heavy_tailed(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Student's t with 3 degrees of freedom: N(0, 1) / sqrt(chi²₃ / 3)."""
    chi_squared = normal((3, *shape), generator).square().mean(dim=0)
    return normal(shape, generator) / chi_squared.sqrt()


def outlier_columns(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) with about one column in 32, and at least one, 20 times as large (LLM.int8(), section 4)."""
    values = normal(shape, generator)
    columns = torch.randint(shape[-1], (max(1, shape[-1] // 32),), generator=generator)
    values[..., columns] *= OUTLIER_FACTOR
    return values


def constant(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """One value of N(0, 1) everywhere."""
    return normal((1,), generator).expand(shape).clone()


def zero_blocks(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) with about a third of the runs of 64 elements, in row-major order, exactly zero."""
    values = normal(shape, generator)
    flat = values.reshape(-1)
    kept = torch.rand(-(-flat.numel() // 64), generator=generator) > 1 / 3
    return (flat * kept.repeat_interleave(64)[: flat.numel()]).reshape(shape)


def all_positive(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniform on [0, 1): sums do not cancel."""
    return torch.rand(shape, generator=generator)


def tiny_scale(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) scaled by 2e-3: products reach the subnormals of float16."""
    return normal(shape, generator) * TINY


def huge_scale(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) scaled by 150: long sums come near the largest float16."""
    return normal(shape, generator) * HUGE


def signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """±1 with equal probability: every format here stores it without loss."""
    return torch.randint(2, shape, generator=generator).float() * 2 - 1


def default_init(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniform on ±1/√K, K the last dimension: the weight that torch.nn.Linear starts with."""
    return uniform(shape, generator) / math.sqrt(shape[-1])


def kaiming_normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 2/K), K the last dimension (He et al. 2015, torch.nn.init.kaiming_normal_)."""
    return normal(shape, generator) * math.sqrt(2 / shape[-1])


def with_nan(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) with about one element in 50, and at least one, NaN."""
    return _sprinkled(shape, generator, (math.nan,))


def with_infinities(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) with about one element in 50, and at least one, +Inf or -Inf."""
    return _sprinkled(shape, generator, (math.inf, -math.inf))


def signed_zeros(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) with about half of the elements +0 or -0."""
    values = normal(shape, generator)
    zero = torch.rand(shape, generator=generator) < 1 / 2
    return torch.where(zero, torch.copysign(torch.zeros(()), values), values)


def subnormal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) scaled by 2**-16: most elements are subnormal in float16, all of them normal in the wider types."""
    return normal(shape, generator) * 2.0**-16


def half_way(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1) moved half-way between two neighbours, of float16 in elements of even number and of bfloat16 in odd ones.

    Row-major numbers. Codes of ±1 decode to the largest of their block, and what is half-way is rounded to even.
    """
    mantissas, exponents = torch.frexp(normal(shape, generator))
    digits = torch.tensor([2.0**11, 2.0**8]).repeat(-(-mantissas.numel() // 2))[: mantissas.numel()].reshape(shape)
    return torch.ldexp(torch.copysign((mantissas.abs() * digits).floor() + 1 / 2, mantissas) / digits, exponents)


def near_overflow(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Signs times uniform on [2e4, 6.4e4): finite in every 16-bit type, but most sums are not in float16."""
    return signs(shape, generator) * (torch.rand(shape, generator=generator) * 4.4e4 + 2.0e4)


def zeros(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Zero everywhere."""
    del generator
    return torch.zeros(shape)


def _sprinkled(shape: tuple[int, ...], generator: Generator, specials: tuple[float, ...]) -> Tensor:
    values = normal(shape, generator)
    flat = values.view(-1)
    places = torch.randint(flat.numel(), (max(1, flat.numel() // 50),), generator=generator)
    chosen = torch.randint(len(specials), places.shape, generator=generator)
    flat[places] = torch.tensor(specials)[chosen]
    return values


DISTRIBUTIONS: Final[dict[str, Distribution]] = {
    draw.__name__: draw
    for draw in (
        normal, uniform, heavy_tailed, outlier_columns, constant, zero_blocks, all_positive, tiny_scale,
        huge_scale, signs, default_init, kaiming_normal, with_nan, with_infinities, signed_zeros, subnormal,
        near_overflow, half_way, zeros,
    )
}  # fmt: skip


def drawn(config: Any, seed: int) -> LinearInputs | EmbeddingInputs:
    """The tensors that a config of any kind asks for."""
    if isinstance(config, Embedding8bitConfig):
        return embedding(config, seed)
    if isinstance(config, Network):
        return network(config, seed)
    if isinstance(config, Repeated):
        return dense(replace(config, batch=(config.steps, *config.batch)), seed)
    return dense(config, seed)


def dense(config: LinearConfig, seed: int) -> LinearInputs:
    """The tensors of a dense layer. Each has its own generator, so a change of one shape moves no other."""
    dtype = getattr(torch, config.dtype)
    rows, columns = config.out_features, config.in_features
    bias = DISTRIBUTIONS["normal"]((rows,), _generator(seed, 1)) if config.bias else None
    return LinearInputs(
        weight=DISTRIBUTIONS[config.weight]((rows, columns), _generator(seed, 0)).to(
            getattr(torch, config.weight_dtype)
        ),
        bias=None if bias is None else bias.to(dtype),
        x=DISTRIBUTIONS[config.activation]((*config.batch, columns), _generator(seed, 2)).to(dtype),
        grad_output=DISTRIBUTIONS[config.gradient]((*config.batch, rows), _generator(seed, 3)).to(dtype),
    )


def network(config: Network, seed: int) -> NetworkInputs:
    """The tensors of two dense layers; biases are as torch.nn.Linear starts with, in float32 as the weights are."""
    shapes = ((config.out_features, config.in_features), config.other)
    weights = [DISTRIBUTIONS[config.weight](shape, _generator(seed, stream)) for stream, shape in enumerate(shapes)]
    biases = [
        uniform((rows,), _generator(seed, stream)) / math.sqrt(columns)
        for stream, (rows, columns) in enumerate(shapes, 2)
    ]
    dtype, weight_dtype = getattr(torch, config.dtype), getattr(torch, config.weight_dtype)
    x = DISTRIBUTIONS[config.activation]((config.steps, *config.batch, config.entering), _generator(seed, 4))
    gradient = DISTRIBUTIONS[config.gradient]((*config.batch, config.leaving), _generator(seed, 5))
    return NetworkInputs(
        weight=weights[0].to(weight_dtype),
        bias=biases[0] if config.bias else None,
        x=x.to(dtype),
        grad_output=gradient.to(dtype),
        other_weight=weights[1].to(weight_dtype),
        other_bias=biases[1],
    )


def embedding(config: Embedding8bitConfig, seed: int) -> EmbeddingInputs:
    """The tensors of an embedding. The first two row numbers drawn are the last row and row 0."""
    weight = DISTRIBUTIONS[config.weight]((config.rows, config.dim), _generator(seed, 0))
    index = torch.randint(config.rows, config.index, generator=_generator(seed, 1))
    flat = index.view(-1)
    flat[:1] = config.rows - 1
    flat[1:2] = 0
    return EmbeddingInputs(weight=weight.to(getattr(torch, config.dtype)), index=index)


def _generator(seed: int, stream: int) -> Generator:
    """An independent stream of a 64-bit seed, all of it hashed into the 32 bits that torch keeps."""
    mixed = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(mixed[:4], "little"))
