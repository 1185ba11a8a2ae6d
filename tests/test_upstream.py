"""Upstream's behaviours: each row is kept where no finding stands against it, and a planted breach is caught."""

import copy
import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from layers import seen
from torch import nn

from accuracy.behaviour import Linear8bitCalls, Linear8bitNetwork, Linear8bitTraining
from accuracy.case import Config
from accuracy.cases import CASES

Patch = Callable[[pytest.MonkeyPatch], None]
MODULES = bnb.nn.modules
UPSTREAM = {name: case for name, case in CASES.items() if case.row is not None}


def point(name: str, number: int = 0, **changed: Any) -> Any:
    """A published point of the case, with as few calls as show what is asked, or with other fields."""
    config: Any = CASES[name].published[number]
    shorter = {"steps": min(config.steps, 3)} if hasattr(config, "steps") else {}
    return replace(config, **{**shorter, **changed})


INT8 = "upstream-01-inference-linear8bitlt"
TRAINED = "upstream-02-accumulated-gradient-linear8bitlt"
NETWORK = "upstream-03-without-fp16-weights-linear8bitlt"
BIAS_8, BIAS_4 = "upstream-04-bias-linear8bitlt", "upstream-04-bias-linear4bit"
BACKPROP_8, BACKPROP_4 = "upstream-05-backprop-linear8bitlt", "upstream-05-backprop-linear4bit"
LOSSLESS_8, LOSSLESS_4 = "upstream-06-lossless-embedding8bit", "upstream-06-lossless-embedding4bit"
ERROR_8, ERROR_4 = "upstream-07-error-embedding8bit", "upstream-07-error-embedding4bit"
WARNINGS, WARNING = "upstream-08-warnings-linear4bit", "upstream-09-warning-embedding4bit"
ROWS_STATE, LINEAR_STATE = "upstream-10-state-embedding4bit", "upstream-11-state-linear4bit"
DICT_8, DICT_4 = "upstream-12-state-dict-embedding8bit", "upstream-12-state-dict-embedding4bit"

# The library's findings on the CPU keep three published points from passing: F10 (int8 output in eval), F13 (inputs
# of rank 3 in training) and F23 (double quantization). The points beside them show that the rest is as published.
HEALTHY: tuple[tuple[str, Config], ...] = (
    (TRAINED, point(TRAINED, batch=(128,), steps=15)),
    *((NETWORK, point(NETWORK, number)) for number in range(6)),
    *((name, point(name, number)) for name in (BIAS_8, BIAS_4) for number in (0, 1)),
    (BACKPROP_8, point(BACKPROP_8, steps=100)),
    (BACKPROP_4, point(BACKPROP_4, steps=100)),
    *((name, point(name, number)) for name in (LOSSLESS_8, ERROR_8) for number in range(6)),
    *((name, point(name, number)) for name in (LOSSLESS_4, ERROR_4) for number in (0, 7, 14, 23)),
    *((name, point(name)) for name in (WARNINGS, WARNING, ROWS_STATE, LINEAR_STATE, DICT_8, DICT_4)),
)


@pytest.mark.parametrize(("case", "config"), HEALTHY)
def test_a_published_point_is_kept(case: str, config: Config) -> None:
    """Every fact and every tolerance of it: without that, a planted breach would prove nothing."""
    result = seen(case, config, origin="published")

    assert result.failing == []
    assert {f"contract/{name}" for name in CASES[case].contract(config, "cpu")} <= set(result.rows)
    assert not any(row["status"] in {"not_run", "not_supported"} for row in result.rows.values())


def after(owner: Any, name: str, change: Callable[..., Any]) -> Patch:
    """A function or method of the library whose result is `change(result, *arguments)`."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **options: change(original(*args, **options), *args))

    return patch


def returning(owner: Any, name: str, change: Callable[[Any, Any], None]) -> Patch:
    """A method of a layer that also does `change(layer, result)` before it returns."""

    def changed(result: Any, layer: Any, *_: Any) -> Any:
        change(layer, result)
        return result

    return after(owner, name, changed)


def codes_dropped(layer: Any, _: Any) -> None:
    layer.state = copy.copy(layer.state)
    layer.state.CB = None


def columns_dropped(layer: Any, _: Any) -> None:
    layer.state.idx = None


def bias_back_in_float32(layer: Any, _: Any) -> None:
    layer.bias.data = layer.bias.data.float()


def bias_from_nowhere(layer: Any, _: Any) -> None:
    layer.bias = nn.Parameter(torch.zeros(layer.out_features)) if layer.bias is None else layer.bias


def state_dropped(layer: Any, _: Any) -> None:
    layer.weight.quant_state = None


def another_state_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that comes back has scales twice as large."""
    original = MODULES.fix_4bit_weight_quant_state_from_module

    def restore(layer: Any) -> None:
        lost = layer.weight.quant_state is None
        original(layer)
        if lost:
            layer.weight.quant_state.absmax = layer.weight.quant_state.absmax * 2

    monkeypatch.setattr(MODULES, "fix_4bit_weight_quant_state_from_module", restore)


def not_quantized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight that is moved and cast like any other."""
    monkeypatch.setattr(MODULES.Int8Params, "_quantize", torch.Tensor.to)


def gradient_of(owner: Any, place: int, factor: float) -> Patch:
    """One of the gradients that a function of the library gives back, times a factor."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = owner.backward

        def backward(*args: Any) -> Any:
            gradients = list(original(*args))
            gradients[place] = gradients[place] * factor
            return tuple(gradients)

        monkeypatch.setattr(owner, "backward", staticmethod(backward))

    return patch


def large_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam moves the weights of quantized layers a thousand times as far as those of the others."""
    original = bnb.optim.Adam32bit.step

    def step(self: Any) -> Any:
        for group in self.param_groups:
            group["lr"] *= 1000 if any(isinstance(weight, bnb.nn.Int8Params) for weight in group["params"]) else 1
        return original(self)

    monkeypatch.setattr(bnb.optim.Adam32bit, "step", step)


def logger_says(times: int, *, every: int = 1) -> Patch:
    """Each `every`-th message of the layers is logged so many times."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original, calls = MODULES.logger.warning, iter(range(10**6))

        def warning(*args: Any) -> None:
            for _ in range(times if next(calls) % every == 0 else 1):
                original(*args)

        monkeypatch.setattr(MODULES.logger, "warning", warning)

    return patch


def one_more_message(layer: Any, _: Any) -> None:
    logging.getLogger("bitsandbytes.nn.modules").warning("%s is deprecated", type(layer).__name__)


def not_refused(owner: Any) -> Patch:
    return lambda monkeypatch: monkeypatch.delattr(owner, "_save_to_state_dict")


def other_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: Any) -> None:
        raise ValueError("not implemented")

    monkeypatch.setattr(MODULES.Embedding8bit, "_save_to_state_dict", save)


INT8_FORWARD = (MODULES.Linear8bitLt, "forward")
FOUR_BIT_FORWARD = (MODULES.Linear4bit, "forward")
LOOKUP_8, LOOKUP_4 = (MODULES.Embedding8bit, "forward"), (MODULES.Embedding4bit, "forward")
EIGHT_BIT_GRADIENT, FOUR_BIT_GRADIENT = bnb.autograd._functions.MatMul8bitFp, bnb.autograd._functions.MatMul4Bit

BREACHES: dict[str, tuple[str, Config, Patch, set[str]]] = {
    "01 weight left in fp16": (
        INT8, point(INT8), not_quantized, {"contract/weight_after_move", "contract/completes"}
    ),
    "01 codes lost": (INT8, point(INT8), returning(*INT8_FORWARD, codes_dropped), {"contract/codes"}),
    "01 output in float32": (
        INT8, point(INT8), after(*INT8_FORWARD, lambda y, *_: y.float()), {"contract/output_place"}
    ),
    "01 output 1 % too large": (
        INT8, point(INT8, bias=False), after(*INT8_FORWARD, lambda y, *_: y * 1.01), {"compute/output"}
    ),
    "02 codes lost": (
        TRAINED, point(TRAINED, batch=(128,)), returning(*INT8_FORWARD, codes_dropped), {"contract/codes"}
    ),
    "02 weight gradient beyond the tolerance": (
        TRAINED, point(TRAINED, batch=(128,)), gradient_of(EIGHT_BIT_GRADIENT, 1, 100.0),
        {"quantization/published_grad_weight", "compute/second_grad_weight"},
    ),
    "02 weight gradient 1 % too large": (
        TRAINED, point(TRAINED, batch=(128,)), gradient_of(EIGHT_BIT_GRADIENT, 1, 1.01),
        {"compute/second_grad_weight"},
    ),
    "02 optimizer steps too far": (
        TRAINED, point(TRAINED, batch=(128,), accumulate=2), large_steps, {"quantization/published_weight_after_step"}
    ),
    "03 weight left in fp16": (
        NETWORK, point(NETWORK), not_quantized, {"contract/weight_after_move", "contract/completes"}
    ),
    "03 outlier columns lost": (
        NETWORK, point(NETWORK, 1, mode="eval"), returning(*INT8_FORWARD, columns_dropped), {"contract/outlier_columns"}
    ),
    "03 output in float32": (
        NETWORK, point(NETWORK), after(*INT8_FORWARD, lambda y, *_: y.float()),
        {"contract/output_place", "compute/second_output", "compute/second_grad_input"},
    ),
    "03 gradient cut": (
        NETWORK, point(NETWORK), after(*INT8_FORWARD, lambda y, *_: y.detach()),
        {"contract/output_requires_grad", "contract/completes"},
    ),
    "03 gradient 10 % too large": (
        NETWORK, point(NETWORK, 2), gradient_of(EIGHT_BIT_GRADIENT, 0, 1.05),
        {
            "quantization/published_grad_input", "quantization/published_grad_input_most",
            "compute/first_grad_input", "compute/second_grad_input",
        },
    ),
    "04 int8, bias stays float32": (
        BIAS_8, point(BIAS_8), returning(*INT8_FORWARD, bias_back_in_float32), {"contract/bias_after_calls"}
    ),
    "04 int8, a bias from nowhere": (
        BIAS_8, point(BIAS_8, 1), returning(*INT8_FORWARD, bias_from_nowhere), {"contract/bias_after_calls"}
    ),
    "04 4 bits, bias stays float32": (
        BIAS_4, point(BIAS_4), returning(*FOUR_BIT_FORWARD, bias_back_in_float32), {"contract/bias_after_calls"}
    ),
    "04 4 bits, a bias from nowhere": (
        BIAS_4, point(BIAS_4, 1), returning(*FOUR_BIT_FORWARD, bias_from_nowhere), {"contract/bias_after_calls"}
    ),
    "05 int8, gradient beyond the int8 tolerance": (
        BACKPROP_8, point(BACKPROP_8), gradient_of(EIGHT_BIT_GRADIENT, 0, 3.0),
        {"quantization/published_grad_weight", "quantization/published_grad_bias", "compute/kbit_grad_input"},
    ),
    "05 4 bits, gradient beyond the tolerance": (
        BACKPROP_4, point(BACKPROP_4), gradient_of(FOUR_BIT_GRADIENT, 0, 10.0),
        {"quantization/published_grad_weight", "quantization/published_grad_bias", "compute/kbit_grad_input"},
    ),
    "05 4 bits, gradient 1 % too large": (
        BACKPROP_4, point(BACKPROP_4), gradient_of(FOUR_BIT_GRADIENT, 0, 1.01), {"compute/kbit_grad_input"}
    ),
    "06 8 bits, 1e-4 off": (
        LOSSLESS_8, point(LOSSLESS_8), after(*LOOKUP_8, lambda y, *_: y * (1 + 1e-4)), {"quantization/published_rows"}
    ),
    "06 4 bits, 1e-4 off": (
        LOSSLESS_4, point(LOSSLESS_4), after(*LOOKUP_4, lambda y, *_: y * (1 + 1e-4)), {"quantization/published_rows"}
    ),
    "06 8 bits, output in float16": (
        LOSSLESS_8, point(LOSSLESS_8), after(*LOOKUP_8, lambda y, *_: y.half()),
        {"contract/output_place", "contract/output_form"},
    ),
    "07 8 bits, 0.06 off": (
        ERROR_8, point(ERROR_8), after(*LOOKUP_8, lambda y, *_: y + 0.06), {"quantization/published_rows"}
    ),
    "07 4 bits, 0.3 off": (
        ERROR_4, point(ERROR_4), after(*LOOKUP_4, lambda y, *_: y + 0.3), {"quantization/published_rows"}
    ),
    "08 warnings lost": (
        WARNINGS, point(WARNINGS), logger_says(0),
        {"contract/slow_inference", "contract/slow_inference_or_training", "contract/messages"},
    ),
    "08 one warning of ten lost": (
        WARNINGS, point(WARNINGS), logger_says(0, every=10),
        {"contract/slow_inference", "contract/slow_inference_or_training"},
    ),
    "08 warnings doubled": (
        WARNINGS, point(WARNINGS), logger_says(2), {"contract/slow_inference", "contract/slow_inference_or_training"}
    ),
    "08 a third message": (
        WARNINGS, point(WARNINGS), returning(*FOUR_BIT_FORWARD, one_more_message), {"contract/messages"}
    ),
    "09 warning lost": (WARNING, point(WARNING), logger_says(0), {"contract/slow_inference", "contract/messages"}),
    "09 warning doubled": (WARNING, point(WARNING), logger_says(2), {"contract/slow_inference"}),
    "10 state not restored": (
        ROWS_STATE, point(ROWS_STATE), returning(*LOOKUP_4, state_dropped), {"contract/quant_state"}
    ),
    "10 another state restored": (
        ROWS_STATE, point(ROWS_STATE), another_state_restored, {"invariant/restored"}
    ),
    "11 state not restored": (
        LINEAR_STATE, point(LINEAR_STATE), returning(*FOUR_BIT_FORWARD, state_dropped), {"contract/quant_state"}
    ),
    "11 another state restored": (
        LINEAR_STATE, point(LINEAR_STATE, nested=False), another_state_restored, {"invariant/restored"}
    ),
    "12 8 bits, a state dict": (
        DICT_8, point(DICT_8), not_refused(MODULES.Embedding8bit),
        {"contract/state_dict_before_move", "contract/state_dict_after_move", "contract/state_dict_inside_a_model"},
    ),
    "12 4 bits, a state dict": (
        DICT_4, point(DICT_4), not_refused(MODULES.Embedding4bit),
        {"contract/state_dict_before_move", "contract/state_dict_after_move", "contract/state_dict_inside_a_model"},
    ),
    "12 another exception": (
        DICT_8, point(DICT_8), other_exception,
        {"contract/state_dict_before_move", "contract/state_dict_after_move", "contract/state_dict_inside_a_model"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREACHES)
def test_a_planted_breach_is_caught_by_its_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by nothing else than what it breaks, so that the cell names it."""
    case, config, patch, broken = BREACHES[name]
    before = set(seen(case, config, origin="published").failing)
    patch(monkeypatch)
    result = seen(case, config, origin="published")

    assert set(result.failing) - before == broken
    assert result.verdict == "do-not-release"
    assert CASES[case].row == int(name[:2])


def test_every_row_has_a_planted_breach() -> None:
    assert {int(name[:2]) for name in BREACHES} == set(range(1, 13))


def test_an_error_between_the_two_tolerances_of_backprop_fails_for_int8_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream asks isinstance() of the class, so its own test would let 0.01 pass where it publishes 0.008."""
    shift = 0.010

    def patch(owner: Any) -> None:
        original = owner.backward

        def backward(context: Any, upstream: Any) -> Any:
            gradient, *others = original(context, upstream)
            return (gradient + shift / len(upstream), *others)

        monkeypatch.setattr(owner, "backward", staticmethod(backward))

    patch(EIGHT_BIT_GRADIENT)
    patch(FOUR_BIT_GRADIENT)
    int8 = seen(BACKPROP_8, point(BACKPROP_8), origin="published")
    four = seen(BACKPROP_4, point(BACKPROP_4), origin="published")

    assert "quantization/published_grad_bias" in int8.failing
    assert "quantization/published_grad_bias" not in four.failing


def test_warnings_that_come_as_warnings_are_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in releases up to 0.49, where Python's filter then made one of ten alike."""

    def warning(message: str, *_: Any) -> None:
        warnings.warn(message, UserWarning, stacklevel=2)
        warnings.filterwarnings("ignore", message=f".*{message[-20:]}")

    monkeypatch.setattr(MODULES.logger, "warning", warning)

    assert seen(WARNINGS, point(WARNINGS), origin="published").failing == []
    assert seen(WARNING, point(WARNING), origin="published").failing == []


def test_an_optimizer_that_does_not_exist_here_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library's own words, in each cell that it leaves open."""

    def step(*_: Any) -> None:
        raise NotImplementedError("optimizer_update_32bit is not available for this device")

    monkeypatch.setattr(bnb.optim.Adam32bit, "step", step)
    result = seen(TRAINED, point(TRAINED, batch=(128,), accumulate=1), origin="published")

    assert result.failing == []
    for name in ("contract/completes", "contract/codes"):
        assert result.rows[name]["status"] == "not_supported"
        assert "not available for this device" in result.rows[name]["reason"]
    assert result.rows["contract/weight_after_move"]["status"] == "ok"


def test_orders_of_moves_are_made_as_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`to` reaches the weight as a device, `cast` as a dtype, in the order of the words."""
    made: list[str] = []
    original: Any = nn.Module._apply

    def applied(self: Any, *args: Any, **options: Any) -> Any:
        if isinstance(self, MODULES.Linear8bitLt):
            made.append("move")
        return original(self, *args, **options)

    monkeypatch.setattr(nn.Module, "_apply", applied)
    seen(INT8, point(INT8, moves="to cast to"))

    assert made == ["move"] * 3


@pytest.mark.parametrize(
    ("config", "device", "columns"),
    [
        (point(NETWORK, 1), "cpu", "not set"),
        (point(NETWORK, 1), "xpu", "not set"),
        (point(NETWORK, 1), "cuda", "set"),
        (point(NETWORK, 1, mode="eval"), "cpu", "set"),
        (point(NETWORK, 0), "cuda", "not set"),
    ],
)
def test_outlier_columns_are_wanted_where_activations_are_quantized(
    config: Linear8bitNetwork, device: str, columns: str
) -> None:
    """As the table has it: with a threshold, off cpu and xpu; in inference there too."""
    assert CASES[NETWORK].contract(config, device)["outlier_columns"] == columns


def test_configs_of_the_behaviours_know_the_shape_of_their_other_layer() -> None:
    """An MLP leads back to its input; a chain begins with an ordinary layer."""
    training: Linear8bitTraining = point(TRAINED, in_features=32, out_features=48)
    chain = point(BACKPROP_8)
    calls: Linear8bitCalls = point(INT8)

    assert (training.entering, training.other, training.leaving) == (32, (32, 48), 32)
    assert (chain.entering, chain.other, chain.leaving) == (36, (84, 36), 128)
    assert not hasattr(calls, "other")
