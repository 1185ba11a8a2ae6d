"""Intel Gaudi. The library's one 4-bit kernel there is the decoder: what that refuses, no 4-bit layer can do."""

from accuracy.adapter import Adapter, Refusal

DECODER = "bitsandbytes/backends/hpu/ops.py, dequantize_4bit"
UNTESTED = "bitsandbytes tests/helpers.py, is_supported_on_hpu"

ADAPTER = Adapter(
    kind="hpu",
    listing="accuracy.adapters.hardware:hpu",
    indexed=True,
    refusals=(
        Refusal(
            reason="FP4 is not supported on hpu: only NF4 can be decoded",
            source=DECODER,
            layer="*4bit",
            where={"quant_type": "fp4"},
        ),
        *(
            Refusal(
                reason=f"4-bit codes in {storage} storage are not supported on hpu: uint8 or bfloat16 is wanted",
                source=DECODER,
                layer="*4bit",
                where={"quant_storage": storage},
            )
            for storage in ("float16", "float32")
        ),
        # The decoder itself does not look at the dtype; the library's own tests are where it says so.
        *(
            Refusal(
                reason=f"NF4 with a {name} of float16 is not supported on hpu",
                source=UNTESTED,
                layer="*4bit",
                where={name: "float16"},
            )
            for name in ("dtype", "weight_dtype", "compute_dtype")
        ),
    ),
    ray_resources=("HPU",),
)
