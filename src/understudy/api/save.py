"""Save a finished run in its folder."""

from __future__ import annotations

from understudy.api.environment import environment
from understudy.api.result import Result
from understudy.core.config import to_table
from understudy.core.files import explain_write_errors, write_json
from understudy.experiment.experiment import Experiment
from understudy.experiment.repeats import Repetition
from understudy.reports.figures.labels import draw_rounds
from understudy.reports.figures.probes import draw_probes


def save_run(result: Result, experiment: Experiment, repetition: Repetition) -> None:
    """Write configuration, results, predictions, figures and the model into the run folder, if there is one."""
    import tomli_w

    folder = experiment.folder
    if folder is None:
        return
    sentences = result.verdict.sentences() if result.verdict else ()
    lines = [*result.notes, *(sentences if result.repeats is None else result.repeats.sentences)]
    options = repetition.options() | to_table(experiment.job)
    with explain_write_errors(folder):
        (folder / "config.toml").write_text(tomli_w.dumps(options), encoding="utf-8")
        (folder / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        result.splits.save(folder / "splits.json", experiment.collection)
    write_json(folder / "quarantine.json", [{"file": f, "reason": r} for f, r in experiment.collection.quarantine])
    if result.predictions is not None:
        result.predictions.save(folder / "predictions.csv")
    for trained in result.runs.values():
        rounds = [line for line in trained.rounds if "returned" in line]
        if any("coverage" in line for line in rounds):
            with explain_write_errors(folder):
                draw_rounds(rounds, result.predictor.classes, folder / "rounds.png")
        probes = [line for line in trained.rounds if "kept" in line]
        if probes:
            with explain_write_errors(folder):
                draw_probes(probes, folder / "probes.png")
    result.diagnostics.save(folder)
    write_json(folder / "result.json", {**result.to_json(), "environment": environment()})
    result.predictor.save(folder)  # last: its presence says that the run is finished
