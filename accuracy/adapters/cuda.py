"""NVIDIA devices, and AMD devices, which a ROCm build of torch calls cuda as well."""

from accuracy.adapter import Adapter, Arithmetic

ADAPTER = Adapter(
    kind="cuda",
    listing="accuracy.adapters.hardware:cuda",
    indexed=True,
    arithmetic=Arithmetic(
        int8_in_float16=True,  # bitsandbytes csrc, cdequant_mm_int32_fp16
        fused_in_16_bits=True,  # bitsandbytes csrc/gemm_4bit.cu and csrc/gemm_4bit_simt.cu
    ),
    workers=8,  # beside 16 cores 15 gave an H200 no more cases a second, and its driver too many poisoned contexts
    ray_resources=("GPU",),
)
