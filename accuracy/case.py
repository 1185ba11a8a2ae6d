"""The frozen values that flow: configs that are drawn, cases that state an experiment, rows that are judged."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:  # hypothesis draws plans; to read a run takes none of it
    from hypothesis.strategies import SearchStrategy

Dtype: TypeAlias = Literal["float32", "float16", "bfloat16"]
Mode: TypeAlias = Literal["train", "eval"]
QuantType: TypeAlias = Literal["nf4", "fp4"]


CELL = ("case", "device", "dtype", "stage", "quantity")
"""What names a cell."""


EXPLORED = "explored"
"""Origin of tasks that a search chose by what it had measured before: no sample of anything."""


class Stage(StrEnum):
    """Where an error can arise, in the order in which one stage feeds the next.

    The first failing stage of a case names the code to look at: a wrong code also shows in every
    later stage.
    """

    CONTRACT = "contract"
    ENCODE = "encode"
    DECODE = "decode"
    COMPUTE = "compute"
    QUANTIZATION = "quantization"
    INVARIANT = "invariant"


class Status(StrEnum):
    """What became of one planned measurement."""

    OK = "ok"
    FAIL = "fail"
    CRASH = "crash"
    TIMEOUT = "timeout"
    NOT_RUN = "not_run"
    NOT_SUPPORTED = "not_supported"


MEASURED: Final = (Status.OK.value, Status.FAIL.value)
"""Statuses of what gave an answer that could be compared."""

BROKEN: Final = (Status.FAIL.value, Status.CRASH.value, Status.TIMEOUT.value)
"""Statuses of what is not as it must be."""


class Verdict(StrEnum):
    """What is said of one cell: (case, device, dtype, stage, quantity)."""

    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"
    NOT_RUN = "not_run"
    NOT_SUPPORTED = "not_supported"


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """What every dense layer has. Shapes are counts of elements; `batch` holds the leading dimensions.

    `batch == ()` is an input of rank 1, `(8,)` of rank 2, `(2, 3, 4)` of rank 4. `dtype` is the
    dtype of input, bias and gradient; `weight_dtype` that of the weight before it is quantized.
    `weight` and `activation` name distributions in `accuracy.inputs`.
    """

    mode: Mode
    dtype: Dtype
    batch: tuple[int, ...]
    in_features: int
    out_features: int
    bias: bool
    weight: str
    weight_dtype: Dtype
    activation: str
    gradient: str = "normal"


@dataclass(frozen=True, kw_only=True)
class Linear4bitConfig(LinearConfig):
    """`bitsandbytes.nn.Linear4bit`. `compute_dtype` None leaves the choice to the layer."""

    quant_type: QuantType
    blocksize: int
    nested: bool
    quant_storage: str
    compute_dtype: Dtype | None


@dataclass(frozen=True, kw_only=True)
class Linear8bitConfig(LinearConfig):
    """`bitsandbytes.nn.Linear8bitLt`. `threshold` 0 turns the outlier decomposition off."""

    threshold: float
    has_fp16_weights: bool


@dataclass(frozen=True, kw_only=True)
class Embedding8bitConfig:
    """`bitsandbytes.nn.Embedding8bit`. `index` is the shape of the tensor of row numbers."""

    dtype: Dtype
    rows: int
    dim: int
    index: tuple[int, ...]
    weight: str
    mode: Mode = "eval"


@dataclass(frozen=True, kw_only=True)
class Embedding4bitConfig(Embedding8bitConfig):
    """`bitsandbytes.nn.Embedding4bit`: blocks of 64, never double-quantized."""

    quant_type: QuantType
    quant_storage: str


@dataclass(frozen=True, kw_only=True)
class Linear4bitRelation(Linear4bitConfig):
    """A `Linear4bit` and the name of a relation in `accuracy.relations` that it must keep."""

    relation: str


@dataclass(frozen=True, kw_only=True)
class Linear8bitRelation(Linear8bitConfig):
    """A `Linear8bitLt` and the name of a relation in `accuracy.relations` that it must keep."""

    relation: str


@dataclass(frozen=True, kw_only=True)
class Embedding4bitRelation(Embedding4bitConfig):
    """An `Embedding4bit` and the name of a relation in `accuracy.lookups` that it must keep."""

    relation: str


@dataclass(frozen=True, kw_only=True)
class Embedding8bitRelation(Embedding8bitConfig):
    """An `Embedding8bit` and the name of a relation in `accuracy.lookups` that it must keep."""

    relation: str


Config: TypeAlias = Linear4bitConfig | Linear8bitConfig | Embedding8bitConfig | Embedding4bitConfig


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A boundary of the format that every plan must touch.

    `holds` says whether a config lies in the stratum; `fixed` narrows the draw so that it does. One that stands
    `alone` is drawn once in each dtype and not combined with others when corners are explored: its layers are too
    large to measure many of them, or it is a conjunction itself, of values that leave nothing else to see.
    """

    name: str
    holds: Callable[[Any], bool]
    fixed: "Mapping[str, SearchStrategy[Any]]"
    alone: bool = False


Wanted: TypeAlias = str | tuple[str, ...]
"""The words that a fact must have, or those of which it must have one."""


def any_config(config: Any) -> bool:
    """Every config: what the case claims, it claims of all of them."""
    del config
    return True


def no_more(config: Any, device_type: str) -> Mapping[str, Wanted]:
    """The contract that asks for nothing but what every layer owes."""
    del config, device_type
    return {}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One experiment: this layer, on configs drawn so, must pass these checks.

    `subject` and `checks` are references of the form `module:function`. The parent process draws
    and judges but never imports torch; only a worker resolves them. `published_checks` are made at published
    points only: the layer's own cases hold every other config to them, with strata that meet each boundary
    in every plan, while a finding met here by chance would come and go. `contract` tells for a config and a
    type of device the words that each fact must have which the subject yields. `claimed_of` tells whether the claim is
    made of a config at all: no other is drawn, and one that an earlier night found is forgotten if it is none any more.
    `row` is the number of the behaviour in the table of upstream's tests that the case stands for.
    """

    name: str
    layer: str
    claim: str
    config: type[Any]
    draw: "Callable[..., SearchStrategy[Any]]"
    subject: str
    checks: tuple[str, ...]
    published_checks: tuple[str, ...] = ()
    strata: tuple[Stratum, ...] = ()
    published: tuple[Config, ...] = ()
    contract: Callable[[Any, str], Mapping[str, Wanted]] = no_more
    claimed_of: Callable[[Any], bool] = any_config
    row: int | None = None

    def checks_at(self, origin: str) -> tuple[str, ...]:
        """The checks of a task of this origin."""
        return (*self.checks, *(self.published_checks if origin == "published" else ()))


@dataclass(frozen=True, kw_only=True)
class Task:
    """One planned case: which experiment, on which config, from which 64-bit data seed.

    `origin` is `published`, `stratum:NAME`, `sample` or `explored`; only `sample` rows are exchangeable.
    """

    case: str
    config: Config
    seed: int
    origin: str

    @cached_property
    def text(self) -> str:
        """The canonical JSON of the config: what rows and plans hold, and workers are sent."""
        return canonical_json(vars(self.config))

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON of (case, config, seed)."""
        return _short(f'{{"case":{canonical_json(self.case)},"config":{self.text},"seed":{self.seed}}}')


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One row of `observations.parquet`: one (id, device, stage, quantity), as measured and judged.

    `abs_*` and `rel_*` are against what the stage compares with; `rel_*` divides by
    max(|expected|, the scale below which |expected| is rounding noise). Quantiles come from the
    log histogram (relative error at most 2**-6), means, norms and maxima are exact. `ratio` is
    the worst error ÷ limit, `limit` the absolute limit at that element. `lower` names a lower
    precision than the one asked for that was tried as an explanation, `lower_ratio` is the ratio
    under it. Norm columns end in
    `_fro`. `structure_z` is the strongest structured residual and `structure_at` where it is,
    `theory_z` the distance of the squared quantization error from its expectation in standard
    deviations; both are 0 where the test does not apply. `digest` is that of the actual tensor,
    `sample_values` and `sample_bounds` some of its elements and how far each may be off, for
    comparing devices (`accuracy.fingerprint`). `observed` is what the worker saw in words,
    `reason` what the judge made of it. `path` names the kernels that served, as `accuracy.path` writes
    them, empty where nothing is known. Numbers that were not measured are NaN.
    """

    id: str
    case: str
    config: str
    seed: str
    origin: str
    device: str
    device_name: str
    dtype: str
    mode: str
    stage: str
    quantity: str
    count: int = 0
    abs_mean: float = float("nan")
    abs_p50: float = float("nan")
    abs_p99: float = float("nan")
    abs_max: float = float("nan")
    rel_p50: float = float("nan")
    rel_p99: float = float("nan")
    rel_max: float = float("nan")
    rel_fro: float = float("nan")
    sqnr_db: float = float("nan")
    ulp_max: float = float("nan")
    kappa: float = float("nan")
    slope: float = float("nan")
    slope_z: float = float("nan")
    mean_z: float = float("nan")
    structure_z: float = 0.0
    structure_effect: float = 0.0
    structure_at: str = ""
    theory_z: float = 0.0
    special_mismatch: int = 0
    ratio: float = float("nan")
    limit: float = float("nan")
    basis: str = ""
    lower: str = ""
    lower_ratio: float = float("nan")
    total_fro: float = float("nan")
    compute_fro: float = float("nan")
    quantization_fro: float = float("nan")
    identity_error: float = float("nan")
    status: str = Status.OK.value
    observed: str = ""
    reason: str = ""
    path: str = ""
    seconds: float = float("nan")
    worst: str = "[]"
    digest: str = ""
    sample_values: tuple[float, ...] = ()
    sample_bounds: tuple[float, ...] = ()
    strata: tuple[str, ...] = ()
    abs_bins: tuple[int, ...] = field(default=())
    abs_counts: tuple[int, ...] = field(default=())
    ratio_bins: tuple[int, ...] = field(default=())
    ratio_counts: tuple[int, ...] = field(default=())


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces and no NaN, so that equal values have equal text.

    Raises:
        ValueError: if `value` holds NaN or an infinity, which JSON cannot carry.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(value: object) -> str:
    """Sixteen hex digits of the SHA-256 of the canonical JSON of `value`."""
    return _short(canonical_json(value))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
