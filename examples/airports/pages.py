"""The part of the story that is told over HTTP, with a real server and a real client."""

from __future__ import annotations

import asyncio

import httpx

from airports.database import Database
from airports.terminal import Story
from airports.web import AirportApi, serving
from stillfresh import App


async def the_web(story: Story, app: App, database: Database) -> None:
    """Serve the app, and ask it."""
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        await a_page_and_a_304(story, client, database)
        await many_clients(story, client, app, database)
        await a_change(story, client)


async def a_page_and_a_304(story: Story, client: httpx.AsyncClient, database: Database) -> None:
    """
    The same over HTTP: 200 with an ETag, then 304 without a body.

    A client that shows the tag of what it has gets no bytes again.
    """
    story.step(a_page_and_a_304)
    with story.run():
        page = await client.get("/airports/EGLL")
    tag = page.headers["etag"]
    story.say(f"   {page.status_code}, {len(page.content)} bytes, ETag {tag}")
    story.say(f"   Cache-Status: {page.headers['cache-status']}")
    queries = database.queries
    with story.run():
        again = await client.get("/airports/EGLL", headers={"If-None-Match": tag})
    story.claim(
        f"{again.status_code}, {len(again.content)} bytes, queries: {database.queries - queries}",
        holds=again.status_code == 304 and not again.content and database.queries == queries,
    )


async def many_clients(
    story: Story, client: httpx.AsyncClient, app: App, database: Database
) -> None:
    """
    Many clients, one run of the handler.

    All ask at once for a page that nobody has asked for.
    """
    story.step(many_clients)
    api, queries = app.get(AirportApi), database.queries
    with story.run() as all_of_them:
        answers = await asyncio.gather(*(client.get("/countries/IE") for _ in range(50)))
    story.claim(
        f"{all_of_them}, answers: {len(answers)}, runs: {api.country.stats.misses}, "
        f"queries: {database.queries - queries}",
        holds=api.country.stats.misses == database.queries - queries == 1
        and len({answer.text for answer in answers}) == 1,
    )


async def a_change(story: Story, client: httpx.AsyncClient) -> None:
    """
    After a change, the old page is gone.

    PATCH renames an airport. The service knows nothing of pages: they have the same tags.
    """
    story.step(a_change)
    before = await client.get("/countries/IS")
    with story.run():
        await client.patch("/airports/BIRK", params={"name": "Reykjavík Airport"})
    with story.run():
        after = await client.get("/countries/IS", headers={"If-None-Match": before.headers["etag"]})
    story.claim(
        f"{after.status_code}, with the new name",
        holds=after.status_code == 200 and "Reykjavík Airport" in after.text,
    )
