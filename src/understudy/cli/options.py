"""Every option and argument of the command line, declared once: type, metavar, help text and panel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_DATA, _BUDGET, _COMPARISON, _EVALUATION = "Data", "Budget", "Comparison", "Evaluation"
_METHOD, _MACHINE, _OUTPUT = "Method", "Machine", "Output"


def _argument(metavar: str, help_text: str) -> Any:
    return typer.Argument(metavar=metavar, help=help_text, show_default=False)


def _option(panel: str, metavar: str | None, help_text: str, *names: str, **settings: Any) -> Any:
    """An option whose name is that of its parameter unless `names` are given."""
    return typer.Option(*names, metavar=metavar, help=help_text, rich_help_panel=panel, **settings)


# Images and runs

_PHOTOS = "Labeled images: a folder per class, a .csv or .parquet manifest, or a data set (digits, torchvision:NAME, "
_PHOTOS += "hf:PATH)"
Photos = Annotated[str, _argument("PHOTOS", f"{_PHOTOS}.")]
PhotosUnlessResumed = Annotated[str | None, _argument("PHOTOS", f"{_PHOTOS}.")]
PhotosOrPlan = Annotated[str, _argument("PHOTOS", f"{_PHOTOS}; or a plan.toml to print.")]
PhotosOnDisk = Annotated[
    str, _argument("PHOTOS", "Labeled images: a folder per class, or a .csv or .parquet manifest.")
]
TestImages = Annotated[
    str, _argument("TEST", "Labeled test images: a folder per class, a .csv or .parquet manifest, or a data set.")
]
AnyImages = Annotated[str, _argument("IMAGES", "Images: a folder, one file, a manifest, or a data set.")]
UnlabeledImages = Annotated[str, _argument("DIR", "Unlabeled images: a folder, or a manifest.")]
RunFolder = Annotated[Path, _argument("RUN", "Folder of a finished run.")]
RunFolders = Annotated[list[Path], _argument("RUN...", "Folders of training runs, or of one comparison.")]
MethodName = Annotated[str | None, _argument("NAME", "Method or recipe whose settings are listed.")]

Unlabeled = Annotated[
    list[str] | None,
    _option(_DATA, "DIR", "Unlabeled images: a folder, a manifest or a data set; labels are ignored. Repeatable."),
]
Test = Annotated[str | None, _option(_DATA, "TEST", "Labeled test images; by default held out from PHOTOS.")]
Validation = Annotated[
    str | None,
    _option(_DATA, "VALIDATION", "Labeled validation images, which select weights and settings; never trained on."),
]
AuditedTest = Annotated[str | None, _option(_DATA, "TEST", "Labeled test images.")]
AuditedValidation = Annotated[str | None, _option(_DATA, "VALIDATION", "Labeled validation images.")]
NumLabels = Annotated[
    int | None, _option(_DATA, "N", "Keep N labels and hide the rest, to measure what N labels would achieve.")
]
NumbersOfLabels = Annotated[
    str | None, _option(_DATA, "N,M,...", "Numbers of labels to keep; the rest are hidden (default: all labels).")
]
Imbalance = Annotated[
    float | None,
    _option(_DATA, "RATIO", "Imbalance ratio of the labeled set (largest class / smallest); needs --num-labels."),
]
UnlabeledImbalance = Annotated[
    float | None,
    _option(
        _DATA,
        "RATIO",
        "Imbalance ratio of the unlabeled set; --set unlabeled_order=reversed makes its largest class the smallest of "
        "the labeled set.",
    ),
]
FilterPool = Annotated[
    bool | None,
    _option(
        _DATA, None, "Drop unlabeled images that are unrelated to the labeled ones.", "--filter-pool/--no-filter-pool"
    ),
]
Domain = Annotated[
    str | None,
    _option(
        _DATA,
        "NAME",
        "Image domain, which selects the augmentations; `understudy methods` lists them (default: auto).",
    ),
]
Size = Annotated[int | None, _option(_DATA, "PX", "Training resolution in px (default: chosen from the images).")]
Channels = Annotated[
    int | None, _option(_DATA, "1|3", "1 for grayscale, 3 for color (default: chosen from the images).")
]
Labeled = Annotated[
    str | None, _option(_DATA, "PHOTOS", "Images that are already labeled; what looks like them is not suggested.")
]

# Budget and evaluation

TrainingBudget = Annotated[
    str | None,
    _option(
        _BUDGET,
        "LENGTH",
        "Time of the whole command (90s, 10m, 2h), CPU time of planning and training (1200cpu-s), or length of each "
        "training run (5000steps, 10epochs) (default: 10m).",
    ),
]
RunBudget = Annotated[
    str | None,
    _option(_BUDGET, "LENGTH", "Length of each run: 60cpu-s, 90s, 10m or 5000steps (default: 60cpu-s)."),
]
DemoBudget = Annotated[str, _option(_BUDGET, "LENGTH", "Time of the whole command (45s, 2m), or 300steps per run.")]
Repeats = Annotated[
    int | None,
    _option(_EVALUATION, "N", "Train with N seeds, each on 1/N of the budget, and report what holds across seeds."),
]
Folds = Annotated[
    int | None,
    _option(
        _EVALUATION,
        "K",
        "K-fold cross-validation: every labeled image is tested once; then train on all labels.",
    ),
]

# What is compared

Methods = Annotated[
    str | None,
    _option(
        _COMPARISON,
        "A,B,...",
        "Methods to compare with supervised learning, or all; `understudy methods` lists them (default: all, or only "
        "the variants if the file of --config has some).",
    ),
]
Seeds = Annotated[
    str | None,
    _option(
        _COMPARISON,
        "K",
        "Number of seeds, or a list such as 4,5,6; each seed draws other labels and initial weights (default: 3).",
    ),
]
UpperBound = Annotated[
    bool,
    _option(
        _COMPARISON,
        None,
        "Also train supervised on all hidden labels, and report how much of that gain each method reaches.",
        "--upper-bound",
    ),
]

# Method and settings

Method = Annotated[
    str | None,
    _option(_METHOD, "NAME", "Semi-supervised method; `understudy methods` lists them (default: softmatch)."),
]
Recipe = Annotated[
    str | None, _option(_METHOD, "NAME", "Training recipe; `understudy methods` lists them (default: plain).")
]
AblatedRecipe = Annotated[
    str | None, _option(_METHOD, "NAME", "Training recipe; pretrain adds pretraining as the last ingredient.")
]
Downstream = Annotated[
    str | None,
    _option(
        _METHOD, "NAME", "With --recipe pretrain: recipe that trains the pretrained network, such as noisy_student."
    ),
]
Network = Annotated[
    str | None,
    _option(
        _METHOD,
        "NAME",
        "Network: a name that `understudy methods` lists, timm:NAME, torchvision:NAME, file.py:factory or file.pt2 "
        "(default: auto).",
    ),
]
NetworkCode = Annotated[
    str | None,
    _option(
        _METHOD,
        "CODE",
        "For a run of your own network: the code that builds it, as file.py:factory or package.module:factory. The "
        "code is executed.",
    ),
]
_SEED = _option(_METHOD, "N", "Random seed (default: 0).", show_default=False)
Seed = Annotated[int, _SEED]
SeedIfGiven = Annotated[int | None, _SEED]
Plan = Annotated[
    Path | None,
    _option(
        _METHOD, "PLAN.toml", "Take the choices from a plan of `understudy plan` or of a run instead of planning anew."
    ),
]
NoPlan = Annotated[bool, _option(_METHOD, None, "Use fixed defaults instead of planning.", "--no-plan")]
Preset = Annotated[
    str | None,
    _option(
        _METHOD,
        "NAME",
        "Predefined settings, overridden by --config and other options; `understudy methods` lists them.",
    ),
]
ConfigFile = Annotated[
    Path | None, _option(_METHOD, "FILE.toml", "Settings from a file, such as the config.toml of a run.")
]
ComparisonConfig = Annotated[
    Path | None,
    _option(_METHOD, "FILE.toml", "Settings from a file; each table variants.NAME is a variant to compare."),
]
Assignments = Annotated[
    list[str] | None,
    _option(_METHOD, "KEY=VALUE", "Override any setting, such as method.threshold=0.9. Repeatable.", "--set"),
]
ComparisonAssignments = Annotated[
    list[str] | None,
    _option(
        _METHOD,
        "KEY=VALUE",
        "Override any setting; method.threshold=0.9 applies to every compared method that has it. Repeatable.",
        "--set",
    ),
]
TestTimeAveraging = Annotated[
    bool | None,
    _option(
        _METHOD,
        None,
        "Average predictions over shifted and mirrored copies of each image; slower, often slightly better.",
        "--test-time-averaging/--no-test-time-averaging",
    ),
]
RunOfSuggestions = Annotated[
    Path | None,
    _option(_METHOD, "RUN", "Folder of a finished run: prefer images that its classifier is uncertain about."),
]
RunOfAudit = Annotated[
    Path | None,
    _option(
        _METHOD,
        "RUN",
        "Folder of a finished run, whose features are used instead of quickly trained ones.",
    ),
]
Features = Annotated[
    bool,
    _option(
        _METHOD,
        None,
        "Also look for outliers and label errors, which takes the longest.",
        "--features/--no-features",
    ),
]
Count = Annotated[int, _option(_METHOD, "N", "Number of images to label.")]
Threshold = Annotated[float, _option(_METHOD, "X", "Minimum confidence of a label, from 0 to 1.")]
PerClass = Annotated[
    int, _option(_METHOD, "N", "Keep at most N images per class, the most confident ones; 0 keeps all.")
]
ValidationShare = Annotated[
    float | None, _option(_DATA, "SHARE", "Share of each class for validation (default: 0.1); 0 for none.")
]
TestShare = Annotated[
    float | None, _option(_DATA, "SHARE", "Share of each class for testing (default: 0.2); 0 for none.")
]

# Machine

Device = Annotated[
    str | None, _option(_MACHINE, "NAME", "Device: cpu, cuda, cuda:1 or mps (default: the fastest available).")
]
Cache = Annotated[Path | None, _option(_MACHINE, "FOLDER", "Folder that caches decoded images for later commands.")]
Jobs = Annotated[
    int | None,
    _option(_MACHINE, "N", "Number of runs in parallel, one thread each (default: the free cores).", min=1),
]

# Output

NewRun = Annotated[Path | None, _option(_OUTPUT, "RUN", "New folder for the run (default: runs/NAME-DATE-TIME).")]
NewOrSameRun = Annotated[
    Path | None,
    _option(
        _OUTPUT,
        "RUN",
        "New folder, or the folder of the same comparison, in which only the missing runs are trained (default: "
        "runs/COMMAND-NAME-DATE-TIME).",
    ),
]
Resume = Annotated[
    Path | None, _option(_OUTPUT, "RUN", "Resume an interrupted run, with the images and settings it was started with.")
]
Tensorboard = Annotated[
    Path | None, _option(_OUTPUT, "FOLDER", "Folder that also gets every evaluation in TensorBoard's format.")
]
Verbose = Annotated[bool, _option(_OUTPUT, None, "Print every choice of the plan with its reason.", "--verbose")]
Overwrite = Annotated[bool, _option(_OUTPUT, None, "Replace the output file if it exists.", "--overwrite")]
Json = Annotated[Path | None, _option(_OUTPUT, "FILE.json", "Also write all results as JSON.")]
PredictionsFile = Annotated[Path, _option(_OUTPUT, "FILE", "New .csv or .parquet file.")]
LabelsFile = Annotated[Path, _option(_OUTPUT, "FILE", "New .csv or .parquet file.")]
SplitFile = Annotated[Path, _option(_OUTPUT, "FILE", "New .csv or .parquet file.")]
SuggestionsFile = Annotated[Path, _option(_OUTPUT, "FILE.csv", "New file with an empty column `label` to fill in.")]
SheetFile = Annotated[
    Path | None,
    _option(_OUTPUT, "FILE.html", "Page with the numbered images, replaced if it exists (default: beside the table)."),
]
PlanFile = Annotated[Path, _option(_OUTPUT, "PLAN.toml", "New file.")]
OtherPlan = Annotated[Path | None, _option(_OUTPUT, "PLAN.toml", "Also list where another plan differs.")]
ReportFile = Annotated[
    Path | None,
    _option(_OUTPUT, "FILE.html", "HTML file, replaced if it exists (default: report.html in the folder)."),
]
OpenReport = Annotated[bool, _option(_OUTPUT, None, "Open the report in the web browser.", "--open")]
AuditPage = Annotated[Path, _option(_OUTPUT, "FILE.html", "Page with all findings, replaced if it exists.")]
CleanedManifest = Annotated[
    Path | None, _option(_OUTPUT, "FILE", "Write a cleaned .csv or .parquet manifest to train on.")
]
Drop = Annotated[
    str,
    _option(
        _OUTPUT,
        "KINDS",
        "Kinds of findings to leave out of the manifest too, separated by commas: dark, overexposed, blurry, tiny, "
        "elongated, gray, outliers, unrelated, label_errors, conflicts.",
        show_default=False,
    ),
]


def given_settings(ctx: typer.Context) -> dict[str, Any]:
    """The settings of a run that the command line gives, by name.

    An option that is a setting has the name of the setting, so `--num-labels 40` is `num_labels = 40` in a file and
    `num_labels=40` in Python.
    """
    from dataclasses import fields

    from understudy.experiment.job import Job

    names = {field.name for field in fields(Job)} | {"preset", "downstream", "repeats", "folds"}
    return {name: value for name, value in ctx.params.items() if name in names and value is not None}


def refuse_beside_resume(ctx: typer.Context, *allowed: str, otherwise: str) -> None:
    """Refuse whatever is given beside `--resume`, except for the options allowed.

    Args:
        otherwise: What to do instead, as the end of the sentence.

    Raises:
        UserError: Something else was given.
    """
    from understudy.core.errors import UserError
    from understudy.core.text import listed

    given = [
        parameter.metavar if parameter.param_type_name == "argument" else max(parameter.opts, key=len)
        for parameter in ctx.command.params
        if parameter.name not in ("resume", *allowed)
        and (source := ctx.get_parameter_source(str(parameter.name))) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        options = listed([str(name) for name in given])
        raise UserError(f"--resume takes everything from {ctx.params['resume']}; leave out {options}, or {otherwise}")
