"""Sparse autoencoders in formats that others publish: read to the numbers a naive forward pass gives, or refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from personascope.applications.sae.load import load_dictionary, save_dictionary
from personascope.core.dictionaries import Dictionary
from personascope.core.errors import VectorError

WIDTH, FEATURES = 6, 10


def parts(seed: int = 0) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(seed)
    return {
        "W_enc": drawn.standard_normal((WIDTH, FEATURES)).astype(np.float32),
        "b_enc": drawn.standard_normal(FEATURES).astype(np.float32),
        "W_dec": drawn.standard_normal((FEATURES, WIDTH)).astype(np.float32),
        "b_dec": drawn.standard_normal(WIDTH).astype(np.float32),
    }


def saved(folder: Path, arrays: dict[str, np.ndarray], **config: Any) -> Path:
    """A folder as SAELens writes one."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / "sae_weights.safetensors")
    known = {"architecture": "standard", "d_in": WIDTH, "d_sae": FEATURES, "apply_b_dec_to_input": True}
    (folder / "cfg.json").write_text(json.dumps({**known, **config}))
    return folder


def stream(rows: int = 7) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((rows, WIDTH))


def naive(arrays: dict[str, np.ndarray], kind: str, most: int = 3) -> np.ndarray:
    """What the architectures are by their own definitions."""
    centred = stream() - arrays["b_dec"]
    sums = centred @ arrays["W_enc"] + arrays["b_enc"]
    if kind == "jumprelu":
        return np.where(sums > arrays["threshold"], np.maximum(sums, 0), 0)
    if kind == "gated":
        gate = centred @ arrays["W_enc"] + arrays["b_gate"]
        return (gate > 0) * np.maximum(centred @ (arrays["W_enc"] * np.exp(arrays["r_mag"])) + arrays["b_mag"], 0)
    if kind == "topk":
        kept = np.argsort(-sums, axis=1)[:, :most]
        chosen = np.zeros_like(sums)
        np.put_along_axis(chosen, kept, np.take_along_axis(sums, kept, 1), 1)
        return np.maximum(chosen, 0)
    return np.maximum(sums, 0)


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk", "gated"])
def test_activations_are_those_of_the_architectures_own_definition(kind: str, tmp_path: Path) -> None:
    arrays = parts()
    drawn = np.random.default_rng(1)
    if kind == "jumprelu":
        arrays["threshold"] = drawn.uniform(0, 2, FEATURES).astype(np.float32)
    if kind == "gated":
        del arrays["b_enc"]
        arrays |= {name: drawn.standard_normal(FEATURES).astype(np.float32) for name in ("b_gate", "r_mag", "b_mag")}
        wanted = naive({**arrays, "b_enc": np.zeros(FEATURES)}, kind)
    else:
        wanted = naive(arrays, kind)
    found = load_dictionary(saved(tmp_path / "sae", arrays, architecture=kind, k=3))
    np.testing.assert_allclose(found.activations(stream()), wanted, atol=1e-5)
    np.testing.assert_array_equal(found.decoder, arrays["W_dec"])
    for feature in range(FEATURES):  # along a probe, as a corpus is read
        probe, bias, threshold = found.probe(feature, 2)
        along = stream() @ probe.direction + bias
        if kind != "topk":
            np.testing.assert_allclose(np.where(along > threshold, along, 0), wanted[:, feature], atol=1e-5)


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.19.hook_resid_post", 20),
        ("blocks.19.hook_resid_pre", 19),
        ("blocks.0.hook_resid_pre", 0),
        ("model.layers.3", 4),
        ("blocks.5.hook_mlp_out", None),
        ("", None),
    ],
)
def test_the_layer_is_read_from_the_hooks_name_in_either_place(hook: str, layer: int | None, tmp_path: Path) -> None:
    assert load_dictionary(saved(tmp_path / "old", parts(), hook_name=hook)).layer == layer
    found = load_dictionary(saved(tmp_path / "new", parts(), metadata={"hook_name": hook}))
    assert found.layer == layer
    elsewhere = bool(hook) and layer is None
    assert (found.encoder is None) == elsewhere, "what makes its features active is no place of the residual stream"


def test_activations_scaled_by_decoder_norms_are_read_as_they_were_trained(tmp_path: Path) -> None:
    arrays = parts()
    found = load_dictionary(saved(tmp_path / "sae", arrays, architecture="standard", rescale_acts_by_decoder_norm=True))
    wanted = naive(arrays, "standard") * np.linalg.norm(arrays["W_dec"], axis=1)
    np.testing.assert_allclose(found.activations(stream()), wanted, rtol=1e-4, atol=1e-5)


def test_of_an_sae_that_reads_normalised_activations_only_the_directions_are_taken(tmp_path: Path) -> None:
    found = load_dictionary(saved(tmp_path / "sae", parts(), normalize_activations="layer_norm"))
    assert found.encoder is None
    with pytest.raises(VectorError, match="decoder alone"):
        found.activations(stream())
    probe, bias, threshold = found.probe(3, 1)
    np.testing.assert_allclose(probe.direction, found.unit([3])[0], rtol=1e-6)
    assert (bias, threshold) == (0.0, 0.0)


def test_what_is_saved_is_read_back_the_same_and_is_in_saelens_own_names(tmp_path: Path) -> None:
    arrays = parts()
    mine = Dictionary(arrays["W_dec"], 3, "mine", arrays["W_enc"].T, arrays["b_enc"], most=4)
    save_dictionary(mine, tmp_path / "sae", model="lab")
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert (config["architecture"], config["k"], config["d_in"], config["d_sae"]) == ("topk", 4, WIDTH, FEATURES)
    again = load_dictionary(tmp_path / "sae")
    assert (again.layer, again.most, again.digest) == (3, 4, mine.digest)
    np.testing.assert_allclose(again.activations(stream()), mine.activations(stream()), atol=1e-6)
    assert load_dictionary(tmp_path / "sae" / "sae_weights.safetensors").digest == mine.digest


def test_a_decoder_in_a_safetensors_file_is_enough(tmp_path: Path) -> None:
    save_file({"decoder": parts()["W_dec"]}, tmp_path / "mine.safetensors")
    found = load_dictionary(tmp_path / "mine.safetensors")
    assert (found.count, found.width, found.layer, found.encoder) == (FEATURES, WIDTH, None, None)


def test_the_papers_own_format_is_read(tmp_path: Path) -> None:
    arrays, folder = parts(), tmp_path / "resid_post_layer_19" / "trainer_1"
    folder.mkdir(parents=True)
    state = {
        "encoder.weight": torch.from_numpy(arrays["W_enc"].T.copy()),
        "encoder.bias": torch.from_numpy(arrays["b_enc"]),
        "decoder.weight": torch.from_numpy(arrays["W_dec"].T.copy()),
        "b_dec": torch.from_numpy(arrays["b_dec"]),
        "k": torch.tensor(64),
        "threshold": torch.tensor(0.7),
    }
    torch.save(state, folder / "ae.pt")
    for where in (folder, folder / "ae.pt"):
        found = load_dictionary(where)
        assert found.layer == 20, "block 19 counted from 0 is layer 20"
        wanted = naive({**arrays, "threshold": np.full(FEATURES, 0.7)}, "jumprelu")
        np.testing.assert_allclose(found.activations(stream()), wanted, atol=1e-5)


def test_what_saelens_knows_is_asked_of_saelens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "release" / "one", parts(), metadata={"hook_name": "blocks.1.hook_resid_post"})
    (tmp_path / "sae_lens.py").write_text(
        "import json, types\n"
        "from pathlib import Path\n"
        "from safetensors.torch import load_file\n"
        "class SAE:\n"
        "    @classmethod\n"
        "    def from_pretrained(cls, release, sae_id, device):\n"
        f"        folder = Path({str(tmp_path)!r}) / release / sae_id\n"
        "        found = cls()\n"
        "        found.weights = load_file(folder / 'sae_weights.safetensors')\n"
        "        found.cfg = types.SimpleNamespace(to_dict=lambda: json.loads((folder / 'cfg.json').read_text()))\n"
        "        return found\n"
        "    def state_dict(self):\n"
        "        return self.weights\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "sae_lens", None)  # so that what is imported now is forgotten afterwards
    del sys.modules["sae_lens"]
    found = load_dictionary("sae_lens:release/one")
    np.testing.assert_allclose(found.activations(stream()), naive(parts(), "standard"), atol=1e-5)
    assert (found.layer, found.name) == (2, "sae_lens:release/one")
    with pytest.raises(VectorError, match="SAELens could not load release/none"):
        load_dictionary("sae_lens:release/none")


@pytest.mark.parametrize(
    ("config", "change", "told"),
    [
        ({"architecture": "transcoder"}, {}, "architecture 'transcoder': known are standard"),
        ({"d_out": 3}, {}, "architecture"),
        ({}, {"W_dec": None}, "no W_dec"),
        ({}, {"W_enc": np.zeros((WIDTH, 3), np.float32)}, "W_enc of"),
        ({}, {"b_enc": np.zeros(3, np.float32)}, "b_enc of"),
        ({}, {"W_dec": np.full((FEATURES, WIDTH), np.nan, np.float32)}, "not finite in 10 of its features"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    config: dict[str, Any], change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    arrays = {name: value for name, value in {**parts(), **change}.items() if value is not None}
    with pytest.raises(VectorError) as caught:
        load_dictionary(saved(tmp_path / "sae", arrays, **config))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_places_without_an_sae_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    save_file({"other": parts()["W_dec"]}, tmp_path / "other.safetensors")
    (saved(tmp_path / "spoilt", parts()) / "cfg.json").write_text("{")
    torch.save(torch.zeros(3), tmp_path / "bare.pt")
    for where, told in (
        ("empty", "holds no cfg.json"),
        ("broken.safetensors", "not a readable safetensors file"),
        ("nowhere.safetensors", "no such file"),
        ("other.safetensors", "no 'decoder [features hidden]'"),
        ("spoilt", "is not readable"),
        ("bare.pt", "no tensors by name"),
        ("odd.txt", "is no sparse autoencoder"),
    ):
        with pytest.raises(VectorError) as caught:
            load_dictionary(tmp_path / where)
        assert told in str(caught.value), where
    with pytest.raises(VectorError, match="sae_lens is not installed"):
        load_dictionary("sae_lens:release/one")


def test_a_feature_that_died_has_no_direction() -> None:
    decoder = parts()["W_dec"]
    decoder[4] = 0
    dead = Dictionary(decoder, 1, "mine")
    assert dead.lengths[4] == 0
    with pytest.raises(VectorError, match="feature 4 of mine has no length"):
        dead.unit([4])
    with pytest.raises(VectorError, match="has 0 to 9"):
        dead.unit([10])
