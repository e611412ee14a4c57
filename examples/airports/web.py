"""The airports over HTTP: actions, and a server for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

import uvicorn
from fastapi import HTTPException
from fastapi.responses import HTMLResponse

from airports.database import Airport
from airports.services import AirportService, UnknownAirport, each_airport
from stillfresh import App, HttpCache, action, computation, inject

PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1><ol>{items}</ol>"""


class AirportApi:
    """What the services know, for browsers and programs."""

    airports = inject(AirportService)

    @action("/airports/{icao}", cache=HttpCache("1 hour", tags=["airports", "airport:{icao}"]))
    async def airport(self, icao: str) -> Airport:
        """One airport, as JSON."""
        try:
            return await self.airports.airport(icao)
        except UnknownAirport:
            raise HTTPException(404, f"no airport has the code {icao}") from None

    @action("/nearest", cache="10 minutes")
    async def nearest(self, latitude: float, longitude: float, count: int = 3) -> list[Airport]:
        """The airports closest to a point; a change to one of them drops this answer, too."""
        found = await self.airports.nearest(latitude, longitude, count)
        computation().tags.update(each_airport(found))
        return found

    @action(
        "/countries/{country}",
        cache=HttpCache("1 hour", tags=["airports", "country:{country}"]),
        response_class=HTMLResponse,
    )
    async def country(self, country: str) -> str:
        """The airports of a country, as a page for people."""
        found = await self.airports.by_country(country)
        items = "".join(f"<li>{escape(one.name)} ({one.icao})</li>" for one in found)
        return PAGE.format(title=f"{len(found)} airports of {escape(country)}", items=items)

    @action("/airports/{icao}", method="PATCH")
    async def rename(self, icao: str, name: str) -> Airport:
        """Write a new name; the service drops every answer that shows the old one."""
        await self.airports.rename(icao, name)
        return await self.airport(icao)


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[str]:
    """Serve a running app on a free loopback port, and yield its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
