"""Which layers are executed, in which order."""

from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.network import STOP, Given, LayerDescription, NetworkDescription, Reference


def executed_path(
    network: NetworkDescription, start_layer: int, found: list[Diagnostic]
) -> tuple[LayerDescription, ...]:
    """The layers in the order of execution: `simulated_sequence`, else `next_sequence`, else the next layer.

    A layer met twice would never end: an error.
    UNVERIFIED: no known network uses `simulated_sequence`; it is read as the vendor's loader does.
    """
    if not 0 <= start_layer < len(network.layers):
        last = len(network.layers) - 1
        found.append(error("start-layer", f"there is no layer {start_layer} to start at; the last is {last}"))
        return ()
    path: list[LayerDescription] = []
    layer: LayerDescription | None = network.layers[start_layer]
    while layer is not None:
        path.append(layer)
        following = _following(network, layer)
        if following is not None and following.index < start_layer:
            found.append(_before_start(layer, following))
            return ()
        if following in path:
            found.append(_endless(layer, following))
            return ()
        layer = following
    return tuple(path)


def _before_start(layer: LayerDescription, following: LayerDescription) -> Diagnostic:
    given = _jump(layer)
    message = f"{layer.title} goes on to {following.title}, which lies before the start layer"
    why = "layers before the start layer are not executed and take no weights"
    return error("start-layer", message, given.span if given else layer.span, notes=(why,))


def _following(network: NetworkDescription, layer: LayerDescription) -> LayerDescription | None:
    given = _jump(layer)
    if given is not None:
        return None if given.value == STOP else network.find_layer(given.value)
    place = layer.index + 1
    return network.layers[place] if place < len(network.layers) else None


def _jump(layer: LayerDescription) -> Given[Reference] | None:
    return layer.simulated_sequence or layer.next_sequence


def _endless(layer: LayerDescription, following: LayerDescription | None) -> Diagnostic:
    given = _jump(layer)
    title = following.title if following else ""
    message = f"{layer.title} goes on to {title}, which was executed before"
    mend = f"end the path with `{given.key if given else 'next_sequence'}: stop`"
    return error("endless-path", message, given.span if given else layer.span, "never ends", help=mend)
