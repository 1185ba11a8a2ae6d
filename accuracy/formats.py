"""In what form a 4-bit weight is asked for and found to be stored, in words: what asks for one must get it.

Oracles read codes and scales by what the library says of them, so that they would follow it into another format.
"""


def four_bit(*, quant_type: str, blocksize: int, nested: bool, dtype: str, storage: str, own_table: bool = True) -> str:
    """The format of a 4-bit weight that had a dtype before, its codes kept in items of the dtype `storage`.

    `own_table` is no where the table that is kept with the codes, and saved with them, is not that of the type.
    """
    scales = "double-quantized scales" if nested else "plain scales"
    table = "" if own_table else ", with another table of codes"
    return f"{quant_type} in blocks of {blocksize}, {scales}, of {dtype}, in {storage}{table}"
