"""What an object holds."""

from __future__ import annotations


def held_by(value: object) -> dict[str, object]:
    """Return the attributes that an object has of its own, also those in slots."""
    held: dict[str, object] = {**getattr(value, "__dict__", {})}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = slot if not slot.startswith("__") else f"_{kind.__name__.lstrip('_')}{slot}"
            if not slot.endswith("__") and hasattr(value, name):
                held[name] = getattr(value, name)
    return held
