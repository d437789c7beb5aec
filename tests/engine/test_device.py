"""The Python side of graphics cards, as far as it can be tried without one."""

from pathlib import Path

import pytest

from bitconverter import engine
from bitconverter.engine import _native, device


def test_without_the_library_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "FOLDER", tmp_path)
    made = engine.Engine(threads=1)
    for call in (engine.open_backend, engine.devices):
        with pytest.raises(engine.NoBackendError, match=r"^this installation has no CUDA backend$"):
            call(made)
    assert issubclass(engine.NoBackendError, engine.UnsupportedError)


def test_the_library_is_looked_for_beside_the_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "FOLDER", tmp_path)
    for platform, name in (("linux", "libbitconverter_cuda.so"), ("win32", "bitconverter_cuda.dll")):
        (tmp_path / name).touch()
        monkeypatch.setattr("sys.platform", platform)
        assert engine.backend_path() == tmp_path / name


@pytest.mark.parametrize(
    ("kind", "struct"),
    [
        (engine.DeviceInfo, "bc_device_info"),
        (engine.Placement, "bc_placement"),
        (engine.DeviceMemory, "bc_device_memory"),
    ],
)
def test_dataclasses_have_the_fields_of_the_structs(kind: type, struct: str) -> None:
    fields = [name for name, _ in _native.ffi.typeof(struct).fields]
    assert list(kind.__dataclass_fields__) == fields


def test_the_parameters_are_those_of_the_struct() -> None:
    fields = {name for name, _ in _native.ffi.typeof("bc_placement_params").fields}
    assert {"kv_type" if f == "kv" else f for f in engine.PlacementParams.__dataclass_fields__} == fields


def test_a_kind_of_cache_that_there_is_not_is_refused(tiny_model: Path) -> None:
    model = engine.Model(engine.Engine(threads=1), tiny_model)
    with pytest.raises(engine.InvalidError, match="int3"):
        engine.place(model, engine.PlacementParams(kv="int3"))
