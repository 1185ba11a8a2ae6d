"""The experiments as they are stated: complete, resolvable, and holding upstream's published points."""

import pkgutil
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from accuracy import limits
from accuracy.case import Case, Stage, canonical_json
from accuracy.cases import CASES
from reports import features

STAGES = {stage.value for stage in Stage}
UPSTREAM = {name: case for name, case in CASES.items() if case.row is not None}
ACCURACY = {name: case for name, case in CASES.items() if not name.endswith("-relations") and name not in UPSTREAM}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
every_upstream_case = pytest.mark.parametrize("case", UPSTREAM.values(), ids=list(UPSTREAM))
every_accuracy_case = pytest.mark.parametrize("case", ACCURACY.values(), ids=list(ACCURACY))


def points(prefix: str, **held: object) -> list[Any]:
    """Published configs of the cases whose names begin so, in which these fields have these values."""
    return [
        config
        for case in CASES.values()
        if case.name.startswith(prefix)
        for config in case.published
        if held.items() <= asdict(config).items()
    ]


def test_every_layer_of_the_library_has_its_cases() -> None:
    """Each kind of dense layer in training and inference, both 4-bit types, int8 with and without fp16 weights."""
    assert {case.layer for case in CASES.values()} == {"Linear4bit", "Linear8bitLt", "Embedding8bit", "Embedding4bit"}
    assert set(ACCURACY) == {
        *(f"linear4bit-{kind}-{mode}" for kind in ("nf4", "fp4") for mode in ("train", "eval")),
        *(f"linear8bitlt-{weights}{mode}" for weights in ("", "fp16-weights-") for mode in ("train", "eval")),
        *("embedding8bit", "embedding4bit-nf4", "embedding4bit-fp4"),
    }


def test_names_and_claims_are_not_shared() -> None:
    """A name is part of every id, and two cases with one claim would be one case."""
    assert [name for name, case in CASES.items() if case.name != name] == []
    assert [claim for claim, count in Counter(case.claim for case in CASES.values()).items() if count > 1] == []


@every_case
def test_a_case_is_stated_whole(case: Case) -> None:
    """A claim is a sentence, strata have names of their own, and each check is named after its stage.

    The row of a check that raises has its name as stage.
    """
    strata = [stratum.name for stratum in case.strata]

    assert case.claim.endswith(".")
    assert len(case.claim.split()) > 6
    assert len(set(strata)) == len(strata) > 0
    assert stages(case) <= STAGES


@every_accuracy_case
def test_a_case_compares_every_stage(case: Case) -> None:
    """What is stored, what is computed from it, and both with the fp32 layer; int8 lookups decode as they go."""
    assert stages(case) >= {"encode", "compute", "quantization"}
    assert "decode" in stages(case) or case.layer == "Embedding8bit"


def stages(case: Case) -> set[str]:
    return {reference.rpartition(":")[2].partition("_")[0] for reference in (*case.checks, *case.published_checks)}


@every_case
def test_what_a_case_refers_to_exists(case: Case) -> None:
    """A worker resolves these by name; a mistyped one would cost every task of the case."""
    for reference in (case.subject, *case.checks, *case.published_checks):
        assert callable(pkgutil.resolve_name(reference)), reference


@every_case
def test_what_a_stratum_fixes_is_a_field_of_the_config(case: Case) -> None:
    names = set(case.config.__dataclass_fields__)
    for stratum in case.strata:
        assert set(stratum.fixed) <= names, stratum.name
        assert stratum.fixed, stratum.name


@every_accuracy_case
def test_published_points_are_configs_of_the_case(case: Case) -> None:
    """All different, of the case's own type, in its mode, and writable as JSON."""
    texts = {canonical_json(asdict(config)) for config in case.published}

    assert len(texts) == len(case.published) > 0
    assert all(type(config) is case.config for config in case.published)
    if case.layer.startswith("Linear"):
        assert {config.mode for config in case.published} == {case.name.rpartition("-")[2]}


def test_published_points_of_upstreams_backprop_test() -> None:
    """84 to 128 features, batch 16, fp16 and bf16, NF4 and FP4, with and without double quantization."""
    seen = Counter(
        (config.quant_type, config.nested, config.dtype)
        for config in points("linear4bit", mode="train", in_features=84, out_features=128, batch=(16,))
    )
    assert set(seen) == {
        (kind, nested, dtype)
        for kind in ("nf4", "fp4")
        for nested in (False, True)
        for dtype in ("float16", "bfloat16")
    }


def test_published_points_of_upstreams_int8_inference_test() -> None:
    """32 to 64 features in fp16, thresholds 0 and 3, weights as int8 from the start."""
    configs = points("linear8bitlt-eval", in_features=32, out_features=64, dtype="float16", has_fp16_weights=False)
    assert {0.0, 2.0, 3.0} <= {config.threshold for config in configs}


@pytest.mark.parametrize("prefix", ["embedding8bit", "embedding4bit-nf4", "embedding4bit-fp4"])
def test_published_points_of_upstreams_embedding_tests(prefix: str) -> None:
    """128 rows of 64 and 65, three ranks of index, weights ±1 and uniform; 4 bits in uint8 and in float32."""
    configs = points(prefix, rows=128)
    storages = {"uint8", "float32"} if "4bit" in prefix else {None}

    assert {
        (config.dim, len(config.index), config.weight, getattr(config, "quant_storage", None)) for config in configs
    } == {
        (dim, rank, weight, storage)
        for dim in (64, 65)
        for rank in (1, 2, 3)
        for weight in ("signs", "all_positive")
        for storage in storages
    }


def test_the_table_of_upstreams_behaviours_has_its_twelve_rows() -> None:
    """Each row has a case for every layer that it speaks of, and its number in the name."""
    layers = {(case.row, case.layer) for case in UPSTREAM.values()}

    assert layers == {
        *((row, "Linear8bitLt") for row in (1, 2, 3, 4, 5)),
        *((row, "Linear4bit") for row in (4, 5, 8, 11)),
        *((row, "Embedding8bit") for row in (6, 7, 12)),
        *((row, "Embedding4bit") for row in (6, 7, 9, 10, 12)),
    }
    assert all(name.startswith(f"upstream-{case.row:02}-") for name, case in UPSTREAM.items())


@every_upstream_case
def test_a_published_behaviour_asks_for_something(case: Case) -> None:
    """A point that upstream publishes, and facts that are wanted of it on a CPU and on an accelerator."""
    assert case.published
    for config in case.published:
        assert type(config) is case.config
        assert case.contract(config, "cpu")
        assert case.contract(config, "cpu").keys() == case.contract(config, "cuda").keys()


def test_every_published_tolerance_speaks_of_a_case() -> None:
    """And of every case whose parts are held beside an unquantized network."""
    spoken = {
        (tolerance.id, case.name)
        for tolerance in limits.load().published
        for case in UPSTREAM.values()
        for config in case.published
        if tolerance.covers(case.row, case.layer, config.dtype, "published")
    }
    beside = {
        case.name for case in UPSTREAM.values() if "accuracy.checks.upstream:quantization_published" in case.checks
    }
    other_dtypes = {"lossless-float16", "lossless-bfloat16"}

    assert {name for _, name in spoken} == beside
    assert {name for name, _ in spoken} == {tolerance.id for tolerance in limits.load().published} - other_dtypes


def only(name: str) -> Any:
    """The one published point of a case."""
    (config,) = CASES[name].published
    return config


def test_published_points_of_upstreams_training_tests() -> None:
    """Two layers 32 wide, 15 batches and a step every 10; and every kind of k-bit layer on 100 batches, in 16 bits."""
    trained = only("upstream-02-accumulated-gradient-linear8bitlt")
    kinds = Counter(
        (config.quant_type, config.nested, config.compute_dtype, config.dtype)
        for config in points("upstream-05-backprop-linear4bit", batch=(16,), first=36, in_features=84, out_features=128)
    )

    assert (trained.steps, trained.accumulate, trained.rate) == (15, 10, 1e-3)
    assert (trained.batch, trained.in_features, trained.out_features, trained.dtype) == ((16, 8), 32, 32, "float16")
    assert set(kinds.values()) == {1}
    assert set(kinds) == {
        (*kind, dtype)
        for kind in (
            *((quant_type, nested, None) for quant_type in ("nf4", "fp4") for nested in (False, True)),
            *(("nf4", True, compute) for compute in ("float32", "float16", "bfloat16")),
        )
        for dtype in ("float16", "bfloat16")
    }
    assert {
        config.dtype for config in points("upstream-05-backprop-linear8bitlt", steps=100, has_fp16_weights=True)
    } == {
        "float16",
        "bfloat16",
    }


def test_published_points_of_upstreams_dense_tests() -> None:
    """Thresholds, orders of moves, bias or none, a hundred calls, ten layers."""
    called = points("upstream-01", batch=(16, 8), in_features=32, out_features=64, steps=100, moves="to cast")
    moved = points("upstream-03", batch=(16, 8), in_features=32, out_features=64, steps=4, mode="train")
    stacked = only("upstream-08-warnings-linear4bit")

    assert [config.threshold for config in called] == [0.0, 3.0]
    assert {(config.threshold, config.moves) for config in moved} == {
        (threshold, moves) for threshold in (0.0, 2.0) for moves in ("to", "to cast", "cast to")
    }
    for prefix in ("upstream-04-bias-linear8bitlt", "upstream-04-bias-linear4bit"):
        assert {config.bias for config in points(prefix, steps=100, dtype="float16")} == {True, False}
    assert (stacked.layers, stacked.batch, stacked.in_features, stacked.compute_dtype) == (10, (10,), 64, None)
    assert (stacked.dtype, stacked.quant_type, stacked.single_rank) == ("float16", "nf4", 2)


@pytest.mark.parametrize("row", ["06-lossless", "07-error"])
def test_published_points_of_upstreams_embedding_rows(row: str) -> None:
    """128 rows of 64 and 65, three ranks of index, weights ±1 or from [0, 1); 4 bits in uint8 and in float32."""
    weight = {"06-lossless": "signs", "07-error": "all_positive"}[row]
    eight = points(f"upstream-{row}-embedding8bit", rows=128, weight=weight)
    four = points(f"upstream-{row}-embedding4bit", rows=128, weight=weight)

    assert {(config.dim, len(config.index)) for config in eight} == {
        (dim, rank) for dim in (64, 65) for rank in (1, 2, 3)
    }
    assert {(config.dim, len(config.index), config.quant_type, config.quant_storage) for config in four} == {
        (dim, rank, quant_type, storage)
        for dim in (64, 65)
        for rank in (1, 2, 3)
        for quant_type in ("nf4", "fp4")
        for storage in ("uint8", "float32")
    }


def test_published_points_of_the_other_rows() -> None:
    assert (only("upstream-09-warning-embedding4bit").rows, only("upstream-09-warning-embedding4bit").dim) == (128, 65)
    assert (only("upstream-10-state-embedding4bit").rows, only("upstream-10-state-embedding4bit").dim) == (64, 32)
    linear = only("upstream-11-state-linear4bit")
    assert (linear.in_features, linear.out_features) == (64, 32)
    for name in ("upstream-12-state-dict-embedding8bit", "upstream-12-state-dict-embedding4bit"):
        assert (only(name).rows, only(name).dim) == (32, 32)


def test_published_points_in_words_say_what_they_share_once() -> None:
    """Two points of one batch: the batch on the first line, the thresholds on lines of their own."""
    configs = [{"batch": [16, 8], "bias": True, "threshold": threshold} for threshold in (0.0, 3.0)]
    assert features.points(configs) == ["batch 16×8, bias", "threshold 0", "threshold 3"]
    assert features.points(configs[:1]) == ["batch 16×8, bias, threshold 0"]


def test_the_list_of_cases_names_the_rows_and_spells_out_their_points() -> None:
    listed = CliRunner().invoke(cli.app, ["cases"]).stdout.splitlines()
    headings = {name: f"{name}  (row {case.row} of upstream's behaviours)" for name, case in UPSTREAM.items()}

    assert set(headings.values()) <= set(listed)
    first = listed.index(headings["upstream-01-inference-linear8bitlt"])
    assert listed[first + 2 : first + 3] == ["    9 strata, 2 published points"]
    assert "in_features 32" in listed[first + 3]
    assert [line.strip() for line in listed[first + 4 : first + 6]] == ["threshold 0", "threshold 3"]
