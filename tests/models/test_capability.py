"""The fastest data type and layout are measured once and cached for this processor and this torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from stream.errors import ModelError
from stream.models import capability as capability_module
from stream.models.capability import Capability, capability, choose_dtype, should_pack

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def speeds(
    monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float, *, packed: tuple[float, float] = (0.0, 0.0)
) -> list[str]:
    calls: list[str] = []

    def measure() -> dict[str, float]:
        calls.append("measured")
        plain = {"float32_gflops": float32, "bfloat16_gflops": bfloat16}
        return plain | {"float32_packed_gflops": packed[0], "bfloat16_packed_gflops": packed[1]}

    monkeypatch.setattr(capability_module, "measure", measure)
    return calls


@pytest.mark.parametrize(
    ("float32", "bfloat16", "choice"),
    [(340.0, 1_950.0, "bfloat16"), (140.0, 20.0, "float32"), (100.0, 140.0, "float32")],
)
def test_bfloat16_needs_a_minimum_gain(
    monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float, choice: str
) -> None:
    speeds(monkeypatch, float32, bfloat16)
    assert choose_dtype("auto", CPU) == choice
    assert choose_dtype("float32", CPU) == "float32"
    assert choose_dtype("bfloat16", CPU) == "bfloat16"
    assert choose_dtype("auto", torch.device("cuda")) == "auto"


def test_int8_needs_a_processor() -> None:
    assert choose_dtype("int8", CPU) == "float32"
    with pytest.raises(ModelError, match="int8 is not supported on cuda"):
        choose_dtype("int8", torch.device("cuda"))


def test_the_measurement_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = speeds(monkeypatch, 100.0, 10.0)
    first = capability()
    assert capability() == first
    assert len(calls) == 1
    capability(remeasure=True)
    assert len(calls) == 2


def test_the_fastest_layout_decides_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose float32 products are slow only without packing does not get bfloat16."""
    speeds(monkeypatch, 90.0, 200.0, packed=(220.0, 210.0))
    assert choose_dtype("auto", CPU) == "float32"


def test_packing_needs_a_minimum_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds(monkeypatch, 100.0, 300.0, packed=(101.0, 330.0))
    assert not should_pack(CPU, torch.float32)
    assert should_pack(CPU, torch.bfloat16)
    assert not should_pack(torch.device("cuda"), torch.bfloat16)


def test_a_torch_without_packed_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: torch.Tensor) -> torch.Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(capability_module, "pack_weight", absent)
    found = capability()
    assert (found.float32_packed_gflops, found.bfloat16_packed_gflops) == (0, 0)
    assert not any(found.packing.values())


@pytest.mark.parametrize("content", ["{", "[]", '{"torch": 1}', "other"])
def test_an_invalid_or_foreign_cache_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    speeds(monkeypatch, 100.0, 10.0)
    path = tmp_path / "tonewatch" / "capability.json"
    path.parent.mkdir()
    other = json.dumps(asdict(Capability("another", torch.__version__, 1.0, 9.0, 1.0, 9.0)))
    path.write_text(other if content == "other" else content, encoding="utf-8")
    assert capability().choice == "float32"
    assert json.loads(path.read_text(encoding="utf-8"))["float32_gflops"] == 100.0


def test_an_unwritable_cache_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    speeds(monkeypatch, 100.0, 10.0)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert capability().choice == "float32"


@pytest.mark.slow
def test_a_real_measurement() -> None:
    found = capability()
    assert found.float32_gflops > 0
    assert found.bfloat16_gflops > 0
    assert found.processor
