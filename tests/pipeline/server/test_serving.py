"""A server that others use, kept up: what it dies of, how often, and its end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from fragile_server import FragileServer, Nursery
from supervised import QUICK

from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.server.life import ServerProcess
from embed_index.pipeline.server.serving import Watchfulness, keep_serving
from embed_index.pipeline.server.supervision import RestartPolicy
from embed_index.schemas.errors import ServerError

WATCHFUL = Watchfulness(answer_seconds=0.3, probe_pause_seconds=0.01, policy=QUICK)


@dataclass
class Keeper:
    """Keeps servers from a nursery, and hits each that is ready as the test says."""

    launch: Nursery
    watchfulness: Watchfulness = WATCHFUL
    on_ready: Callable[[FragileServer], None] = lambda _: None
    told: list[str] = field(default_factory=list)
    num_ready: int = 0
    num_wanted: int = 0
    has_enough: asyncio.Event = field(default_factory=asyncio.Event)

    def announce(self, server: ServerProcess, access: ServerAccess) -> None:
        assert isinstance(server, FragileServer)
        assert access.width == 8
        self.num_ready += 1
        if self.num_ready == self.num_wanted:
            self.has_enough.set()
        self.on_ready(server)

    async def keep(self) -> None:
        await keep_serving(
            self.launch,
            watchfulness=self.watchfulness,
            announce=self.announce,
            tell=self.told.append,
        )

    async def keep_until_ready(self, times: int) -> None:
        """Keep until so many servers became ready, then stop."""
        self.num_wanted = times
        async with asyncio.timeout(60):
            keeping = asyncio.create_task(self.keep())
            await self.has_enough.wait()
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        assert keeping.cancelled()


def dies_soon(server: FragileServer) -> None:
    asyncio.get_running_loop().call_soon(server.die)


async def test_a_server_that_crashes_has_a_successor() -> None:
    keeper = Keeper(Nursery(FragileServer), on_ready=dies_soon)

    await keeper.keep_until_ready(3)

    assert keeper.launch.num_lives == 3
    assert keeper.told[0] == "The embedding server ended unexpectedly. It is started again."


async def test_a_server_that_hangs_is_killed_and_has_a_successor() -> None:
    launch = Nursery(lambda: FragileServer(hangs=lambda _: True), FragileServer)
    keeper = Keeper(launch)

    await keeper.keep_until_ready(2)

    assert launch.servers[0].was_killed
    assert "has answered nothing" in keeper.told[0]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(FragileServer, id="idle"),
        # A request of our own would wait behind those of others.
        pytest.param(lambda: FragileServer(busy=True), id="busy"),
    ],
)
async def test_one_that_answers_somebody_is_left_alone(make: Callable[[], FragileServer]) -> None:
    keeper = Keeper(Nursery(make))
    keeping = asyncio.create_task(keeper.keep())
    answered = asyncio.Event()
    asyncio.get_running_loop().call_later(6 * WATCHFUL.answer_seconds, answered.set)
    await answered.wait()

    assert not keeping.done()
    assert keeper.launch.num_lives == 1
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_too_many_failures_in_a_row_end_it_with_the_last_reason() -> None:
    keeper = Keeper(Nursery(FragileServer), on_ready=dies_soon)

    with pytest.raises(ServerError, match=r"failed 6 times in a row; last: .*ended unexpectedly"):
        await keeper.keep()

    assert keeper.num_ready == 6


async def test_a_successor_that_does_not_start_is_one_of_the_failures() -> None:
    keeper = Keeper(Nursery(FragileServer, lambda: FragileServer(starts=False)), on_ready=dies_soon)

    with pytest.raises(ServerError, match=r"6 times in a row; last: .*while it was starting"):
        await keeper.keep()

    assert keeper.num_ready == 1


async def test_a_port_that_is_taken_at_a_restart_is_tried_again() -> None:
    launch = Nursery(FragileServer, lambda: FragileServer(has_port=False), FragileServer)

    def kill_the_first(server: FragileServer) -> None:
        if server is launch.servers[0]:
            dies_soon(server)

    keeper = Keeper(launch, on_ready=kill_the_first)

    await keeper.keep_until_ready(2)

    assert launch.num_lives == 3
    assert "Port 30000" in keeper.told[1]


async def test_the_first_server_that_does_not_start_ends_it_at_once() -> None:
    keeper = Keeper(Nursery(lambda: FragileServer(starts=False)))

    with pytest.raises(ServerError, match="ended while it was starting"):
        await keeper.keep()

    assert keeper.launch.num_lives == 1


async def test_failures_far_apart_are_not_counted_together() -> None:
    lenient = Watchfulness(
        answer_seconds=0.3,
        probe_pause_seconds=0.01,
        steady_seconds=0.0,
        policy=RestartPolicy(max_deaths=1, first_pause_seconds=0.0),
    )
    keeper = Keeper(Nursery(FragileServer), watchfulness=lenient, on_ready=dies_soon)

    await keeper.keep_until_ready(8)


async def test_the_pause_grows_with_the_failures() -> None:
    policy = RestartPolicy(max_deaths=3, first_pause_seconds=0.05)
    slow = Watchfulness(answer_seconds=0.3, probe_pause_seconds=0.01, policy=policy)
    keeper = Keeper(Nursery(FragileServer), watchfulness=slow, on_ready=dies_soon)
    began = asyncio.get_running_loop().time()

    with pytest.raises(ServerError):
        await keeper.keep()

    assert asyncio.get_running_loop().time() - began > 0.05 + 0.1 + 0.2


async def test_stopping_leaves_no_server() -> None:
    keeper = Keeper(Nursery(FragileServer))

    await keeper.keep_until_ready(1)

    assert not keeper.launch.servers[0].is_alive()
    assert not keeper.launch.servers[0].was_killed
