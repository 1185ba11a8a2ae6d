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
    workers=15,  # on one H200 beside 16 cores, 15 gave 2.4 times the cases a second of 5: the host is the limit
    ray_resources=("GPU",),
)
