"""`understudy demo`: train on embedded images in under a minute."""

from __future__ import annotations

from typing import Annotated

import typer

from understudy.core.spending import process_begun

BUDGET = "45s"
NUM_LABELS = 40


def demo(
    budget: Annotated[
        str, typer.Option(metavar="LENGTH", help="Length of the whole command: 45s, 2m or 300steps.")
    ] = BUDGET,
    seed: Annotated[int, typer.Option(min=0, help="Number that all randomness derives from.")] = 0,
) -> None:
    """Train on 1,797 embedded images of digits with 40 labels, and say whether the other images helped.

    Nothing is downloaded. It takes under a minute on two cores and ends with a verdict and the commands to go on with.

    [bold]Example:[/bold]
      understudy demo --budget 2m --seed 1
    """
    begun = process_begun()
    from understudy.cli.request import Request, open_folder
    from understudy.cli.training import run
    from understudy.display.console import open_console, say

    request = Request("digits", options={"budget": budget, "seed": seed, "num_labels": NUM_LABELS})
    request.check()
    folder = open_folder(None, "demo")
    request.save(folder)
    console = open_console()
    say(
        console,
        f"Images of digits, 8x8 px: {NUM_LABELS} keep their label, 500 are set aside to judge, the rest is unlabeled.",
    )
    say(console, "Two classifiers are trained at equal cost, one on the labels alone and one on all images,")
    say(console, f"in {budget} together; then the 500 images say whether the unlabeled ones helped.")
    say(console)
    run(request, folder, begun=begun, fresh=True)
