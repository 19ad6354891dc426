"""`taskctl doctor`: look at everything, stage by stage, and name the cure of what is wrong."""

from __future__ import annotations

from typing import Any

import click

from taskctl.command import AtLeast, Command, Option
from taskctl.context import Context
from taskctl.doctor.findings import FAIL, Finding, examine, with_cure
from taskctl.doctor.patient import Patient
from taskctl.doctor.stages import CHECKS
from taskctl.failures import FAILED, OK
from taskctl.selection import list_options, take_selection
from taskctl.views.doctor import Report

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")


@click.pass_obj
def _doctor(context: Context, /, timeout: float, **options: Any) -> int:
    console = context.console(formats=_FORMATS, selection=take_selection(options))
    patient = Patient(context, timeout)
    report = Report(console, every=context.verbose > 0)
    found: list[Finding] = []
    for finding in examine(CHECKS, patient, timeout):
        found.append(with_cure(finding, patient.prefix))
        report.tell(found[-1].row())
    report.end([finding.row() for finding in found])
    return FAILED if any(finding.state == FAIL for finding in found) else OK


command = Command(
    "doctor",
    callback=_doctor,
    params=[
        Option(
            ["--timeout"], type=AtLeast(float, 0.1), default=5.0, metavar="SECONDS",
            help="longest time for one check (default: 5)",
        ),
        *list_options(),
    ],
    help="Find what is wrong, and how to cure it; -v lists what is well too.",
    examples=("taskctl -A proj doctor", "taskctl -A proj doctor -v -o json"),
)  # fmt: skip
