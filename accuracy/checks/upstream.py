"""Checks of upstream's behaviours: its own published tolerances, and our bounds on the layers inside its networks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from accuracy.case import Stage
from accuracy.checks import four_bit, int8
from accuracy.checks.setting import Setting, torch_dtype
from accuracy.comparison import Comparison, Model, exact
from accuracy.inputs import LinearInputs
from accuracy.limits import Published

Check: TypeAlias = Callable[[Setting], Iterator[Comparison]]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a quantized network gave, and the unquantized one beside it; each entry of the first dimension by itself."""

    actual: Tensor
    reference: Tensor


@dataclass(frozen=True, kw_only=True)
class Inner:
    """One layer inside a network: the tensors that it had there, and its parts as a subject would yield them."""

    inputs: LinearInputs
    parts: Mapping[str, Any]


def quantization_published(setting: Setting) -> Iterator[Comparison]:
    """What the case holds beside an unquantized network, by the tolerances that upstream published."""
    for tolerance in setting.published:
        if setting.has(tolerance.part):
            yield _within(tolerance, setting.parts[tolerance.part])


def encode_8bit(setting: Setting) -> Iterator[Comparison]:
    """Codes and scales of each `Linear8bitLt` inside the network, named after it."""
    yield from _inside(setting, int8.encode)


def encode_4bit(setting: Setting) -> Iterator[Comparison]:
    """Codes and scales of each `Linear4bit` inside the network, named after it."""
    yield from _inside(setting, four_bit.encode)


def compute_8bit(setting: Setting) -> Iterator[Comparison]:
    """Outputs and gradients of each `Linear8bitLt` inside the network, named after it."""
    yield from _inside(setting, int8.compute)


def compute_4bit(setting: Setting) -> Iterator[Comparison]:
    """Outputs and gradients of each `Linear4bit` inside the network, named after it."""
    yield from _inside(setting, four_bit.compute)


def encode_calls(setting: Setting) -> Iterator[Comparison]:
    """Codes and scales of a `Linear8bitLt` that was moved and cast, against the weight that it was quantized from."""
    if setting.has("original"):
        yield from int8.encode(replace(setting, inputs=replace(setting.inputs, weight=setting.parts["original"])))


def compute_calls(setting: Setting) -> Iterator[Comparison]:
    """The outputs of all calls of a `Linear8bitLt`, each with the outlier columns of its own input."""
    if not setting.has("stored", "outputs"):
        return
    calls = [
        comparison
        for x, output in zip(setting.inputs.x, setting.parts["outputs"], strict=True)
        for comparison in int8.compute(
            replace(
                setting,
                inputs=replace(setting.inputs, x=x),
                parts={"stored": setting.parts["stored"], "output": output},
            )
        )
    ]
    yield _stacked(calls)


def invariant_restored(setting: Setting) -> Iterator[Comparison]:
    """The output after a state was restored is that of the layer that never lost it."""
    if setting.has("untouched", "output"):
        yield Comparison(
            stage=Stage.INVARIANT,
            quantity="restored",
            actual=setting.parts["output"],
            dtype=torch_dtype(setting.config.dtype),
            model=exact(setting.parts["untouched"].double()),
            basis="invariant",
            paired=False,
        )


def _within(tolerance: Published, pair: Beside) -> Comparison:
    """|y - r| <= atol + of_mean·mean|r| + rtol·|r|, in each entry of the first dimension by itself."""
    expected = pair.reference.double()
    magnitude = expected.abs()
    mean = magnitude.flatten(1).mean(dim=1).reshape(-1, *[1] * (expected.dim() - 1))
    share = int(tolerance.outlier_share * expected[0].numel())
    return Comparison(
        stage=Stage.QUANTIZATION,
        quantity=f"published_{tolerance.quantity}",
        actual=pair.actual,
        dtype=pair.actual.dtype,
        model=Model(
            expected=expected,
            bound=tolerance.atol + tolerance.of_mean * mean + tolerance.rtol * magnitude,
            scale=magnitude,
        ),
        basis="upstream",
        outliers=tolerance.outliers + share,
    )


def _inside(setting: Setting, check: Check) -> Iterator[Comparison]:
    """What `check` compares of each layer inside the network. Structure is looked for in its own cases alone."""
    for name, inner in setting.parts.items():
        if isinstance(inner, Inner):
            *batch, in_features = inner.inputs.x.shape
            shape = {"batch": tuple(batch), "in_features": in_features, "out_features": len(inner.inputs.weight)}
            config = replace(setting.config, **shape)
            for comparison in check(replace(setting, config=config, inputs=inner.inputs, parts=inner.parts)):
                named = f"{name}_{comparison.quantity}"
                paired = comparison.stage is Stage.ENCODE
                yield replace(comparison, quantity=named, paired=paired, least_effect=None)


def _stacked(calls: list[Comparison]) -> Comparison:
    """Comparisons of one quantity as one. Its residuals have no common factors: there is no test of their structure.

    A model of lower precision explains the whole if it explains every call.
    """

    def lower() -> Iterator[tuple[str, Model]]:
        tried = [call.lower() for call in calls if call.lower is not None]
        for versions in zip(*tried, strict=True):
            yield versions[0][0], _stacked_models([model for _, model in versions])

    return replace(
        calls[0],
        actual=torch.stack([call.actual for call in calls]),
        model=_stacked_models([call.model for call in calls]),
        lower=None if calls[0].lower is None else lower,
        least_effect=None,
    )


def _stacked_models(models: list[Model]) -> Model:
    return Model(
        expected=torch.stack([model.expected for model in models]),
        bound=torch.stack([model.bound for model in models]),
        scale=torch.stack([model.scale for model in models]),
        overflow=models[0].overflow,
    )
