"""Faults of the outlier decomposition: which columns are taken out, and how they come back."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.library import Library

QUANTIZE = "functional:int8_vectorwise_quant"
MIXED = "op:int8_mixed_scaled_mm"
LARGEST = 127


def _outlier_columns(lib: Library, change: Any) -> None:
    """Changes the outlier columns that the product is given."""

    def planted(original: Any, *args: Any) -> Any:
        *before, columns, bias = args
        return original(*before, change(columns), bias)

    lib.around(MIXED, planted)


def one_dropped(lib: Library) -> None:
    _outlier_columns(lib, lambda columns: columns[:-1] if columns is not None and columns.numel() > 1 else columns)


def all_dropped(lib: Library) -> None:
    _outlier_columns(lib, lambda columns: None if columns is None else columns[:0])


def doubled(lib: Library) -> None:
    _outlier_columns(lib, lambda columns: None if columns is None else lib.torch.cat([columns, columns[-1:]]))


def neighbour(lib: Library) -> None:
    def planted(original: Any, A: Any, CA: Any, CB: Any, SCA: Any, SCB: Any, columns: Any, bias: Any) -> Any:  # noqa: N803, PLR0917 - the operator's
        if columns is not None:
            columns = (columns + 1) % A.shape[-1]
        return original(A, CA, CB, SCA, SCB, columns, bias)

    lib.around(MIXED, planted)


def strict_threshold(lib: Library) -> None:
    def planted(original: Any, values: Any, threshold: float = 0.0) -> Any:
        if threshold > 0:
            half = lib.torch.tensor(threshold, dtype=lib.torch.float16).view(lib.torch.int16)
            threshold = (half + 1).view(lib.torch.float16).item()
        return original(values, threshold=threshold)

    lib.around(QUANTIZE, planted)


def threshold_factor(lib: Library) -> None:
    lib.around(
        QUANTIZE,
        lambda original, values, threshold=0.0: original(values, threshold=threshold * (1 + lib.size)),
    )


def counted_in_maximum(lib: Library) -> None:
    def change(result: Any, values: Any, **_: Any) -> Any:
        codes, scales, outliers = result
        if outliers is None or not outliers.numel():
            return result
        scales = values.float().abs().amax(dim=1)
        wanted = (values.float() * (LARGEST / scales.unsqueeze(1))).round()
        return (wanted * (codes != 0)).to(codes.dtype), scales, outliers

    lib.after(QUANTIZE, change)


def kept_in_codes(lib: Library) -> None:
    def change(result: Any, values: Any, **_: Any) -> Any:
        codes, scales, outliers = result
        if outliers is None or not outliers.numel():
            return result
        wanted = (values.float() * (LARGEST / scales.unsqueeze(1))).round().clamp(-LARGEST, LARGEST).nan_to_num(0.0)
        codes = codes.clone()
        codes[:, outliers] = wanted[:, outliers].to(codes.dtype)
        return codes, scales, outliers

    lib.after(QUANTIZE, change)


def weight_not_scaled_back(lib: Library) -> None:
    def change(original: Any, codes: Any, scales: Any) -> Any:
        return original(codes, scales.roll(1))

    lib.around("op:int8_vectorwise_dequant", change)


fault = partial(
    Fault,
    area="outliers",
    stage=Stage.COMPUTE,
    cases="linear8bitlt-*eval",
    where=lambda c: c.threshold > 0,
)

FAULTS = (
    fault(name="outliers-one-dropped", what="The last outlier column is not added back.", plant=one_dropped),
    fault(name="outliers-all-dropped", what="No outlier column is added back.", plant=all_dropped),
    fault(name="outliers-doubled", what="The last outlier column is added back twice.", plant=doubled),
    fault(
        name="outliers-neighbour",
        what="The column next to each outlier column is added back.",
        plant=neighbour,
    ),
    fault(
        name="outliers-strict-threshold",
        what="A value equal to the threshold is no outlier.",
        plant=strict_threshold,
    ),
    fault(
        name="outliers-threshold-factor",
        what="The threshold is higher by the relative size.",
        plant=threshold_factor,
        sizes=(1e-1, 1e-2, 1e-3),
    ),
    fault(
        name="outliers-in-maximum",
        what="Outliers count in the maximum of their row.",
        plant=counted_in_maximum,
    ),
    fault(
        name="outliers-kept-in-codes",
        what="Outlier columns keep their codes, so they are counted twice.",
        plant=kept_in_codes,
    ),
    fault(
        name="outliers-weight-scale",
        what="Outlier columns of the weight are decoded with the scale of the row before.",
        plant=weight_not_scaled_back,
        stage=Stage.DECODE,
        where=lambda c: c.threshold > 0 and c.out_features > 1,
    ),
)
