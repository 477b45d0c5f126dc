"""The weather, by Open-Meteo (https://open-meteo.com/en/docs). It needs no key (for non-commercial use)."""

from __future__ import annotations

from typing import Any

from aios.errors import ToolError
from aios.syscalls import Record
from aios.tools.services.service import FACTS, Service
from aios.tools.tool import Bound, bind

PLACES = "https://geocoding-api.open-meteo.com/v1/search"
FORECAST = "https://api.open-meteo.com/v1/forecast"
NOW = ("temperature_2m", "relative_humidity_2m", "precipitation", "wind_speed_10m", "weather_code")
DAILY = ("temperature_2m_min", "temperature_2m_max", "precipitation_sum", "weather_code")
KINDS = ((0, "clear"), (3, "cloudy"), (48, "fog"), (57, "drizzle"), (67, "rain"), (77, "snow"), (82, "showers"),
         (86, "snow showers"), (99, "thunderstorm"))  # fmt: skip
"""WMO weather codes up to a number."""


class Day(Record, frozen=True):
    """Degrees Celsius, millimetres."""

    date: str
    low: float
    high: float
    rain_mm: float
    sky: str


class Weather(Record, frozen=True):
    """Degrees Celsius, percent, km/h."""

    place: str
    temperature: float
    humidity: float
    wind_kmh: float
    sky: str
    days: tuple[Day, ...]


class OpenMeteo(Service):
    name = "Open-Meteo"

    def tools(self) -> list[Bound]:
        return [bind(self.forecast, **FACTS)]

    async def forecast(self, place: str, days: int = 3) -> Weather:
        """Tell the weather now and for some days.

        place: a town
        days: 1 to 16
        """
        places = self.parsed(await self.get(PLACES, {"name": place, "count": 1}))
        found: list[dict[str, Any]] = places.get("results") or []
        if not found:
            raise ToolError(f"There is no place {place!r}.", "Name a town, without its country.")
        asked: dict[str, str | int] = {
            "latitude": str(found[0]["latitude"]), "longitude": str(found[0]["longitude"]), "timezone": "auto",
            "current": ",".join(NOW), "daily": ",".join(DAILY), "forecast_days": max(1, min(16, days)),
        }  # fmt: skip
        told = self.parsed(await self.get(FORECAST, asked))
        now: dict[str, Any] = told["current"]
        columns = [told["daily"][name] for name in ("time", *DAILY)]
        return Weather(
            place=", ".join(str(found[0][key]) for key in ("name", "country") if found[0].get(key)),
            temperature=now["temperature_2m"], humidity=now["relative_humidity_2m"],
            wind_kmh=now["wind_speed_10m"], sky=_sky(now["weather_code"]),
            days=tuple(
                Day(date=date, low=low, high=high, rain_mm=rain, sky=_sky(code))
                for date, low, high, rain, code in zip(*columns, strict=True)
            ),
        )  # fmt: skip


def package() -> list[Bound]:
    """The tools of this package."""
    return OpenMeteo().tools()


def _sky(code: int) -> str:
    return next((kind for most, kind in KINDS if code <= most), f"code {code}")
