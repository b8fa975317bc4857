"""Faults of a file: found deep inside it, reported once, at the top, with the file's name."""

from ai8xsim.diagnostics import Diagnostic, error

COPY_AGAIN = "copy or download the file again, or save the checkpoint again"
QUANTIZE_AGAIN = "quantize the trained checkpoint again (`ai8xsim quantize`)"
SAVE_AGAIN = (
    'save it as `torch.save({"arch": name, "epoch": epoch, "state_dict": model.state_dict()}, path)`, '
    "then quantize it (`ai8xsim quantize`)"
)


class UnreadableError(Exception):
    """Carries one diagnostic, still without a place, up to `read_checkpoint`."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        super().__init__(diagnostic.message)


def damaged(message: str, *notes: str) -> UnreadableError:
    """The fault of a checkpoint that contradicts itself or ends too early."""
    return UnreadableError(error("damaged-checkpoint", message, notes=notes, help=COPY_AGAIN))


def foreign(message: str, *notes: str, remedy: str = SAVE_AGAIN) -> UnreadableError:
    """The fault of a file that is sound, perhaps, but something else than a checkpoint."""
    return UnreadableError(error("not-a-checkpoint", message, notes=notes, help=remedy))


def too_many(message: str, *notes: str) -> UnreadableError:
    """The fault of a file whose network no chip could hold, be it real or a trap for the reader's memory."""
    return UnreadableError(error("too-many-weights", message, notes=notes, help="make the network smaller"))


def shown(text: object, limit: int = 80) -> str:
    """The text in quotes for a message, shortened: a file from a stranger may hold endless names.

    >>> shown("conv1"), shown("x" * 100, limit=8)
    ('`conv1`', '`xxxxx...`')
    """
    words = str(text)
    return f"`{words}`" if len(words) <= limit else f"`{words[: limit - 3]}...`"


def listed(names: list[str], limit: int = 8) -> str:
    """The names in quotes, separated by commas, the last ones only counted.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], limit=2)
    ('`a`, `b`, `c`', '`a`, `b` and 1 more')
    """
    text = ", ".join(shown(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"
