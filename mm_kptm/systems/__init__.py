"""Systems: published recipes, and building, loading and saving of models."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.systems.assembly import add
    from mm_kptm.systems.discovery import additions, catalogue, find, load_plugin
    from mm_kptm.systems.keymap import UnmappedKeys
    from mm_kptm.systems.pretrained import build, load
    from mm_kptm.systems.recipe import Addition, Recipe
    from mm_kptm.systems.rules import Drop, Rename, Rule, Same
    from mm_kptm.systems.saved import save
    from mm_kptm.systems.system import System
else:
    __getattr__ = lazy(
        __name__,
        {
            "assembly": ["add"],
            "discovery": ["additions", "catalogue", "find", "load_plugin"],
            "keymap": ["UnmappedKeys"],
            "pretrained": ["build", "load"],
            "recipe": ["Addition", "Recipe"],
            "rules": ["Drop", "Rename", "Rule", "Same"],
            "saved": ["save"],
            "system": ["System"],
        },
    )

__all__ = [
    "Addition",
    "Drop",
    "Recipe",
    "Rename",
    "Rule",
    "Same",
    "System",
    "UnmappedKeys",
    "add",
    "additions",
    "build",
    "catalogue",
    "find",
    "load",
    "load_plugin",
    "save",
]
