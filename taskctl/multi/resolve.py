"""Which nodes a command line means: those it names and spells out, or those on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .fleet import Renewal
from .grammar import Line, UsageError
from .nodes import Node, Spec, build, is_count, node_names, overlay, settings_by_node, spec_of
from .records import Record, RecordError, Records
from .stopper import Target

#: Options of multi that decide names; with one of them a name means just that.
_NAMING = frozenset({"--hostname", "--prefix", "--suffix", "--range-prefix"})
#: Options of multi that decide what is run.
_SPEC = frozenset({"--cmd", "--append"})


def nodes_to_start(line: Line, words: Sequence[str]) -> tuple[list[Node], list[str]]:
    """Return the nodes as the line spells them out, and warnings; records do not count.

    Raises UsageError.
    """
    names = node_names(line, words)
    settings, warnings = settings_by_node(line, words, names)
    return [build(name, spec_of(line, settings[name])) for name in names], warnings


def targets(
    line: Line, records: Records, *, lenient: bool = False
) -> tuple[list[Target], list[str]]:
    """Return the nodes to stop or look at, and warnings.

    Without names: all on record. A pidfile given now is believed before the recorded one.
    A record that cannot be read is the `trouble` of its target if `lenient`.

    Raises UsageError, and RecordError for a record that cannot be read.
    """
    names, words = _names(line, records)
    settings, warnings = settings_by_node(line, words, names)
    found = []
    for name in names:
        record, trouble = None, None
        try:
            record = records.load(name)
        except RecordError as exc:
            if not lenient:
                raise
            trouble = str(exc)
        node = build(name, spec_of(line, settings[name]))
        given = {setting.option.name for setting in settings[name]}
        files = (node.pidfile, node.logfile, node.healthfile)
        if record is not None:
            files = (
                node.pidfile if "--pidfile" in given else record.pidfile,
                node.logfile if "--logfile" in given else record.logfile,
                record.healthfile
                if record.healthfile and "--health-file" not in given
                else node.healthfile,
            )
        found.append(Target(name, *files, record=record, trouble=trouble))
    return found, warnings


def renewals(line: Line, records: Records) -> tuple[list[Renewal], list[str]]:
    """Return the nodes to restart: where each is now, and what comes in its place.

    Raises UsageError, and RecordError for a record that cannot be read.
    """
    found, warnings = targets(line, records)
    names = [target.name for target in found]
    words = line.words or names
    settings, _ = settings_by_node(line, words, names)
    given_anything = bool(line.settings or line.rest or _SPEC & line.own.keys())
    result = []
    for target in found:
        given = spec_of(line, settings[target.name])
        if target.record is None:
            if not given_anything:
                raise UsageError(
                    f"no record of {target.name}, so its options are not known",
                    f"give them: taskctl multi restart {target.name.partition('@')[0]} -A APP ...",
                )
            node = build(target.name, given)
        else:
            node = _renewed(target.record, given)
        result.append(Renewal(_where_it_is(target), node))
    return result, warnings


def _renewed(record: Record, given: Spec) -> Node:
    spec = overlay(record.spec, given)
    # A line that replaces the record says all; the variables of then belong to the line of then.
    return build(record.name, spec, None if spec is given else record.env)


def _where_it_is(target: Target) -> Target:
    """Look at the recorded pidfile if the given one is another and nobody stands behind it."""
    record = target.record
    if record is None or record.pidfile == target.pidfile or target.look() is not None:
        return target
    return replace(target, pidfile=record.pidfile)


def _names(line: Line, records: Records) -> tuple[list[str], list[str]]:
    """Return full names, and the words they come from."""
    if not line.words:
        names = records.names()
        if not names:
            raise UsageError(
                f"no node on record, so multi {line.command} wants names",
                f"example: taskctl multi {line.command} w1",
            )
        return names, names
    names = node_names(line, line.words)
    if _NAMING & line.own.keys():
        return names, line.words
    pairs = zip(names, _typed(line, names), strict=True)
    return [_on_record(name, word, records) for name, word in pairs], line.words


def _typed(line: Line, names: list[str]) -> list[str]:
    return [name.partition("@")[0] for name in names] if is_count(line.words) else line.words


def _on_record(name: str, word: str, records: Records) -> str:
    """Return the name on record that a short one stands for, whatever its host part."""
    recorded = records.names()
    if "@" in word or name in recorded:
        return name
    same = [one for one in recorded if one.partition("@")[0] == word]
    if len(same) > 1:
        raise UsageError(f"{word} stands for several nodes: {', '.join(same)}; give the full name")
    return same[0] if same else name
