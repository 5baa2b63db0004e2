"""Named sets of training settings; explicit settings override them."""

from collections.abc import Mapping
from typing import Any

#: `plain` is the training of the lab sheet: the defaults. `robust` transferred best to a hospital
#: unseen in training (docs/training.md).
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "robust": {"crop": 0.1, "mask_corners": 0.2, "equalize": True},
}
