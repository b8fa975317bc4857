"""The test set in a process of its own, where Python's `hash` of a text is another one.

A split by `hash(name)`, as the vendor's note has it, is steady within a process and moves items between the sets from
one process to the next.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from ai8xsim.data.contract import find_dataset
from ai8xsim.data.dataset import Dataset
from ai8xsim.data.findings.subject import Workers
from ai8xsim.data.reading import Reading, read_items, seeded

LOOKED_AT = 16
SECONDS = 600
HASH_SEED = "4099"
CODE = "import sys; from ai8xsim.data.probe import answer; answer(*sys.argv[1:])"


def try_process(dataset: Dataset, data_dir: str | Path, reading: Reading, seed: int) -> Workers:
    """What another process, with other hashes and the same seeds, finds in the test set."""
    if dataset.source is None or not reading.items:
        return Workers(why_not="the data set comes from no file, or no item could be read")
    indices = [item.index for item in reading.items[:LOOKED_AT]]
    name = f"{dataset.source.path.resolve()}:{dataset.name}"
    question = [name, dataset.source.folders[1], str(data_dir), str(seed), json.dumps(indices)]
    environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        shown = subprocess.run([sys.executable, "-c", CODE, *question], env=environment, capture_output=True, text=True,
                               timeout=SECONDS, check=True)  # fmt: skip
        told: list[str] = json.loads(shown.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError, OSError) as fault:
        return Workers(why_not=f"a process of its own could not load the data set ({_reason(fault)})")
    before = {item.index: item.digest for item in reading.items}
    different = tuple(n for n, digest in zip(indices, told, strict=False) if digest != before[n])
    return Workers(different=different, read=len(told))


def answer(name: str, path: str, data_dir: str, seed: str, indices: str) -> None:
    """Write the digests of some test items to stdout, as the last line."""
    from ai8xsim.nn.loading import model_stand_ins

    dataset = find_dataset(name, path, model_stand_ins())  # the file may describe models too
    with seeded(int(seed)):
        _, test = dataset.load(data_dir, act_mode_8bit=True)  # both, so that seeds go as far
    wanted = [index for index in json.loads(indices) if index < len(test)]
    reading = read_items(dataset, test, wanted, Reading("test", True, len(test), ()), int(seed))
    sys.stdout.write(json.dumps([item.digest for item in reading.items]) + "\n")


def _reason(fault: Exception) -> str:
    """The last line that the process wrote to stderr: of a traceback, what was raised."""
    said = fault.stderr if isinstance(fault, subprocess.CalledProcessError) else ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else type(fault).__name__
