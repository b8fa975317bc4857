"""Broken inputs, each with the diagnostics that it must draw and their lines; nothing else, and no traceback."""

import json
from pathlib import Path

import pytest

from ai8xsim import DEVICES, Diagnostic, Options, Severity, check, read_checkpoint, read_network
from ai8xsim.cli.arrays import read_sample
from ai8xsim.diagnostics import by_place
from ai8xsim.errors import collect

from ..conftest import GOLDEN

CASES = sorted(path.parent for path in GOLDEN.glob("negative/*/case.json"))
FLAGS = {"--fifo": "fifo"}

ERRORS = {  # code:line; line 0 is a file as a whole
    "activation_null": "wrong-type:8", "activation_pass": "activation-without-convolution:6",
    "activation_unknown": "unknown-value:8", "arch_mismatch": "arch-mismatch:4", "bias_count": "bias-count:6",
    "bias_group_exhausted": "bias-memory:18", "bias_mem": "bias-memory:53",
    "bias_range": "bias-range:6 bias-range:12 bias-range:18",
    "binary_78000": "quantization:23 not-on-device:23", "bypass_78000": "not-on-device:11",
    "calcx4_78000": "not-on-device:11", "chan_hidden": "channel-mismatch:15",
    "chan_weights": "channel-mismatch:9", "chan_weights_proc5": "channel-mismatch:9",
    "chw_hidden": "hidden-chw:15", "chw_shared_mem": "shared-chw-memory:10",
    "ckpt_unquantized": "unquantized-checkpoint:0", "concat_dims": "concatenation:25",
    "conv1d_2d_sample": "dimensions:5", "conv1d_kernel10": "out-of-range:6",
    "datamem_in": "input-too-large:5 output-too-large:10 overwrites-input:10",
    "datamem_out32": "output-too-large:10", "dilation1d_big": "conv1d-dilation:7",
    "dilation_none": "dilation-without-convolution:6", "elt_chan": "operands:18",
    "elt_conv1d": "elementwise-conv1d:6", "elt_mul": "unknown-value:5",
    "elt_no_write_gap": "operands-apart:18 operands-apart:18",
    "fifo_17ch": "fifo-channels:9", "file_syntax": "yaml-syntax:5", "flatten_257": "flatten-size:6",
    "flatten_missing": "channel-mismatch:6", "flatten_pass": "flatten-combination:6",
    "groups2_78002": "depthwise:11", "groups3_78002": "groups:11", "in_offset_only": "misplaced-input:15",
    "kernel_list": "wrong-type:6", "key_layer": "unknown-key:8", "key_top": "unknown-key:23",
    "layers129_78002": "too-many-layers:773", "layers33": "too-many-layers:197", "layers_dict": "wrong-type:5",
    "layers_null": "wrong-type:4", "mix_2d_1d": "dimensions:11", "multipass_proc": "processor-count:9",
    "next_seq_78000": "not-on-device:11", "no_arch": "missing-key:1", "no_dataset": "missing-key:1",
    "no_layers": "missing-key:1", "out_dim_neg": "no-output:7", "out_dim_zero": "no-output:7",
    "out_offset_beyond": "output-too-large:10", "out_offset_missing": "overwrites-input:5",
    "out_offset_negative": "out-of-range:10", "out_offset_odd": "unaligned-offset:10",
    "outproc_count": "output-processor-count:11", "outproc_not_next_input": "misplaced-input:16",
    "overwrite_eltwise_operand": "operands-apart:24 operands-apart:24", "overwrite_input": "overwrites-input:10",
    "overwrite_partial": "overwrites-input:10", "overwrite_skip_connection": "overwritten-data:22",
    "pad3": "out-of-range:7", "pad_negative": "out-of-range:7", "pool_dilation_78000": "not-on-device:13",
    "pool_gt_input": "pool-window:11", "pool_list3": "wrong-type:11", "pool_size17": "out-of-range:11",
    "pool_stride_zero": "out-of-range:12", "pool_zero": "out-of-range:11", "proc_65bit": "out-of-range:9",
    "proc_count_hidden": "processor-count:15", "proc_count_in": "processor-count:9",
    "proc_zero": "out-of-range:9", "quadrant0_unused": "quadrant-0-unused:9",
    "quant_small_ckpt": "quantization:36", "quant_small_test": "quantization:23",
    "read_gap_78000": "not-on-device:15", "readahead_78000": "not-on-device:11",
    "row_1025": "too-many-rows-or-columns:5", "sample_1d": "sample-rank:0", "sample_4d": "sample-rank:0",
    "sample_chw_order": "channel-mismatch:9", "sample_float": "sample-type:0",
    "seq_dup_sequence": "duplicate-sequence:17", "seq_forward": "input-not-ready:15",
    "seq_negative": "out-of-range:15", "seq_unknown_num": "unknown-layer:15",
    "seq_unknown_num_78002": "unknown-layer:15", "shift-16": "shift-range:23", "shift16": "out-of-range:23",
    "shift9_1bit": "quantization:24", "shift_float": "wrong-type:23",
    "shift_pass": "shift-without-convolution:8", "snoop_78000": "not-on-device:23",
    "stream9": "ring-overlap:25 too-many-streaming-layers:67", "stream_late": "late-streaming:15",
    "stride2_pool": "stride:8", "tconv_1x1": "kernel-size:6", "tconv_outpad0": "output-pad:11",
    "tconv_pad3": "out-of-range:7", "tconv_stride1": "stride:11", "w32_hidden": "hidden-wide:9",
    "w32_pass": "wide-without-convolution:8", "w32_relu_final": "wide-with-activation:22",
    "weights_fewer": "missing-weights:17", "write_gap_only": "misplaced-input:11",
}  # fmt: skip
WARNINGS = {  # what can work, and how the loader fails on it, or what was probably meant otherwise
    "ckpt_layers": "inexact-bias:0 unused-weights:8", "crop_asym": "loader-differs:11 misplaced-input:12",
    "mix_1d_2d": "conv2d-on-1d:11", "ok_baseline": "", "pool_and_avg": "two-pools:12",
    "pool_stride_default": "default-pool-stride:11", "proc_string": "", "sample_indim": "",
    "weights_more": "unused-weights:4",
}  # fmt: skip

pytestmark = pytest.mark.skipif(not CASES, reason="the golden vectors are not beside this repository")


def findings(case: Path) -> tuple[Diagnostic, ...]:
    stated = json.loads((case / "case.json").read_text())
    options = Options(**{FLAGS[flag]: True for flag in stated["flags"]})
    found: list[Diagnostic] = []
    network = collect(found, lambda: read_network(case / "network.yaml"))
    checkpoint = collect(found, lambda: read_checkpoint(case / "checkpoint.pth.tar"))
    sample = collect(found, lambda: read_sample(case / "sample.npy"))
    if network is not None:
        found += check(network, DEVICES[stated["device"]], checkpoint, sample, options)
    return by_place(found)


def shown(found: tuple[Diagnostic, ...], severity: Severity) -> str:
    lines = [(d.code, d.span.line if d.span else 0) for d in found if d.severity is severity]
    return " ".join(sorted(f"{code}:{line}" for code, line in lines))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_input_draws_exactly_its_diagnostics(case: Path) -> None:
    found = findings(case)
    assert shown(found, Severity.ERROR) == " ".join(sorted(ERRORS.get(case.name, "").split()))
    if case.name not in ERRORS:
        assert shown(found, Severity.WARNING).replace("inexact-bias:0 ", "") == " ".join(
            sorted(WARNINGS[case.name].split())
        ).replace("inexact-bias:0 ", "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_loader_refuses_is_an_error_and_what_is_valid_is_none(case: Path) -> None:
    stated = json.loads((case / "case.json").read_text())
    if stated.get("valid"):
        assert case.name not in ERRORS
    elif stated["loader"] in {"reported", "crash"}:
        assert case.name in ERRORS


def test_the_table_has_every_case_once() -> None:
    assert {case.name for case in CASES} == ERRORS.keys() | WARNINGS.keys()
    assert not ERRORS.keys() & WARNINGS.keys()
