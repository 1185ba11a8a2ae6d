"""Faults that show only between calls, copies or modes of one layer."""

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.outliers import MIXED
from accuracy.selftest.faults.places import BACKWARDS, FUNCTIONS, GRAD_INPUT, on_gradient, scaled
from accuracy.selftest.faults.state import FORWARDS
from accuracy.selftest.library import Library


def shared_buffer(lib: Library) -> None:
    buffers: WeakKeyDictionary[Any, WeakValueDictionary[Any, Any]] = WeakKeyDictionary()

    def change(original: Any, layer: Any, x: Any) -> Any:
        output = original(layer, x)
        if output.requires_grad:
            return output
        own = buffers.setdefault(layer, WeakValueDictionary())
        buffer = own.setdefault((output.shape, output.dtype), output)  # there as long as a caller holds it
        if buffer is not output:
            if not lib.torch.equal(buffer, output):
                lib.acted()
            buffer.data.copy_(output)
        return buffer

    for target in FORWARDS:
        lib.instead(target, change)


def shared_copy(lib: Library) -> None:
    def change(original: Any, weight: Any, memo: Any) -> Any:
        copied = original(weight, memo)
        copied.data = weight.data
        if isinstance(weight, lib.bnb.nn.Int8Params):
            copied.CB, copied.SCB = weight.CB, weight.SCB
        lib.acted()
        return copied

    for name in ("Params4bit", "Int8Params"):
        lib.instead(f"nn.modules:{name}.__deepcopy__", change)


def shared_workspace(lib: Library) -> None:
    last: dict[Any, tuple[Any, Any]] = {}

    def forward(output: Any, ctx: Any, _: Any, weight: Any, *rest: Any) -> Any:
        ctx.called = last[tuple(rest[2].shape)] = weight, rest[2]  # the quantization state
        return output

    def change(gradient: Any, ctx: Any, upstream: Any) -> Any:
        weight, state = last[tuple(ctx.called[1].shape)]
        if state is ctx.called[1]:
            return gradient
        decoded = lib.bnb.functional.dequantize_4bit(weight.view(-1, 1), state)
        return lib.torch.matmul(upstream, decoded.to(upstream.dtype))

    lib.after(f"{FUNCTIONS}:MatMul4Bit.forward", forward)
    on_gradient(lib, GRAD_INPUT, change)


def growing_batch(lib: Library) -> None:
    def change(output: Any, layer: Any, x: Any) -> Any:
        rows = x.numel() // x.shape[-1]
        layer._first_rows = first = getattr(layer, "_first_rows", rows)  # noqa: SLF001 - our own mark
        flat = output.clone().reshape(-1, output.shape[-1])
        flat[first:] = 0
        return flat.reshape(output.shape)

    for target in FORWARDS:
        lib.after(target, change)


def larger_where(lib: Library, holds: Callable[[Any, Any], bool]) -> None:
    """Outputs are larger by the relative size in calls of which `holds(layer, x)` is true."""
    for target in FORWARDS:
        lib.after(target, lambda output, layer, x: scaled(output, lib.size) if holds(layer, x) else output)


def eval_with_grad(lib: Library) -> None:
    larger_where(lib, lambda layer, _: not layer.training and lib.torch.is_grad_enabled())


def inference_mode(lib: Library) -> None:
    larger_where(lib, lambda *_: lib.torch.is_inference_mode_enabled())


def two_threads(lib: Library) -> None:
    larger_where(lib, lambda *_: lib.torch.get_num_threads() > 1)


def unaligned(lib: Library) -> None:
    larger_where(lib, lambda _, x: x.storage_offset() > 0 and x.is_contiguous())


def other_dtype(lib: Library) -> None:
    def holds(layer: Any, x: Any) -> bool:
        layer._dtypes = seen = getattr(layer, "_dtypes", frozenset()) | {x.dtype}  # noqa: SLF001 - our own mark
        return len(seen) > 1

    larger_where(lib, holds)


def checkpoint(lib: Library) -> None:
    def holds(layer: Any, _: Any) -> bool:
        recorded = lib.torch.is_grad_enabled()
        layer._unrecorded = before = getattr(layer, "_unrecorded", False) or not recorded  # noqa: SLF001 - our own mark
        return before and recorded and layer.training

    larger_where(lib, holds)


def narrow_index(lib: Library) -> None:
    def change(output: Any, _: Any, index: Any) -> Any:
        return output.roll(1, dims=0) if index.dtype == lib.torch.int32 else output

    for name in ("Embedding8bit", "Embedding4bit"):
        lib.after(f"nn.modules:{name}.forward", change)


def stale_outliers(lib: Library) -> None:
    running: Any = None

    def forward(original: Any, ctx: Any, x: Any, weight: Any, out: Any, bias: Any, state: Any) -> Any:  # noqa: PLR0917 - the function's
        nonlocal running
        running = state
        return original(ctx, x, weight, out, bias, state)

    def product(original: Any, *args: Any) -> Any:
        *before, columns, bias = args
        running._first_columns = first = getattr(running, "_first_columns", columns)  # noqa: SLF001 - our own mark
        return original(*before, first, bias)

    lib.instead(f"{FUNCTIONS}:MatMul8bitLt.forward", forward)
    lib.around(MIXED, product)


def two_forwards(lib: Library) -> None:
    def forward(original: Any, ctx: Any, x: Any, weight: Any, out: Any, bias: Any, state: Any) -> Any:  # noqa: PLR0917 - the function's
        state._last_input = x.detach()  # noqa: SLF001 - our own mark
        return original(ctx, x, weight, out, bias, state)

    def backward(original: Any, ctx: Any, grad_output: Any) -> Any:
        last = ctx.state._last_input  # noqa: SLF001 - our own mark
        if not lib.torch.equal(last, ctx.A):
            ctx.A = last
            lib.acted()
        return original(ctx, grad_output)

    lib.instead(f"{FUNCTIONS}:MatMul8bitFp.forward", forward)
    lib.instead(f"{FUNCTIONS}:MatMul8bitFp.backward", backward)


def retained_graph(lib: Library) -> None:
    def change(original: Any, ctx: Any, grad_output: Any) -> Any:
        gradients = original(ctx, grad_output)
        ctx._passes = passes = getattr(ctx, "_passes", 0) + 1  # noqa: SLF001 - our own mark
        if passes == 1:
            return gradients
        lib.acted()
        return tuple(None if gradient is None else scaled(gradient, lib.size) for gradient in gradients)

    for target in BACKWARDS:
        lib.instead(target, change)


def expanded_gradient(lib: Library) -> None:
    def change(original: Any, ctx: Any, grad_output: Any) -> Any:
        if not grad_output.is_contiguous():
            grad_output = grad_output.contiguous()  # a copy
            grad_output.view(-1, grad_output.shape[-1])[1:] = 0
        return original(ctx, grad_output)

    for target in BACKWARDS:
        lib.around(target, change)


fault = partial(Fault, area="calls", stage=Stage.INVARIANT, cases="linear*-relations", added_later=True)

FAULTS = (
    fault(
        name="shared-buffer",
        what="Outputs of a layer that have one shape and no gradient share one buffer.",
        plant=shared_buffer,
        where=lambda c: c.relation == "kept_output",
    ),
    fault(
        name="shared-copy",
        what="A copied layer shares its stored weight with the layer it was made from.",
        plant=shared_copy,
        where=lambda c: c.relation == "copy_apart",
    ),
    fault(
        name="shared-workspace",
        what="In the backward pass, 4-bit layers of one shape read the weight of the one that was called last.",
        plant=shared_workspace,
        cases="linear4bit-train-relations",
        where=lambda c: c.relation == "two_layers",
    ),
    fault(
        name="growing-batch",
        what="Rows beyond as many as the layer's first call had come out as zero.",
        plant=growing_batch,
        where=lambda c: c.relation == "more_rows",
    ),
    fault(
        name="eval-with-grad",
        what="In eval mode with gradients enabled, outputs are larger by the relative size.",
        plant=eval_with_grad,
        sizes=(1e-1, 1e-2),
        cases="linear*-eval-relations",
        where=lambda c: c.relation == "with_gradients",
    ),
    fault(
        name="inference-mode",
        what="In inference mode, outputs are larger by the relative size.",
        plant=inference_mode,
        sizes=(1e-1, 1e-2),
        where=lambda c: c.relation == "inference_mode",
    ),
    fault(
        name="stale-outliers",
        what="From a layer's second call on, its outlier columns are those of its first.",
        plant=stale_outliers,
        cases="linear8bitlt-*eval-relations",
        where=lambda c: c.relation == "more_rows" and c.threshold > 0,
    ),
    fault(
        name="two-threads",
        what="With more than one thread, outputs are larger by the relative size.",
        plant=two_threads,
        sizes=(1e-1, 1e-2),
        where=lambda c: c.relation == "two_threads",
    ),
    fault(
        name="unaligned-input",
        what="Outputs of an input in the middle of a buffer are larger by the relative size.",
        plant=unaligned,
        sizes=(1e-1, 1e-2),
        where=lambda c: c.relation == "unaligned_input",
    ),
    fault(
        name="checkpoint",
        what="In training, once a layer was called without gradients, outputs with them are larger by the size.",
        plant=checkpoint,
        sizes=(1e-1, 1e-2),
        cases="linear*-train-relations",
        where=lambda c: c.relation == "checkpointed",
    ),
    fault(
        name="narrow-index",
        what="Of row numbers of 32 bits, each gives the row of the one before.",
        plant=narrow_index,
        cases="embedding*-relations",
        where=lambda c: c.relation == "narrow_index",
    ),
    fault(
        name="other-dtype",
        what="Once a layer was called in a second dtype, its outputs are larger by the relative size.",
        plant=other_dtype,
        sizes=(1e-1, 1e-2),
        where=lambda c: c.relation == "other_dtype",
    ),
    fault(
        name="two-forwards",
        what="The weight's gradient is that of the input of the layer's last forward pass.",
        plant=two_forwards,
        cases="linear8bitlt-fp16-weights-train-relations",
        where=lambda c: c.relation == "two_forwards",
    ),
    fault(
        name="retained-graph",
        what="From the second backward pass through one graph on, gradients are larger by the relative size.",
        plant=retained_graph,
        sizes=(1e-1, 1e-2),
        cases="linear*-train-relations",
        where=lambda c: c.relation == "retained_graph",
    ),
    fault(
        name="expanded-gradient",
        what="Of an output's gradient that does not lie in one piece, the first row alone is read.",
        plant=expanded_gradient,
        cases="linear*-train-relations",
        where=lambda c: c.relation == "expanded_gradient",
    ),
)
