"""The settings of an app: `app.conf`.

Layers, the first that has a value wins: command line, environment (the URLs only), changes,
defaults that were added, the configuration object, the project file, the table's defaults.
The configuration object is read when a key is first asked for; changes made before that are
kept when another object is taken later, changes made after it are not (as Celery 5.7 does it).
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

from .errors import ImproperlyConfigured, SettingError
from .redact import mask
from .settings_checks import Problem, find_problems
from .settings_source import (
    DEFAULT,
    Names,
    Origin,
    Source,
    caller,
    load_holder,
    named_in_environment,
    reject_mixture,
)
from .settings_table import SETTINGS, Setting, find_option
from .settings_types import coerce
from .settings_urls import DERIVED, ENVIRONMENT
from .settings_views import Explanation, as_text, explain, project_entries
from .ways import celerys

__all__ = ("Explanation", "Origin", "Problem", "Settings")


class Entry(NamedTuple):
    """A value, and where it was set."""

    value: Any
    origin: Origin


Layer = dict[str, Entry]


class Settings(MutableMapping[str, Any]):
    """The settings of one app, by attribute or by item, under new or old names.

    Wrong types and unknown names raise SettingError, which names the place.
    `before_read` and `after_read` are called around the first read, `on_change` after any change.
    `celery_defaults` takes Celery's defaults where ours differ; None: as `ways` has it.
    """

    def __init__(
        self,
        preconf: Mapping[str, Any] | None = None,
        *,
        namespace: str | None = None,
        celery_defaults: bool | None = None,
        before_read: Callable[[], object] | None = None,
        after_read: Callable[[], object] | None = None,
        on_change: Callable[[], object] | None = None,
    ) -> None:
        put = self.__dict__.__setitem__
        put("_lock", threading.RLock())
        put("_version", 0)
        put("_names", Names(namespace))
        put("_celery_defaults", celerys() if celery_defaults is None else celery_defaults)
        put("before_read", before_read)
        put("after_read", after_read)
        put("on_change", on_change)
        put("_override", {})
        put("_changes", {})
        put("_preconf", {})
        put("_unmixed", set())
        put("_added", [])
        put("_pending", [])
        put("_wanted", None)
        put("_source", None)
        put("_project", {})
        put("_defaults", {})
        put("_state", "unread")
        if preconf:
            self.set_preconf(preconf)

    # -- where values come from

    def set_preconf(self, values: Mapping[str, Any]) -> None:
        """Take what the app was made with; a value of None is as if not given."""
        origin = Origin("app", *caller())
        for written, value in values.items():
            if value is not None:
                key, entry = self._accept(written, value, origin)
                self._preconf[key] = entry
        self._forget()

    def use_object(
        self, source: Any, *, silent: bool = False, force: bool = False,
        namespace: str | None = None,
    ) -> bool:  # fmt: skip
        """Take settings from a module name, `module:attr`, module, class, object or dict.

        It is read at the first access, or now with `force` or if another was read already;
        then changes made after that first read are dropped.  `silent`: it may be missing.
        Returns False only if it was to be read now and is missing.
        """
        with self._lock:
            origin = Origin("object", *caller())
            self.__dict__["_wanted"] = (source, silent, origin)
            if namespace:
                self.__dict__["_names"] = Names(namespace)
            if not (force or self.configured):
                return True
            self._changes.clear()
            self._added.clear()
            self.__dict__.update(_source=None, _state="unread")
            self._forget()
            self.read()
            return self._source is not None

    def use_envvar(self, name: str, *, silent: bool = False, force: bool = False) -> bool:
        """Take settings from the module that an environment variable names."""
        module = os.environ.get(name)
        if not module:
            if silent:
                return False
            raise ImproperlyConfigured(
                f"environment variable {name} is not set: it must name a module of settings"
            )
        return self.use_object(module, silent=silent, force=force)

    def use_project_file(self, values: Mapping[str, Any], path: str) -> None:
        """Take what `[tool.taskctl]` says; weaker than anything the app says."""
        layer: Layer = {}
        for written, value, origin in project_entries(values, path):
            key, entry = self._accept(written, value, origin)
            layer[key] = entry
        self.__dict__["_project"] = layer
        self._forget()

    def add_defaults(self, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Add defaults that beat the configuration object; a callable is called when it is read.

        The last ones added win.
        """
        pending = (values, Origin("app", *caller()))
        with self._lock:
            if self.configured:
                self._added.insert(0, self._layer(*pending))
                self._forget()
            else:
                self._pending.append(pending)

    def override(self, values: Mapping[str, Any], origin: Origin | None = None) -> None:
        """Let these win over everything else; text is read as the setting wants it."""
        where = origin or Origin("cli")
        for written, value in values.items():
            key, entry = self._accept(written, value, where, text=isinstance(value, str))
            self._override[key] = entry
        self._forget()

    def _accept(
        self, written: str, value: Any, origin: Origin, text: bool = False
    ) -> tuple[str, Entry]:
        """Return the setting's name and its checked value; anything else may be kept beside."""
        key = self._names.new_name(written)
        if key is None:
            if complaint := self._names.complaint(written):
                raise SettingError(written, complaint, origin.where)
            return written, Entry(value, origin)
        try:
            return key, Entry(coerce(SETTINGS[key], value, text=text), origin)
        except ValueError as exc:
            raise SettingError(key, str(exc), origin.where) from None

    # -- reading the configuration object

    @property
    def configured(self) -> bool:
        """Whether the configuration object was read."""
        return bool(self._state == "read")

    def read(self) -> Settings:
        """Read the configuration object now, if that has not been done."""
        if self._state == "read":
            return self
        with self._lock:
            if self._state != "unread":
                return self
            self.__dict__["_state"] = "reading"
            try:
                self._read()
            except BaseException:
                self.__dict__["_state"] = "unread"
                raise
            finally:
                self._forget()
            if self.after_read is not None:
                self.after_read()
        return self

    def _read(self) -> None:
        if self.before_read is not None:
            self.before_read()
        source = self._open_source()
        if source is None:
            if not self._names.prefix:
                reject_mixture(self._unmixed)
        elif source.errors:
            raise source.errors[0]
        self.__dict__["_source"] = source
        added = [self._layer(values, origin) for values, origin in self._pending]
        self._added[:0] = reversed(added)
        self._pending.clear()
        self.__dict__["_state"] = "read"

    def _open_source(self) -> Source | None:
        holder, silent, origin = self._wanted or named_in_environment()
        if isinstance(holder, str):
            holder = load_holder(holder, silent, origin) if holder else None
        return None if holder is None else Source(holder, self._names, origin)

    def _layer(self, values: Any, origin: Origin) -> Layer:
        given = values() if callable(values) else values
        return dict(self._accept(written, value, origin) for written, value in given.items())

    # -- looking up

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        version = self._version
        try:
            value = self._find(name)
        except KeyError:
            near = self._names.nearest(name)
            raise AttributeError(
                f"no setting {name!r}" + (f": {near}?" if near else ""), name=name, obj=self
            ) from None
        if name in SETTINGS and name not in ENVIRONMENT and self.configured:
            with self._lock:
                if self._version == version:
                    self.__dict__[name] = value
        return value

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key] if key in SETTINGS and key in self.__dict__ else self._find(key)

    def _find(self, written: str) -> Any:
        self.read()
        key = self._names.new_name(written)
        if key is None:
            return self._find_extra(written)
        found = self._entry(key)
        value = self._default(key) if found is None else found.value
        return DERIVED[key](self, value) if key in DERIVED else value

    def _entry(self, key: str) -> Entry | None:
        """Return the winning entry of a setting, or None if only the default is left."""
        if key in self._override:
            return self._override[key]  # type: ignore[no-any-return]
        for variable in ENVIRONMENT.get(key, ()):
            if value := os.environ.get(variable):
                return Entry(value, Origin("env", variable))
        for layer in (self._changes, self._preconf, *self._added):
            if key in layer:
                return layer[key]  # type: ignore[no-any-return]
        source = self._source
        if source is not None and key in source.settings:
            return Entry(source.settings[key], source.origin(key))
        return self._project.get(key)  # type: ignore[no-any-return]

    def _default(self, key: str) -> Any:
        """Return the table's default; a copy of our own, since users change dicts in place."""
        if key not in self._defaults:
            row = SETTINGS[key]
            value = row.celery_default() if self._celery_defaults else row.default
            self._defaults[key] = copy.deepcopy(value)
        return self._defaults[key]

    def _find_extra(self, written: str) -> Any:
        found = self._entry(written)
        if found is not None:
            return found.value
        if self._source is not None:
            return self._source.get(written)
        raise KeyError(written)

    def _forget(self) -> None:
        """Drop what `__getattr__` remembered, and what it is about to."""
        with self._lock:
            self.__dict__["_version"] += 1
            for name in list(self.__dict__):
                if name in SETTINGS:
                    del self.__dict__[name]
        if self.on_change is not None:
            self.on_change()

    # -- changing

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ and name not in SETTINGS:
            self.__dict__[name] = value
        else:
            self[name] = value

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *args: Any, **more: Any) -> None:
        """Change settings; before the first read too."""
        origin = Origin("app", *caller())
        accepted = [
            (written, *self._accept(written, value, origin))
            for written, value in dict(*args, **more).items()
        ]
        with self._lock:
            layer = self._changes if self.configured else self._preconf
            for written, key, entry in accepted:
                layer[key] = entry
                if not self.configured:
                    self._unmixed.add(written)
        self._forget()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Set a key unless it was changed already (before the first read), or has any value."""
        name = self._names.new_name(key) or key
        if self.configured:
            if name not in SETTINGS and key not in self:
                self[key] = default
        elif name not in self._preconf:
            self[key] = default
            return default
        else:
            return self._preconf[name].value
        return self[key]

    def __delitem__(self, key: str) -> None:
        name = self._names.new_name(key) or key
        gone = [layer.pop(name, None) for layer in (self._changes, self._preconf)]
        self._forget()
        if gone == [None, None]:
            raise KeyError(f"{key!r} was not changed")

    def clear(self) -> None:
        """Take back all changes."""
        self._changes.clear()
        self._preconf.clear()
        self._forget()

    # -- all of them

    def __iter__(self) -> Iterator[str]:
        self.read()
        yield from SETTINGS
        yield from (key for key in self._set_keys() if key not in SETTINGS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        try:
            self._find(key)  # type: ignore[arg-type]
        except (KeyError, AttributeError, TypeError):
            return False
        return True

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        state = f"{len(self.without_defaults())} set" if self.configured else "not read yet"
        return f"<Settings: {state}>"

    def _set_keys(self) -> list[str]:
        """Return what was set anywhere: weakest layer first, each in the order it was written."""
        source = self._source
        held = (source.settings, source.extras) if source is not None else ()
        from_env = [key for key, names in ENVIRONMENT.items() if any(map(os.environ.get, names))]
        layers = (
            self._project, *held, *reversed(self._added), self._preconf, self._changes,
            from_env, self._override,
        )  # fmt: skip
        return list(dict.fromkeys(key for layer in layers for key in layer))

    # -- asking about them

    def first(self, *keys: str) -> Any:
        """Return the first value that is not None."""
        return next((v for v in map(self.get, keys) if v is not None), None)

    def value_set_for(self, key: str) -> bool:
        """Return whether a setting was set anywhere."""
        self.read()
        return (self._names.new_name(key) or key) in self._set_keys()

    def find_option(self, name: str, namespace: str = "") -> tuple[str, str, Setting] | None:
        """Return (prefix, rest, setting) of a name without its prefix; `namespace` goes first."""
        return find_option(name, namespace)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """Return the value of a setting named without its prefix."""
        option = self.find_option(name, namespace)
        if option is None:
            raise KeyError(name)
        return self[option[2].name]

    def get_by_parts(self, *parts: str) -> Any:
        """Return the value of the setting whose name the parts make up."""
        return self["_".join(filter(None, parts))]

    def origin(self, key: str) -> Origin:
        """Return where the value of a setting was set."""
        self.read()
        found = self._entry(self._names.new_name(key) or key)
        return DEFAULT if found is None else found.origin

    def places(self, key: str) -> list[tuple[Any, Origin]]:
        """Return every place that sets this key, as (value, origin); the one that wins first."""
        self.read()
        name = self._names.new_name(key) or key
        found = [layer[name] for layer in (self._override,) if name in layer]
        for variable in ENVIRONMENT.get(name, ()):
            if value := os.environ.get(variable):
                found.append(Entry(value, Origin("env", variable)))
        layers = (self._changes, self._preconf, *self._added)
        found += [layer[name] for layer in layers if name in layer]
        source = self._source
        if source is not None and name in source.settings:
            found.append(Entry(source.settings[name], source.origin(name)))
        if name in self._project:
            found.append(self._project[name])
        return [(entry.value, entry.origin) for entry in found]

    def explain(self, key: str) -> Explanation:
        """Return value, origin, default, type and meaning of a setting, secrets masked."""
        name = self._names.new_name(key)
        if name is None:
            near = self._names.nearest(key, 0.6)
            raise SettingError(key, f"unknown setting {key!r}" + (f": {near}?" if near else ""))
        return explain(SETTINGS[name], self[name], self._default(name), self.origin(name))

    def check(self) -> list[Problem]:
        """Return what is wrong or does nothing: unknown, unsupported, conflicting settings."""
        source = self._source if self.configured else self._open_source()
        if source is not None and source.errors:
            return [Problem.of_error(exc) for exc in source.errors]
        self.read()
        found = {} if source is None else {n: source.origin(n).where for n in source.suspects}
        return find_problems(self, found)

    def without_defaults(self) -> dict[str, Any]:
        """Return what was set anywhere, under new names."""
        self.read()
        return {key: self[key] for key in self._set_keys()}

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return settings as a dict, secrets masked unless told otherwise."""
        values = dict(self.items()) if with_defaults else self.without_defaults()
        return {key: mask(value, key) for key, value in values.items()} if censored else values

    def humanize(
        self, with_defaults: bool = False, censored: bool = True, exactly: bool = False
    ) -> str:
        """Return settings as text, `key: value` a line; tuples and dicts below their key.

        `exactly` as Celery writes them, to the byte.
        """
        table = self.table(with_defaults, censored)
        if exactly and not with_defaults:
            # Celery lists this note of its own between what the app was made with and changes.
            late = {*self._unmixed, *self._changes}
            before = {key: value for key, value in table.items() if key not in late}
            after = {key: value for key, value in table.items() if key in late}
            table = {**before, "deprecated_settings": None, **after}
        return as_text(table, exactly=exactly)
