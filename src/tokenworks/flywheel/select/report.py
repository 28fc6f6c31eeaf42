"""What selection says of its work: where everything went, and what a person should look at."""

from __future__ import annotations

import msgspec

from tokenworks.flywheel.select.evidence import Campaign, Culprit, Trigger


class SelectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one selection: rows = the sum of train, fresh, pairs and clicks, of set_aside and quarantined."""

    task: str
    kind: str
    label: str
    until: float
    requests: int  # answered, of the task
    feedback: int
    unknown: int  # feedback on requests of other tasks, or that are not in the log
    left_out: dict[str, int]  # requests whose text was not used, by reason
    rows: int  # that the feedback made
    unusable: dict[str, int]  # statements that made no row, by reason
    set_aside: dict[str, int]  # rows, by reason
    quarantined: int
    pardoned: int  # rows that a person released
    masked: int  # rows in which personal data was replaced
    counts: dict[str, int]  # rows of each part
    new: int
    classes: dict[str, int]  # classify: rows learned or measured on
    principals: int
    share: float  # the most that one principal may make up
    cap: int  # in rows
    capped: dict[str, int]  # principal -> rows over the cap
    features: str  # what the guards looked at
    culprits: list[Culprit]
    campaigns: list[Campaign]
    triggers: list[Trigger]
    notes: list[str]


def story(report: SelectionReport) -> list[str]:
    """Return the report in lines for a screen."""
    parts = ", ".join(f"{count:,} {name}" for name, count in report.counts.items() if count)
    lines = [
        f"{report.feedback:,} feedback entries on {report.requests:,} answered requests: {parts or 'nothing to learn'}",
        f"label {report.label}; {report.principals} principals, at most {report.cap} rows each",
    ]
    for title, counts in (
        ("not used", report.left_out),
        ("unusable", report.unusable),
        ("set aside", report.set_aside),
    ):
        if shown := ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count):
            lines.append(f"{title}: {shown}")
    lines += [f"quarantine: {report.quarantined:,} rows wait for a person"] if report.quarantined else []
    for campaign in report.campaigns:
        lines.append(
            f"campaign towards {campaign.label!r}: {campaign.doubtful} doubtful corrections where "
            f"{campaign.expected:.0f} are usual"
        )
    lines += [f"trigger {each.phrase!r}: {each.rows} rows of {each.principals} principals" for each in report.triggers]
    if report.culprits:
        names = ", ".join(culprit.principal for culprit in report.culprits[:5])
        more = f" and {len(report.culprits) - 5} more" if len(report.culprits) > 5 else ""
        lines.append(f"behind it: {names}{more}")
    return [*lines, *report.notes]
