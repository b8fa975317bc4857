"""Policies: what is read, and every fault of a file at its line."""

from pathlib import Path

import pytest

from ai8xsim.errors import InputError
from ai8xsim.train import Override, Policy, read_policy


def read(text: str, folder: Path) -> Policy:
    path = folder / "policy.yaml"
    path.write_text(text)
    return read_policy(path)


def test_a_whole_policy_is_read(tmp_path: Path) -> None:
    text = (
        "start_epoch: 30\nweight_bits: 8\nshift_quantile: 0.995\noverrides:\n  conv1:\n    weight_bits: 2\n"
        "  fc:\n    shift_quantile: 0.9\n"
    )
    policy = read(text, tmp_path)
    assert policy == Policy(30, 8, 0.995, {"conv1": Override(2), "fc": Override(None, 0.9)})
    assert policy.record()["overrides"] == {"conv1": {"weight_bits": 2}, "fc": {"shift_quantile": 0.9}}


def test_all_faults_are_said_at_their_lines(tmp_path: Path) -> None:
    text = (
        "start_epoch: 0\nweight_bit: 8\nweight_bits: 3\nshift_quantile: 1.5\nweight_bits: 8\n"
        "overrides:\n  a: 4\n  b:\n    bits: 4\n"
    )
    with pytest.raises(InputError) as refusal:
        read(text, tmp_path)
    found = {(d.span.line, d.code) for d in refusal.value.diagnostics if d.span}
    assert found == {
        (1, "policy-value"), (2, "policy-key"), (3, "policy-value"), (4, "policy-value"), (5, "policy-key"),
        (7, "policy-value"), (9, "policy-key"),
    }  # fmt: skip
    assert any("did you mean `weight_bits`?" in d.help for d in refusal.value.diagnostics)


@pytest.mark.parametrize("text", ["", "- 1\n", "start_epoch: [\n", "weight_bits: 8\n", "overrides: 3\n"])
def test_what_is_no_policy_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read(text, tmp_path)


def test_a_key_of_later_software_is_said_not_to_be_read(tmp_path: Path) -> None:
    policy = read("start_epoch: 1\nweight_bits: 8\noutlier_removal_z_score: 8.0\n", tmp_path)
    assert [(d.severity.value, d.code) for d in policy.diagnostics] == [("warning", "policy-key")]


def test_the_vendors_keys_make_a_policy_for_a_misspelt_layer(tmp_path: Path) -> None:
    policy = read("start_epoch: 1\nweight_bits: 8\noverrides:\n  conv3_1: {weight_bits: 4}\n", tmp_path)
    (found,) = policy.unknown_layers(["conv1", "conv3"])
    assert found.span is not None
    assert (found.code, found.span.line, found.help) == ("policy-value", 4, "did you mean `conv3`?")
