"""Named sets of settings of a training, for those that are not given."""

from collections.abc import Mapping
from typing import Any

#: `plain` is the lab sheet's training: the defaults. `robust` is what travelled best to a hospital
#: that no image came from (docs/training.md).
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "robust": {"crop": 0.1, "mask_corners": 0.2, "equalize": True},
}
