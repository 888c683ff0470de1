"""Other people's formats: bare .pt tensors, and what is refused at the door."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from personascope.core.errors import VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.vectors import PersonaVector, load_vector
from personascope.interop import load_pt, save_pt

ABOUT: dict[str, Any] = {"trait": "bold", "form": "assistant", "checkpoint": Checkpoint("a/model", "step10")}
# Bare tensors.


def test_a_vector_survives_the_published_format_to_the_bit_without_its_passport(tmp_path: Path) -> None:
    directions = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    vector = PersonaVector(directions, np.ones(5), **ABOUT)
    save_pt(vector, tmp_path / "deep" / "v.pt")
    bare = torch.load(tmp_path / "deep" / "v.pt", weights_only=True)
    assert (type(bare), bare.dtype, tuple(bare.shape)) == (torch.Tensor, torch.float32, (5, 8)), "nothing but a tensor"
    back = load_pt(tmp_path / "deep" / "v.pt", **ABOUT, span="prompt")
    assert back.digest == vector.digest
    assert (back.trait, back.form, back.checkpoint, back.span) == ("bold", "assistant", ABOUT["checkpoint"], "prompt")
    assert np.isnan(back.residual_norms).all(), "the format holds no norms, and an unknown norm is NaN"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_floating_points_are_widened_or_rounded_to_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 4).to(dtype)
    torch.save(tensor, tmp_path / "v.pt")
    vector = load_pt(tmp_path / "v.pt", **ABOUT)
    np.testing.assert_array_equal(vector.directions, tensor.to(torch.float32).numpy())


def test_a_parameter_and_a_view_are_read_as_the_tensors_they_are(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.randn(4, 3))
    torch.save(parameter, tmp_path / "p.pt")
    np.testing.assert_array_equal(load_pt(tmp_path / "p.pt", **ABOUT).directions, parameter.detach().numpy())
    torch.save(parameter.detach().T, tmp_path / "t.pt")
    np.testing.assert_array_equal(load_pt(tmp_path / "t.pt", **ABOUT).directions, parameter.detach().numpy().T)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (torch.ones(4), r"shape \[4\]: a persona vector is \[layers \+ 1, hidden\]"),
        (torch.ones(2, 3, 4), r"shape \[2, 3, 4\]"),
        (torch.ones(1, 4), r"shape \[1, 4\]"),
        (torch.ones(3, 0), r"shape \[3, 0\]"),
        (torch.ones(3, 4, dtype=torch.int64), r"torch\.int64.* dense floating-point tensor"),
        (torch.ones(3, 4).to_sparse(), r"torch\.sparse_coo"),
        (torch.ones(3, 4, device="meta"), "on meta"),
        (torch.tensor([[1.0, 2.0], [float("nan"), 1.0], [1.0, float("inf")]]), r"not finite at layers \[1, 2\]"),
        (torch.full((2, 3), 1e300, dtype=torch.float64), r"not finite at layers \[0, 1\].*overflowed"),
        ({"vector": torch.ones(3, 4)}, "holds a dict, not a bare tensor.* take the tensor out"),
        ([torch.ones(3, 4)], "holds a list"),
    ],
)
def test_what_is_no_persona_vector_is_named_in_one_line(tmp_path: Path, held: object, said: str) -> None:
    torch.save(held, tmp_path / "v.pt")
    with pytest.raises(VectorError, match=said) as caught:
        load_pt(tmp_path / "v.pt", **ABOUT)
    assert "v.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


class Malicious:
    """Unpickled the usual way, this runs a shell command that creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch '{self.victim}'",))


def test_the_malicious_pickle_of_these_tests_is_a_real_one(tmp_path: Path) -> None:
    torch.save(Malicious(tmp_path / "executed"), tmp_path / "v.pt")
    torch.load(tmp_path / "v.pt", weights_only=False)
    assert (tmp_path / "executed").exists(), "the next test would prove nothing"


@pytest.mark.parametrize("wrapped", ["torch", "in a dict", "pickle 2", "pickle 4"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_a_file_that_would_execute_code_is_refused_before_any_of_it_runs(tmp_path: Path, wrapped: str) -> None:
    path, evil = tmp_path / "v.pt", Malicious(tmp_path / "executed")
    if wrapped.startswith("pickle"):
        path.write_bytes(pickle.dumps(evil, protocol=int(wrapped[-1])))
    else:
        torch.save({"directions": torch.ones(3, 4), "more": evil} if wrapped == "in a dict" else evil, path)
    with pytest.raises(VectorError, match=r"v\.pt was refused: .* can execute code; ask its author") as caught:
        load_pt(path, **ABOUT)
    assert not (tmp_path / "executed").exists(), "the command in the file was run"
    assert "\n" not in str(caught.value)
    if wrapped != "pickle 4":
        assert "system'" in str(caught.value), "the message names what the file would have called"


def test_a_missing_a_damaged_and_an_empty_file_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"none\.pt: no such file; check the path"):
        load_pt(tmp_path / "none.pt", **ABOUT)
    torch.save(torch.ones(3, 4), tmp_path / "v.pt")
    whole = (tmp_path / "v.pt").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello, this is text"):
        (tmp_path / "v.pt").write_bytes(content)
        with pytest.raises(VectorError, match=r"v\.pt is not a readable tensor file .* save it again") as caught:
            load_pt(tmp_path / "v.pt", **ABOUT)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_the_vector_reader_points_to_the_reader_of_tensors(tmp_path: Path) -> None:
    torch.save(torch.ones(3, 4), tmp_path / "v.pt")
    with pytest.raises(VectorError, match=r"personascope\.interop\.load_pt"):
        load_vector(tmp_path / "v.pt")


def test_importing_interop_imports_no_torch() -> None:
    code = (
        "import sys, personascope.interop as interop\n"
        "print('torch' in sys.modules, sorted(set(interop.__all__) - set(dir(interop))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"
