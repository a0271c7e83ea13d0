"""Put modules in the place of others."""

from collections.abc import Callable, Mapping

from torch import nn

Undo = Callable[[], None]


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> Undo:
    """Replace parts of a model wherever they occur, and return what takes that back."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in replacements:
                setattr(parent, name, replacements[child])

    def undo() -> None:
        replace_modules(model, {new: old for old, new in replacements.items()})

    return undo
