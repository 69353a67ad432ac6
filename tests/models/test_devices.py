"""Requested devices and types are used or rejected, never replaced silently."""

from __future__ import annotations

import threading

import pytest
import torch

from stream.errors import ModelError
from stream.models.devices import limit_threads, resolve_device, resolve_dtype

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_accelerator")
def test_auto_falls_back_to_the_processor() -> None:
    assert resolve_device("auto") == CPU
    assert resolve_device("cpu") == CPU


@pytest.mark.usefixtures("no_accelerator")
@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_an_unavailable_device_is_rejected(name: str) -> None:
    with pytest.raises(
        ModelError, match=f"device '{name}' is not available on this machine; set device to auto or cpu"
    ):
        resolve_device(name)


def test_auto_prefers_cuda_then_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("supported", [True, False])
def test_dtypes(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:  # noqa: FBT001
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    assert resolve_dtype("auto", CPU) is torch.float32
    assert resolve_dtype("bfloat16", CPU) is torch.bfloat16
    assert resolve_dtype("float32", CUDA) is torch.float32
    assert resolve_dtype("auto", torch.device("mps")) is torch.float32
    assert resolve_dtype("auto", CUDA) is (torch.bfloat16 if supported else torch.float32)
    if supported:
        assert resolve_dtype("bfloat16", CUDA) is torch.bfloat16
    else:
        with pytest.raises(ModelError, match="does not support bfloat16; set dtype to auto or float32"):
            resolve_dtype("bfloat16", CUDA)


def test_the_calling_thread_is_limited() -> None:
    seen: list[int] = []

    def work() -> None:
        limit_threads(2)
        torch.ones(64, 64) @ torch.ones(64, 64)
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    limit_threads(before)
    assert seen == [2]
    assert torch.get_num_threads() == before
