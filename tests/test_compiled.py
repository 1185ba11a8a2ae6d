"""What is compiled is what numpy defines, to the bit, and takes nothing that is not what it reads."""

import array
import math
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from vectors import bits, widths

from accuracy import decomposition, environment, sent, tally, totals
from accuracy.compiled import function
from accuracy.tally import Array
from accuracy.totals import Totals

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
EDGES = (0.0, -0.0, 1.0, -1.5, 5e-324, 2.0**-1022, 2.0**-149, 2.0**-126, 65504.0, 3.4e38, 1.7e308, -1.7e308)
SPECIAL = (math.inf, -math.inf, math.nan)
DIVISORS = (0.0, 5e-324, 1e-300, 2.0**-24, 1.0, 3.0, 1.7e308, math.inf, math.nan)

values = st.one_of(st.sampled_from(EDGES), st.floats(-1e6, 1e6), st.floats(allow_nan=False, allow_infinity=False))
divisors = st.one_of(st.sampled_from(DIVISORS), st.floats(0, 10))


def of() -> Callable[..., Any]:
    """What the build made; the project's own always does (a compiler is among what CONTRIBUTING.md asks for)."""
    assert totals.compiled is not None, "accuracy/_compiled.c was not compiled: make .venv/.installed says why"
    return totals.compiled


def assert_same(
    parts: tuple[Array, Array, Array, Array], *, below: float, dtype: torch.dtype, shape: tuple[int, ...] | None = None
) -> Totals | None:
    """Compiled, whatever the width, and in numpy the same; gives what they are."""
    of()
    shape = shape or parts[0].shape
    defined = totals.in_numpy(parts, shape, below=below, dtype=dtype)
    actual, expected, bound, scale = map(torch.from_numpy, parts)
    for _ in widths():
        for taken in (parts, (actual, expected, bound, scale)):
            found = totals.of(taken, shape, below=below, dtype=dtype)
            assert bits(found) == bits(defined)
            assert found is None or [*found.columns] == [*defined.columns]  # type: ignore[union-attr]  # they are equal
    return defined


@given(
    elements=st.lists(st.tuples(values, st.one_of(st.just(0.0), values), divisors, divisors), min_size=1, max_size=60),
    repeated=st.integers(1, 12),
    special=st.sampled_from((*EDGES, *SPECIAL)),
    below=st.sampled_from((math.inf, 65520.0, 3.4e38)),
    dtype=st.sampled_from(DTYPES),
    block=st.sampled_from((1, 7, 64, 200, tally.BLOCK)),
)
@example([(1.0, 0.5, math.nan, math.nan)], 1, 1.0, math.inf, torch.float16, 64)
@example([(0.0, 5e-324, 0.0, 0.0), (1.7e308, -1.7e308, 1.0, 1.0)], 5, 1.0, math.inf, torch.bfloat16, 7)
def test_they_are_the_totals_to_the_bit(  # noqa: PLR0917
    elements: list[tuple[float, float, float, float]],
    repeated: int,
    special: float,
    below: float,
    dtype: torch.dtype,
    block: int,
) -> None:
    """With zeros of either sign, subnormals, ties, 0 / 0, divisors of NaN, and one special value in whichever place."""
    expected, added, bound, scale = (np.tile(column, repeated) for column in np.array(elements).T)
    with np.errstate(over="ignore"):
        actual = expected + added
    for place in {0, actual.size // 2, actual.size - 1}:
        actual[place] = special
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tally, "BLOCK", block)
            assert_same((actual, expected, bound, scale), below=below, dtype=dtype)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 127, 128, 129, 600, tally.BLOCK - 1, tally.BLOCK, 3 * tally.BLOCK + 17])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_size_of_chunk_and_block(size: int, dtype: torch.dtype) -> None:
    """With runs of exact elements, so that chunks of either kind meet, over forty binades."""
    dice = np.random.default_rng(size)
    expected = dice.normal(size=size) * 2.0 ** dice.integers(-20, 20, size)
    actual = expected * (1 + dice.normal(size=size) * (np.arange(size) // 100 % 3 > 0) * 2.0**-9)
    bound, scale = (np.abs(expected) * factor + dice.choice([0.0, 1e-3], size) for factor in (2.0**-8, 2.0**-20))

    told = assert_same((actual, expected, bound, scale), below=math.inf, dtype=dtype)
    assert told
    assert sent.array(told.columns["abs_counts"]).sum() == size


def _flags() -> set[str]:
    """What the first processor says that it has."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return set(next(line for line in lines if line.startswith("flags")).split())


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="two is the widest here")
def test_a_processor_takes_as_many_at_once_as_it_holds() -> None:
    """Two on any; four with AVX2 and eight with AVX-512; never more than it is asked to, and two of any fewer."""
    flags = _flags()
    held = [2, *([4] if "avx2" in flags else []), *([8] if {"avx512f", "avx512dq", "avx512vl"} <= flags else [])]
    assert list(widths()) == held
    choose = function("width")
    assert choose is not None
    assert [choose(3), choose(0), choose(100), choose()] == [2, 2, held[-1], held[-1]]
    assert choose(5) == max(width for width in held if width <= 5)


@pytest.mark.parametrize("binade", [-1074, -1060, -1022, -500, 0, 500, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_the_largest_kappa_is_found_where_it_grows_by_the_least(seed: int, binade: int) -> None:
    """From chunk to chunk by a few units in the last place, or not at all, at any scale."""
    dice = np.random.default_rng(seed)
    size = 6 * 128
    scale = np.ldexp(1 + dice.random(size), dice.integers(max(-1073, -1070 - binade), min(1000, 1000 - binade), size))
    growing = np.ldexp(1 + 2.0**-52 * np.cumsum(dice.random(size) < 0.02), binade)
    with np.errstate(under="ignore"):
        actual = growing * scale

    told = assert_same((actual, actual * 0, scale * 0 + 1, scale), below=math.inf, dtype=torch.float32)
    assert told
    assert told.columns["kappa"] == (actual / scale).max() > 0


def test_a_sum_is_taken_in_lanes() -> None:
    """Ten numbers by hand: two lanes get a second one, where 1 is lost beside 2**53 and kept beside -2**53."""
    numbers = np.array([2.0**53, 1, 1, 1, -(2.0**53), 0, 0, 0, 1, 1])
    # Lanes 2**53 + 1 = 2**53, 1 + 1, 1, 1, -2**53, 0, 0, 0; halves 0, 2, 1, 1; then 1, 3.
    assert tally.total(numbers) == 4.0

    told = assert_same((numbers, numbers * 0, numbers * 0 + 1, numbers * 0 + 1), below=math.inf, dtype=torch.float32)
    assert told
    assert told.columns["mean_z"] == 4.0 / math.sqrt(tally.total(numbers**2))


def test_the_worst_elements_by_hand() -> None:
    """Of two rows of three, with limits of 1, 1, 4 and 0: places in the shape, and an exact value that is missed."""
    expected = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    actual = expected + np.array([[0.0, -0.5, 2.0], [0.0, 1e-9, 0.0]])
    bound = np.array([[1.0, 1.0, 4.0], [0.0, 0.0, 0.0]])
    told = assert_same((actual, expected, bound, expected * 0), below=math.inf, dtype=torch.float32, shape=(2, 1, 3))
    assert told
    assert told.worst == [
        {"index": [1, 0, 1], "actual": actual[1, 1], "expected": 5.0, "limit": 0.0, "ratio": math.inf},
        {"index": [0, 0, 1], "actual": 1.5, "expected": 2.0, "limit": 1.0, "ratio": 0.5},
        {"index": [0, 0, 2], "actual": 5.0, "expected": 3.0, "limit": 4.0, "ratio": 0.5},
    ]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 0), (-2, -2), (1 << 62, 4), (1 << 62, 1 << 62)])
def test_a_shape_has_as_many_elements(shape: tuple[int, ...]) -> None:
    """Else there would be no index to tell, or one beyond it."""
    with pytest.raises(ValueError, match="4 elements of shape"):
        of()(ONES, ONES, ONES, ONES, shape, math.inf, 2.0**-126, 23, 64)


@pytest.mark.parametrize("shape", [[4], None, 4, ("4",)])
def test_a_shape_is_a_tuple_of_integers(shape: object) -> None:
    """By the interpreter's own word."""
    with pytest.raises(TypeError):
        of()(ONES, ONES, ONES, ONES, shape, math.inf, 2.0**-126, 23, 64)


@given(
    elements=st.lists(st.tuples(values, values, values), max_size=60),
    repeated=st.integers(1, 12),
    special=st.sampled_from((*EDGES, *SPECIAL)),
    block=st.sampled_from((1, 7, 200, tally.BLOCK)),
)
@example([(1.7e308, -1.7e308, 1.0)], 1, 0.0, 64)
def test_a_split_to_the_bit(
    elements: list[tuple[float, float, float]], repeated: int, special: float, block: int
) -> None:
    """Of none, of many, where a difference overflows, and with a special value last."""
    assert decomposition.compiled is not None
    parts = [np.tile(column, repeated) for column in np.array(elements).reshape(-1, 3).T]
    for part in parts:
        part[-1:] = special
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tally, "BLOCK", block)
            defined = decomposition.in_numpy(*parts)
            for _ in widths():
                assert bits(decomposition.of(*map(torch.from_numpy, parts))) == bits(defined)


def test_a_split_by_hand() -> None:
    """4 seen where 3 were meant and 1 was to be replaced; what is not finite is left out."""
    seen, oracle, replaced = torch.tensor([[4.0, math.inf, 0.0], [3.0, 1.0, 0.0], [1.0, 1.0, 0.0]]).double()
    found = decomposition.columns(seen, oracle, replaced)
    assert found == {"total_fro": 3.0, "compute_fro": 1.0, "quantization_fro": 2.0, "identity_error": 0.0}
    assert set(decomposition.columns(*[torch.zeros(0).double()] * 3).values()) == {0.0}


@pytest.mark.parametrize("place", range(3))
def test_a_split_is_of_equal_lengths_of_float64(place: int) -> None:
    """As totals are."""
    assert decomposition.compiled is not None
    for wrong, said in ((np.ones(5), "equal lengths"), (np.ones(4, np.float32), "format f")):
        arrays: list[Any] = [np.ones(4)] * 3
        arrays[place] = wrong
        with pytest.raises(ValueError, match=said):
            decomposition.compiled(*arrays, 64)


ONES = np.ones(4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.ones(4, np.float32), "format f; one of float64"),
        (np.ones(4, np.int64), "format l; one of float64"),
        (np.ones((2, 2)).T[:1], "2 dimensions"),
        (np.ones(8)[::2], "without gaps"),
        (np.ones(4)[::-1], "without gaps"),
        (np.array(1.0), "of 4 and 1 elements|of 1 and 4 elements"),
        (np.frombuffer(bytes(33), np.float64, 4, 1), "without gaps"),
        (array.array("f", [1, 1, 1, 1]), "format f"),
        (b"12345678" * 4, "format B"),
        (np.ones(4).astype(">f8"), "format >d"),
        (np.ones(5), "of 4 and 5 elements|of 5 and 4 elements"),
        (np.ones(0), "of 4 and 0 elements|of 0 and 4 elements"),
    ],
)
@pytest.mark.parametrize("place", range(4))
def test_what_is_not_float64_without_gaps_is_refused(wrong: Any, said: str, place: int) -> None:
    """In any place, before an element is read; memory that is held is given back."""
    arrays: list[Any] = [ONES.copy() for _ in range(4)]
    arrays[place] = wrong
    with pytest.raises(ValueError, match=said):
        of()(*arrays, (4,), math.inf, 2.0**-126, 23, 64)

    resizable = bytearray(32)
    view = memoryview(resizable).cast("d")
    arrays = [view, view, view, wrong]
    with pytest.raises(ValueError, match=said):
        of()(*arrays, (4,), math.inf, 2.0**-126, 23, 64)
    view.release()
    resizable.clear()  # a buffer that is still held would keep it from shrinking


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (torch.ones(4), "a tensor of torch.float32 on the CPU; one of torch.float64"),
        (torch.ones(4, dtype=torch.complex128), "a tensor of torch.complex128"),
        (torch.ones(4, dtype=torch.float64, device="meta"), "a tensor of torch.float64 on the device"),
        (torch.ones(5, dtype=torch.float64), "of 4 and 5 elements|of 5 and 4 elements"),
        (torch.ones(0, dtype=torch.float64), "of 4 and 0 elements|of 0 and 4 elements"),
    ],
)
@pytest.mark.parametrize("place", range(4))
def test_a_tensor_that_is_not_float64_on_the_cpu_is_refused(wrong: torch.Tensor, said: str, place: int) -> None:
    """In any place, among arrays, before an element is read."""
    parts: list[Any] = [ONES.copy() for _ in range(4)]
    parts[place] = wrong
    with pytest.raises(ValueError, match=said):
        of()(*parts, (4,), math.inf, 2.0**-126, 23, 64)


@pytest.mark.parametrize("place", range(4))
def test_a_tensor_with_gaps_is_copied(place: int) -> None:
    """And read in row-major order."""
    whole = torch.arange(1.0, 7, dtype=torch.float64).reshape(2, 3)
    parts: list[Any] = [whole.clone() for _ in range(4)]
    defined = totals.of(tuple(parts), (6,), below=math.inf, dtype=torch.float32)
    parts[place] = whole.T.contiguous().T
    assert not parts[place].is_contiguous()
    assert bits(totals.of(tuple(parts), (6,), below=math.inf, dtype=torch.float32)) == bits(defined)


def test_totals_are_of_something() -> None:
    """There is no worst element of none, and no first one."""
    none = np.zeros(0)
    with pytest.raises(ValueError, match="0 elements of shape"):
        of()(none, none, none, none, (0,), math.inf, 2.0**-126, 23, 64)


@pytest.mark.parametrize("block", [0, -1])
def test_a_block_holds_an_element(block: int) -> None:
    """Else none would ever be reached."""
    with pytest.raises(ValueError, match=f"in blocks of {block};"):
        of()(ONES, ONES, ONES, ONES, (4,), math.inf, 2.0**-126, 23, block)


@pytest.mark.parametrize(("smallest", "mantissa"), [(2.0**-126, -1), (2.0**-126, 53), (0.0, 23), (math.nan, 23)])
def test_a_dtype_that_float64_does_not_hold_is_refused(smallest: float, mantissa: int) -> None:
    """Its spacing would be none."""
    with pytest.raises(ValueError, match=f"{mantissa} bits of mantissa"):
        of()(ONES, ONES, ONES, ONES, (4,), math.inf, smallest, mantissa, 64)


@pytest.mark.parametrize("wrong", [None, 1.0, [1.0], "text"])
def test_what_has_no_memory_to_show_is_refused(wrong: object) -> None:
    """By the interpreter's own word."""
    with pytest.raises(TypeError, match="bytes-like object"):
        of()(ONES, ONES, wrong, ONES, (4,), math.inf, 2.0**-126, 23, 64)


def test_a_run_says_how_it_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the manifest, among what is known of each device."""
    assert environment.facts("cpu")["tally"] == "compiled"
    monkeypatch.setattr(totals, "compiled", None)
    assert environment.facts("cpu")["tally"] == "numpy"


def test_what_another_checkout_compiled_is_not_taken(tmp_path: Path) -> None:
    """A source tree that was not built counts in numpy, also in an environment that has an editable install."""
    root = Path(tally.__file__).resolve().parent
    shutil.copytree(root, tmp_path / "accuracy", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    said = subprocess.run(
        [sys.executable, "-c", "from accuracy import compiled; print(compiled.__file__, compiled.function('totals'))"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    )
    assert said.stdout.split() == [str(tmp_path / "accuracy" / "compiled.py"), "None"]


@pytest.mark.parametrize("compiler", ["cc", "/nowhere/cc"])
def test_a_wheel_is_built_with_a_compiler_and_without(compiler: str, tmp_path: Path) -> None:
    """With one it holds the compiled totals, for every CPython from 3.11 on; else numpy serves."""
    root = Path(tally.__file__).resolve().parent.parent
    for name in ("accuracy", "commands", "reports"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("cli.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "CC": compiler},
        capture_output=True,
        check=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert "-cp311-abi3-" in wheel.name
    headers = {f"accuracy/_{name}.h" for name in ("classes", "kernels", "split", "structure", "totals")}
    assert {"accuracy/tally.py", "accuracy/_compiled.c", *headers} <= {*names}
    assert ("accuracy/_compiled.abi3.so" in names) is (compiler == "cc")
