"""Types of NumPy arrays, by element type."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# Indices of rows, as NumPy counts them.
RowArray = npt.NDArray[np.intp]
