"""Strata of special values: NaN, infinities, signed zeros, subnormals and values near overflow, where they enter."""

from collections.abc import Callable
from typing import Any

from hypothesis.strategies import SearchStrategy, just

from accuracy.case import Stratum
from accuracy.strategies import SPECIALS, multiples_of

# Shapes that every kernel takes, so that nothing but the special values can go wrong.
_PLAIN = {
    "in_features": just(128),
    "out_features": multiples_of(32, 128),
    "batch": just((16,)),
    "bias": just(True),
    "weight": just("normal"),
    "activation": just("normal"),
}


def dense(*fields: str, **fixed: SearchStrategy[Any]) -> tuple[Stratum, ...]:
    """A stratum for each special distribution in each of these fields, other fields held as `fixed` says.

    Subnormal values have one more without a bias: the bound of its addition hides what is lost of them.
    """
    return (
        *(
            Stratum(
                name=f"{field} {name}",
                holds=lambda c, field=field, name=name: getattr(c, field) == name,  # type: ignore[misc]  # defaults bind the loop
                fixed={**_PLAIN, **fixed, field: just(name)},
            )
            for field in fields
            for name in SPECIALS
        ),
        *(
            Stratum(
                name=f"{field} subnormal, no bias",
                holds=lambda c, field=field: getattr(c, field) == "subnormal" and not c.bias,  # type: ignore[misc]  # the default binds the loop
                fixed={**_PLAIN, **fixed, field: just("subnormal"), "bias": just(False)},
            )
            for field in fields
        ),
    )


def under(
    field: str, name: str, naming: str, condition: Callable[[Any], bool], **fixed: SearchStrategy[Any]
) -> Stratum:
    """A stratum of a special distribution in this field where a condition holds too, which `fixed` makes true."""
    return Stratum(
        name=f"{field} {name}, {naming}",
        holds=lambda c: getattr(c, field) == name and condition(c),
        fixed={**_PLAIN, **fixed, field: just(name)},
        alone=True,
    )
