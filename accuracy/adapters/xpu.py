"""Intel GPUs. The library's kernels for them take every layer, dtype and format of ours."""

from accuracy.adapter import Adapter, Arithmetic

ADAPTER = Adapter(
    kind="xpu",
    listing="accuracy.adapters.hardware:xpu",
    indexed=True,
    arithmetic=Arithmetic(
        dequantizes_in_training=True,  # bitsandbytes/autograd/_functions.py, matmul: MatMul8bitFp for cpu and xpu
    ),
    ray_resources=("GPU", "xpu"),  # Ray counts the Intel GPUs that it finds as GPU
    visible="ZE_AFFINITY_MASK",
)
