"""Pictures of numbers, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence

_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "auroc": "AUROC"}


def learning_curves(history: Sequence[Mapping[str, float]]) -> bytes:
    """Training and validation curves over the epochs, one panel for each measure there is.

    Args:
        history: one mapping an epoch, with `epoch` and for a measure its name and
            `val_` and its name.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = [name for name in _TITLES if name in history[0]]
    figure = Figure(figsize=(4.2 * len(shown), 3.4), layout="constrained")
    epochs = [epoch["epoch"] for epoch in history]
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for key, label, style in ((name, "training", "-o"), (f"val_{name}", "validation", "--s")):
            if key in history[0]:
                axes.plot(epochs, [epoch[key] for epoch in history], style, ms=4, label=label)
        axes.set_title(_TITLES[name])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if name != "loss":
            axes.set_ylim(-0.02, 1.02)
    figure.axes[0].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
