"""bfloat16, which numpy does not have: its bits lie in uint16."""

from typing import Any

import numpy as np
import numpy.typing as npt


def as_f32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The values in f32, uint16 being bfloat16's bits; the array itself where it is f32 already."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(values, np.float32)
