"""In what form a weight is asked for and found to be stored and saved, in words: what asks for one must get it.

Oracles read codes and scales by what the library says of them, so that they would follow it into another format. And
other releases read a checkpoint: one in another form, which this release saves and loads, would be lost on them.
"""

from collections.abc import Mapping

from accuracy.case import Linear4bitConfig, Linear8bitConfig

NESTED_BLOCKSIZE = 256
"""Scales that share one scale of their own."""

SAVED = "save_and_load"
"""The relation whose layer is saved before it has run, so that its form is looked at."""


def four_bit(*, quant_type: str, blocksize: int, nested: bool, dtype: str, storage: str, own_table: bool = True) -> str:
    """The format of a 4-bit weight that had a dtype before, its codes kept in items of the dtype `storage`.

    `own_table` is no where the table that is kept with the codes, and saved with them, is not that of the type.
    """
    scales = "double-quantized scales" if nested else "plain scales"
    table = "" if own_table else ", with another table of codes"
    return f"{quant_type} in blocks of {blocksize}, {scales}, of {dtype}, in {storage}{table}"


def saved_tensors(config: Linear4bitConfig | Linear8bitConfig) -> dict[str, str]:
    """The dtype of each tensor in the state dict of a layer that has not run.

    As bitsandbytes/functional.py (`QuantState.as_dict`) and bitsandbytes/nn/modules.py (`_save_to_state_dict`) have it
    since 0.46, and transformers reads it.
    """
    bias = {"bias": config.dtype} if config.bias else {}
    if isinstance(config, Linear8bitConfig):
        codes = {"weight": "int8", "SCB": "float32", "weight_format": "uint8"}
        return {**({"weight": config.weight_dtype} if config.has_fp16_weights else codes), **bias}
    scales = {"absmax": "float32"}
    if config.nested:
        scales = {"absmax": "uint8", "nested_absmax": "float32", "nested_quant_map": "float32"}
    rest = {**scales, "quant_map": "float32", f"quant_state.bitsandbytes__{config.quant_type}": "uint8"}
    return {"weight": config.quant_storage, **{f"weight.{name}": dtype for name, dtype in rest.items()}, **bias}


def saved_state(config: Linear4bitConfig | Linear8bitConfig) -> dict[str, object]:
    """What the state dict says beside its tensors, save for the mean of nested scales; nothing of fp16 weights."""
    if isinstance(config, Linear8bitConfig):
        return {} if config.has_fp16_weights else {"weight_format": 0}  # rows after one another
    nested = {"nested_blocksize": NESTED_BLOCKSIZE, "nested_dtype": "float32"} if config.nested else {}
    shape = [config.out_features, config.in_features]
    return {
        "quant_type": config.quant_type, "blocksize": config.blocksize, "dtype": config.weight_dtype, "shape": shape,
        **nested,
    }  # fmt: skip


def words(entries: Mapping[str, object]) -> str:
    """Names and what is said of them, in alphabetical order."""
    return ", ".join(f"{name} {said}" for name, said in sorted(entries.items()))
