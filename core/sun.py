"""The events of the sun at a place, as the package ephem works them out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from .errors import ImproperlyConfigured

#: Days to look ahead for an event that does not happen every day.
_SEARCH_DAYS = 366


class _Event(NamedTuple):
    """How ephem finds an event: degrees above the horizon, the search, the sun's edge or center.

    Horizons are those of Celery 5.7 schedules.py, which are the U.S. Naval Observatory's.
    """

    horizon: str
    search: str
    center: bool = False


EVENTS = {
    "dawn_astronomical": _Event("-18", "next_rising", True),
    "dawn_nautical": _Event("-12", "next_rising", True),
    "dawn_civil": _Event("-6", "next_rising", True),
    "sunrise": _Event("-0:34", "next_rising"),
    "solar_noon": _Event("0", "next_transit"),
    "sunset": _Event("-0:34", "next_setting"),
    "dusk_civil": _Event("-6", "next_setting", True),
    "dusk_nautical": _Event("-12", "next_setting", True),
    "dusk_astronomical": _Event("-18", "next_setting", True),
}


class Sun:
    """One event at one place; degrees are positive to the north and east.

    Raises ImproperlyConfigured if ephem is not installed, ValueError for an event or a place that
    does not exist.
    """

    def __init__(self, event: str, latitude: float, longitude: float) -> None:
        if event not in EVENTS:
            raise ValueError(f"no solar event {event!r}: choose {', '.join(EVENTS)}")
        if not -90 <= latitude <= 90:
            raise ValueError(f"latitude must be -90 to 90, got {latitude}")
        if not -180 <= longitude <= 180:
            raise ValueError(f"longitude must be -180 to 180, got {longitude}")
        self.event = EVENTS[event]
        self.latitude = latitude
        self.longitude = longitude
        self._ephem = _ephem()

    def after(self, moment: datetime) -> datetime:
        """Return when the event happens next after `moment`; both in UTC.

        If it does not within a year, the day on which the search ended.
        """
        ephem, place, sun = self._ephem, self._place(), self._ephem.Sun()
        options = {"use_center": True} if self.event.center else {}
        found = ephem.Date(moment.replace(tzinfo=None))
        for _ in range(_SEARCH_DAYS):
            try:
                found = getattr(place, self.event.search)(sun, start=found, **options)
                break
            except ephem.CircumpolarError:
                found = place.next_antitransit(sun, start=found)
        when: datetime = found.datetime()
        return when.replace(tzinfo=UTC)

    def _place(self) -> Any:
        place = self._ephem.Observer()
        place.lat, place.lon = str(self.latitude), str(self.longitude)
        place.elev = place.pressure = 0
        place.horizon = self.event.horizon
        return place


def _ephem() -> Any:
    try:
        # An optional driver, for those who look at the sun.
        import ephem  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as exc:
        raise ImproperlyConfigured(
            "solar schedules need the package ephem: pip install 'taskctl[solar]'"
        ) from exc
    return ephem
