"""Causes: failures are grouped by what broke first, and the sentence says what, where, how wrong and when."""

from functools import partial

import data
import pytest
from data import Fault

from reports import causes, frames, telling


def found(run: data.Run) -> tuple[causes.Cause, ...]:
    return causes.find(frames.prepare(run.manifest, run.observations, run.verdicts))


def long_and(config: data.Config, _: str, *, nested: bool) -> bool:
    return config["nested"] is nested and config["in_features"] > 128


def of_size(config: data.Config, _: str, *, size: int) -> bool:
    return bool(config["in_features"] == size)


LINEAR = {"linear4bit-nf4-train": "Linear4bit", "linear4bit-nf4-eval": "Linear4bit"}


def test_a_run_without_failures_has_no_cause() -> None:
    assert found(data.all_pass(per_case=5)) == ()


def test_a_scale_fault_is_told_with_its_size_place_and_condition() -> None:
    """2 % on the input gradient, on one device, for large outputs: the sentence says just that."""
    fault = Fault(
        stage="compute",
        quantity="grad_input",
        holds=lambda config, device: config["out_features"] > 512 and device == "cpu:avx2",
        factor=12.0,
        slope=0.02,
    )
    [cause] = found(data.make(cases=LINEAR, per_case=60, faults=[fault]))

    start = "Input gradient of Linear4bit on cpu:avx2 is 2 % too large when out_features > 512: "
    assert telling.sentence(cause).startswith(start)
    assert telling.sentence(cause).endswith(f"{cause.failing} of {cause.total} cases.")


def test_later_stages_are_consequences_of_the_first() -> None:
    """Wrong codes make a wrong weight: one cause, in the stage encode, that names the other."""
    faults = [
        Fault(stage=stage, quantity=quantity, holds=lambda config, _: config["blocksize"] == 64, factor=9.0)
        for stage, quantity in (("encode", "codes"), ("quantization", "weight"))
    ]
    [cause] = found(data.make(cases=LINEAR, per_case=60, faults=faults))

    assert (cause.stage, cause.quantities) == ("encode", ("codes",))
    assert "are not exact when blocksize = 64" in telling.sentence(cause)
    assert "quantization error of the weight" in telling.consequences(cause)


def test_of_what_must_be_exact_the_sentence_says_how_far_it_is_off() -> None:
    """A limit of zero is exceeded infinitely often over; 45 % off is what a reader can weigh."""
    fault = Fault(
        stage="decode",
        quantity="weight",
        holds=lambda config, _: config["blocksize"] == 64,
        factor=9.0,
        slope=0.45,
    )
    [cause] = found(data.make(cases=LINEAR, per_case=60, faults=[fault]))

    assert "is not exact (up to 45 % off) when blocksize = 64: " in telling.sentence(cause)


def test_crashes_with_different_messages_are_different_causes() -> None:
    faults = [
        Fault(
            stage="contract",
            quantity="completes",
            holds=partial(long_and, nested=nested),
            status="crash",
            reason=reason,
        )
        for nested, reason in ((True, "SIGSEGV at line 12"), (False, "SIGABRT"))
    ]
    sentences = sorted(telling.sentence(cause) for cause in found(data.make(cases=LINEAR, per_case=60, faults=faults)))

    assert len(sentences) == 2
    assert sentences[0].startswith("Linear4bit crashes (SIGABRT) when in_features > 128: ")


def test_messages_that_differ_in_numbers_are_one_cause() -> None:
    """`size 168` and `size 170` are the same complaint about two shapes."""
    faults = [
        Fault(
            stage="contract",
            quantity="completes",
            holds=partial(of_size, size=size),
            status="crash",
            reason=f"shape [{size}, 1] is invalid",
        )
        for size in (31, 33)
    ]
    assert len(found(data.make(cases=LINEAR, per_case=60, faults=faults))) == 1


def test_failures_without_a_pattern_are_said_to_have_none() -> None:
    seen: dict[str, bool] = {}

    def unlucky(config: data.Config, _: str) -> bool:
        key = str(sorted(config.items()))
        return seen.setdefault(key, sum(map(ord, key)) % 7 == 0)

    fault = Fault(stage="compute", quantity="output", holds=unlucky, factor=9.0)
    [cause] = found(data.make(cases=LINEAR, per_case=60, faults=[fault]))

    assert cause.trigger is None
    assert ", under no single condition: " in telling.sentence(cause)
    assert "No single condition" in telling.evidence(cause)


def test_what_fails_only_beside_another_of_its_stage_is_no_cause_of_its_own() -> None:
    """The weight is wrong in half of the cases in which the scales are: one cause, which names both."""
    faults = [
        Fault(stage="encode", quantity="scales", holds=lambda config, _: config["blocksize"] >= 512, factor=9.0),
        Fault(stage="encode", quantity="codes", holds=lambda config, _: config["blocksize"] >= 2048, factor=9.0),
    ]
    [cause] = found(data.make(cases=LINEAR, per_case=60, faults=faults))

    assert cause.quantities == ("scales",)
    assert causes.checked(cause) == ("scales", "codes")
    assert "stored codes (encode, " in telling.consequences(cause)


@pytest.mark.parametrize(
    ("bad", "said"), [(("cpu", "cpu:avx2"), "On every device."), (("cpu",), ""), (("cpu", "cuda"), "On cpu and cuda.")]
)
def test_it_is_said_on_which_devices(bad: tuple[str, ...], said: str) -> None:
    """Once: where the sentence names the only device, nothing is added."""
    devices = ["cpu", "cpu:avx2", *(["cuda"] if "cuda" in bad else [])]
    fault = Fault(stage="compute", quantity="output", holds=lambda _, device: device in bad, factor=9.0)
    [cause] = found(data.make(cases=LINEAR, per_case=20, devices=devices, faults=[fault]))

    assert telling.where(cause, devices) == said
    assert said or " on cpu " in telling.sentence(cause)


def test_a_nan_storm_is_called_what_it_is() -> None:
    sentences = [telling.sentence(cause) for cause in found(data.nan_storm(per_case=5))]
    assert sentences
    assert all("is not a number in every case" in sentence for sentence in sentences)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_failing_pair_belongs_to_exactly_one_first_stage(seed: int) -> None:
    """No failure is lost, and each (case, device) is counted for one stage only."""
    run = data.failing(seed=seed, per_case=20)
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    broken = prepared.rows(prepared.columns["failing"])
    stages: dict[tuple[str, str], set[str]] = {}
    for cause in causes.find(prepared):
        for pair in cause.members:
            stages.setdefault(pair, set()).add(cause.stage)

    assert set(stages) == set(zip(broken["id"], broken["device"], strict=True))
    assert all(len(names) == 1 for names in stages.values())


def test_two_hundred_failures_of_three_causes_are_three_causes() -> None:
    """A crash, wrong codes and a scale fault, each in many shapes: one group each, and every failure in its own."""
    faults = [
        Fault(
            stage="contract",
            quantity="completes",
            holds=lambda config, _: config["in_features"] <= 64,
            status="crash",
            reason="SIGSEGV; at modules.py, line 12",
        ),
        Fault(
            stage="encode",
            quantity="codes",
            holds=lambda config, _: 64 < config["in_features"] <= 256,
            factor=9.0,
        ),
        Fault(
            stage="compute",
            quantity="output",
            holds=lambda config, _: config["in_features"] > 256,
            factor=9.0,
            slope=0.01,
        ),
    ]
    groups = found(data.make(cases={"linear4bit-nf4-eval": "Linear4bit"}, per_case=100, faults=faults))

    assert sorted((group.stage, group.quantities) for group in groups) == [
        ("compute", ("output",)),
        ("contract", ("completes",)),
        ("encode", ("codes",)),
    ]
    assert sum(group.failing for group in groups) == 200
