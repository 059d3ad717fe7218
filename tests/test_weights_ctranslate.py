import struct

import numpy as np
import pytest

from mggtalk_core.errors import WeightsError
from mggtalk_core.weights.ctranslate import read_arrays

ARRAYS = {
    "encoder/a": np.arange(6, dtype=np.float16).reshape(2, 3),
    "decoder/b": np.full((4,), 7, np.int8),
    "encoder/c/weight": np.linspace(0.0, 1.0, 5, dtype=np.float32),
    "encoder/heads": np.array(6, np.int16),
}


def text(word):
    return struct.pack("<H", len(word) + 1) + word.encode() + b"\0"


def model(arrays):
    """The format: version, name, revision, count, then of each array name, rank, shape, kind, bytes and numbers."""
    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        kind = {"f4": 0, "i1": 1, "i2": 2, "i4": 3, "f2": 4}[array.dtype.str[1:]]
        parts += [text(name), struct.pack("<B", array.ndim), struct.pack(f"<{array.ndim}I", *array.shape)]
        parts += [struct.pack("<BI", kind, array.nbytes), array.tobytes()]
    return b"".join(parts)


def test_arrays_are_read_by_the_beginning_of_their_names(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(model(ARRAYS))
    read = read_arrays(path, "encoder/")
    assert list(read) == ["a", "c/weight", "heads"]
    for name, array in read.items():
        assert array.dtype == ARRAYS[f"encoder/{name}"].dtype
        np.testing.assert_array_equal(array, ARRAYS[f"encoder/{name}"])


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", model(ARRAYS)[:60]], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"^model.bin is no model that can be read[^\n]*$"):
        read_arrays(path, "")
    with pytest.raises(WeightsError):
        read_arrays(tmp_path / "missing.bin", "")
