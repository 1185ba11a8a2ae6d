"""The host's processors, and the same with fewer vector instructions, which make the library take other paths."""

from accuracy.adapter import Adapter, Arithmetic, Variant

ADAPTER = Adapter(
    kind="cpu",
    listing="accuracy.adapters.hardware:cpu",
    on_host=True,
    variants=tuple(
        Variant(name=name, limit=f"limited to {name}", environment={"ATEN_CPU_CAPABILITY": name})
        for name in ("avx2", "default")
    ),
    offers="accuracy.adapters.hardware:cpu_variants",
    arithmetic=Arithmetic(
        ieee_division=True,
        fused_outliers=True,
        dequantizes_in_training=True,  # bitsandbytes/autograd/_functions.py, matmul: MatMul8bitFp for cpu and xpu
        packed_bfloat16=True,
    ),
    ray_resources=("CPU",),
)
