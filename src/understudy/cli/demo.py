"""`understudy demo`: train on the embedded digits in under a minute."""

from __future__ import annotations

from understudy.cli import options
from understudy.core.spending import process_begun

BUDGET = "45s"  # with the import of torch and the report still under a minute on two cores
NUM_LABELS = 40  # four of each digit: few enough that the unlabeled images matter


def demo(budget: options.DemoBudget = BUDGET, seed: options.Seed = 0) -> None:
    """Train on 1,797 built-in images of digits with 40 labels, and test whether the other images helped.

    Nothing is downloaded. It takes under a minute on two cores and ends with a verdict and the next commands.

    [bold]Example:[/bold]
      understudy demo --budget 2m --seed 1
    """
    begun = process_begun()
    from understudy.cli.request import TRAIN, Request, open_folder
    from understudy.cli.train_output import run
    from understudy.display.console import open_console, say

    request = Request(TRAIN, "digits", options={"budget": budget, "seed": seed, "num_labels": NUM_LABELS})
    request.check()
    folder = open_folder(None, "demo")
    request.save(folder)
    console = open_console()
    say(
        console,
        f"Images of digits, 8x8 px: {NUM_LABELS} keep their label, 500 are held out for testing, the rest lose it.",
    )
    say(console, "Two classifiers are trained at equal cost, one on the labeled images alone and one on all images,")
    say(console, f"in {budget} together; then the 500 test images show whether the unlabeled images helped.")
    say(console)
    run(request, folder, begun=begun, fresh=True)
