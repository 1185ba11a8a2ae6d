"""The experiments as they are stated: complete, resolvable, and holding upstream's published points."""

import pkgutil
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from accuracy.case import Case, Stage, canonical_json
from accuracy.cases import CASES

STAGES = {stage.value for stage in Stage}
ACCURACY = {name: case for name, case in CASES.items() if not name.endswith("-relations")}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
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
    return {reference.rpartition(":")[2].partition("_")[0] for reference in case.checks}


@every_case
def test_what_a_case_refers_to_exists(case: Case) -> None:
    """A worker resolves these by name; a mistyped one would cost every task of the case."""
    for reference in (case.subject, *case.checks):
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
