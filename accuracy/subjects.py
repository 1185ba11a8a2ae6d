"""The layers under test. The only module that imports bitsandbytes.

A subject is a generator of named parts, in the order in which the library produces them. When the
library raises, the parts before it are kept, so that what was built can still be compared. Parts
that a layer changes later are copied when they are seen.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from typing import Any

import bitsandbytes as bnb
import torch
from torch import Tensor, nn

from accuracy import dispatch, formats
from accuracy.case import Embedding4bitConfig, Embedding8bitConfig, Linear4bitConfig, Linear8bitConfig, LinearConfig
from accuracy.inputs import EmbeddingInputs, LinearInputs
from accuracy.oracles import codes
from accuracy.oracles.four_bit import NestedScales, Stored4bit
from accuracy.oracles.int8 import Stored8bit

Part = tuple[str, Any]

dispatch.watch(bnb)


def linear_4bit(config: Linear4bitConfig, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """`Linear4bit`: yields format, stored, weight, output and, in training, grad_input and grad_bias.

    Where it computes in another dtype than that of the weight, weight_in_compute_dtype follows weight.
    """
    layer = build_linear_4bit(config, inputs, device)
    yield "format", format_4bit(layer.weight)
    yield "stored", stored_4bit(layer.weight)
    yield "weight", bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).cpu()
    compute = getattr(torch, config.compute_dtype or config.dtype)
    if compute != inputs.weight.dtype:
        state = copy(layer.weight.quant_state)
        state.dtype = compute  # which is how the forward pass decodes; the backward pass keeps the weight's own
        yield "weight_in_compute_dtype", bnb.functional.dequantize_4bit(layer.weight.data, state).cpu()
    yield from _run(layer, config, inputs, device)


def build_linear_4bit(config: Linear4bitConfig, inputs: LinearInputs, device: torch.device) -> Any:
    """A `Linear4bit` with these weights, quantized on `device`, in the mode of the config."""
    return new_linear_4bit(config, inputs).to(device).train(config.mode == "train")


def new_linear_4bit(config: Linear4bitConfig, inputs: LinearInputs) -> Any:
    """A `Linear4bit` with these weights on the CPU, where nothing is quantized yet."""
    layer = bnb.nn.Linear4bit(
        config.in_features,
        config.out_features,
        bias=config.bias,
        compute_dtype=config.compute_dtype and getattr(torch, config.compute_dtype),
        compress_statistics=config.nested,
        quant_type=config.quant_type,
        quant_storage=getattr(torch, config.quant_storage),
        device="meta",
    )
    layer.weight = bnb.nn.Params4bit(
        inputs.weight.clone(),
        requires_grad=False,
        blocksize=config.blocksize,
        compress_statistics=config.nested,
        quant_type=config.quant_type,
        quant_storage=getattr(torch, config.quant_storage),
        module=layer,
    )
    _set_bias(layer, inputs)
    return layer


def build_named_linear_4bit(config: Linear4bitConfig, inputs: LinearInputs, device: torch.device) -> Any:
    """The layer of `build_linear_4bit` as an object of `LinearNF4` or `LinearFP4`, which has its parameter itself."""
    layer = {"nf4": bnb.nn.LinearNF4, "fp4": bnb.nn.LinearFP4}[config.quant_type](
        config.in_features,
        config.out_features,
        bias=config.bias,
        compute_dtype=config.compute_dtype and getattr(torch, config.compute_dtype),
        compress_statistics=config.nested,
        quant_storage=getattr(torch, config.quant_storage),
    )
    layer.weight.data = inputs.weight.clone()
    layer.weight.blocksize = config.blocksize
    _set_bias(layer, inputs)
    return layer.to(device).train(config.mode == "train")


def linear_8bit(config: Linear8bitConfig, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """`Linear8bitLt`: yields output, stored, weight and, in training, grad_input, grad_weight and grad_bias.

    With fp16 weights the layer quantizes afresh in each forward pass, so codes exist only after it.
    """
    layer = build_linear_8bit(config, inputs, device)
    if not config.has_fp16_weights:
        yield "stored", stored_8bit(layer.weight)
        yield "weight", _dequantize_rows(layer.weight.CB, layer.weight.SCB)
    for part in _run(layer, config, inputs, device):
        yield part
        if part[0] == "output" and config.has_fp16_weights:
            yield "stored", stored_8bit(layer.state)
            yield "weight", _dequantize_rows(layer.state.CB, layer.state.SCB)


def build_linear_8bit(config: Linear8bitConfig, inputs: LinearInputs, device: torch.device) -> Any:
    """A `Linear8bitLt` with these weights on `device`, in the mode of the config."""
    return new_linear_8bit(config, inputs).to(device).train(config.mode == "train")


def new_linear_8bit(config: Linear8bitConfig, inputs: LinearInputs) -> Any:
    """A `Linear8bitLt` with these weights on the CPU, where nothing is quantized yet."""
    layer = bnb.nn.Linear8bitLt(
        config.in_features,
        config.out_features,
        bias=config.bias,
        has_fp16_weights=config.has_fp16_weights,
        threshold=config.threshold,
        device="meta",
    )
    layer.weight = bnb.nn.Int8Params(
        inputs.weight.clone(),
        requires_grad=config.has_fp16_weights,
        has_fp16_weights=config.has_fp16_weights,
    )
    _set_bias(layer, inputs)
    return layer


def embedding_4bit(config: Embedding4bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """`Embedding4bit`: yields format, stored, weight and output."""
    layer = build_embedding_4bit(config, inputs, device)
    yield "format", format_4bit(layer.weight)
    yield "stored", stored_4bit(layer.weight)
    yield "weight", bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).cpu()
    with torch.no_grad():
        yield "output", layer(inputs.index.clone().to(device)).cpu()


def build_embedding_4bit(config: Embedding4bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Any:
    """An `Embedding4bit` with this table, quantized on `device`."""
    return new_embedding_4bit(config, inputs).to(device).eval()


def new_embedding_4bit(config: Embedding4bitConfig, inputs: EmbeddingInputs) -> Any:
    """An `Embedding4bit` with this table on the CPU, where nothing is quantized yet."""
    layer = bnb.nn.Embedding4bit(
        config.rows,
        config.dim,
        dtype=inputs.weight.dtype,
        quant_type=config.quant_type,
        quant_storage=getattr(torch, config.quant_storage),
        device="cpu",
    )
    layer.load_state_dict({"weight": inputs.weight.clone()})
    return layer


def embedding_8bit(config: Embedding8bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """`Embedding8bit`: yields stored and output."""
    layer = build_embedding_8bit(config, inputs, device)
    yield "stored", Stored8bit(codes=layer.weight.data.clone().cpu(), scales=layer.weight.SCB.clone().cpu())
    with torch.no_grad():
        yield "output", layer(inputs.index.clone().to(device)).cpu()


def build_embedding_8bit(config: Embedding8bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Any:
    """An `Embedding8bit` with this table, quantized on `device`."""
    return new_embedding_8bit(config, inputs).to(device).eval()


def new_embedding_8bit(config: Embedding8bitConfig, inputs: EmbeddingInputs) -> Any:
    """An `Embedding8bit` with this table on the CPU, where nothing is quantized yet."""
    layer = bnb.nn.Embedding8bit(config.rows, config.dim, dtype=inputs.weight.dtype, device="cpu")
    layer.load_state_dict({"weight": inputs.weight.clone()})
    return layer


def reload_linear_4bit(
    layer: Any, config: Linear4bitConfig, inputs: LinearInputs, device: torch.device, prefix: str = ""
) -> Any:
    """A new layer from the state dict of `layer`, the way checkpoints of quantized weights are loaded."""
    state = layer.state_dict(prefix=prefix)
    fresh = build_linear_4bit(config, inputs, device)
    weight = f"{prefix}weight"
    statistics = {key.removeprefix(f"{weight}."): value for key, value in state.items() if key.startswith(f"{weight}.")}
    fresh.weight = bnb.nn.Params4bit.from_prequantized(
        data=state[weight], quantized_stats=statistics, device=device, module=fresh
    )
    if f"{prefix}bias" in state:
        fresh.bias = nn.Parameter(state[f"{prefix}bias"].clone())
    return fresh


def reload_linear_8bit(
    layer: Any, config: Linear8bitConfig, inputs: LinearInputs, device: torch.device, prefix: str = ""
) -> Any:
    """A new layer, quantized from other weights, that loads the state dict of `layer`; with a prefix in a model."""
    fresh = build_linear_8bit(config, replace(inputs, weight=inputs.weight.flip(0)), device)
    holder = nn.ModuleDict({prefix.removesuffix("."): fresh}) if prefix else fresh
    holder.load_state_dict(layer.state_dict(prefix=prefix))
    return fresh


def stored_4bit(weight: Any) -> Stored4bit:
    """A copy of the bytes and scales of a `Params4bit`, on the CPU."""
    state = weight.quant_state
    scales: Tensor | NestedScales = state.absmax.clone().cpu()
    if state.nested:
        scales = NestedScales(
            codes=state.absmax.clone().cpu(),
            scales=state.state2.absmax.clone().cpu(),
            offset=state.offset.clone().cpu(),
            table=state.state2.code.clone().cpu(),
        )
    return Stored4bit(
        packed=weight.data.contiguous().cpu().view(torch.uint8).reshape(-1).clone(),
        scales=scales,
        blocksize=state.blocksize,
        quant_type=state.quant_type,
        shape=tuple(state.shape),
        dtype=state.dtype,
    )


def format_4bit(weight: Any) -> str:
    """In what form a `Params4bit` holds its weight, in words."""
    state = weight.quant_state
    dtype, storage = (str(each).removeprefix("torch.") for each in (state.dtype, weight.data.dtype))
    return formats.four_bit(
        quant_type=state.quant_type,
        blocksize=state.blocksize,
        nested=bool(state.nested),
        dtype=dtype,
        storage=storage,
        own_table=torch.equal(state.code.cpu().float(), codes.four_bit(state.quant_type)),
    )


def saved_form(layer: Any) -> Iterator[Part]:
    """In what form a dense layer is saved, in words: `saved_tensors`, and `saved_state` where there is one."""
    state = layer.state_dict()
    yield (
        "saved_tensors",
        formats.words({name: str(value.dtype).removeprefix("torch.") for name, value in state.items()}),
    )
    said: dict[str, Any] = {}
    for name, value in state.items():
        if "quant_state." in name:
            said |= json.loads(bytes(value.tolist()))
            said.pop("nested_offset", None)
        elif name == "weight_format":
            said[name] = value.item()
    if said:
        yield "saved_state", formats.words(said)


def stored_8bit(holder: Any) -> Stored8bit:
    """A copy of the codes and scales that an `Int8Params` or the state of a layer holds, on the CPU."""
    return Stored8bit(codes=holder.CB.clone().cpu(), scales=holder.SCB.clone().cpu())


def adam(parameters: Iterable[Tensor], rate: float) -> Any:
    """The library's Adam with 32-bit state."""
    return bnb.optim.Adam32bit(parameters, lr=rate)


def _set_bias(layer: Any, inputs: LinearInputs) -> None:
    if inputs.bias is not None:
        layer.bias = nn.Parameter(inputs.bias.clone())


def _dequantize_rows(codes: Tensor, scales: Tensor) -> Any:
    return bnb.functional.int8_vectorwise_dequant(codes, scales).cpu()


def _run(layer: Any, config: LinearConfig, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """One forward pass and, in training, one backward pass from `inputs.grad_output`."""
    training = config.mode == "train"
    x = inputs.x.clone().to(device).requires_grad_(training)
    gradients: AbstractContextManager[Any] = nullcontext() if training else torch.no_grad()
    with gradients:
        output = layer(x)
    yield "output", output.detach().cpu()
    if not training:
        return
    output.backward(inputs.grad_output.clone().to(device))
    yield "grad_input", gradient(x)
    if layer.weight.requires_grad:
        yield "grad_weight", gradient(layer.weight)
    if inputs.bias is not None:
        yield "grad_bias", gradient(layer.bias)


def gradient(leaf: Tensor) -> Tensor:
    """The gradient of a leaf, on the CPU.

    Raises:
        RuntimeError: if the backward pass left none.
    """
    if leaf.grad is None:
        raise RuntimeError("the backward pass left no gradient")
    return leaf.grad.detach().cpu()
