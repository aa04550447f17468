"""A client that connects while EGO stops gets an answer, or no connection. It never gets a connection that is reset."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.builders import make_sample
from tests.faults import print_figures, short_and_full
from tests.servers import EgoServer, wait_until

CLIENTS = 4
REFUSED = "no connection"


class Hammer:
    """Clients that post samples one after the other, until nobody listens any more.

    With `is_fresh` each request has a connection of its own, else one lasts until EGO says that it ends.
    """

    def __init__(self, ego: EgoServer, *, is_fresh: bool):
        self._port, self._is_fresh, self._numbers = ego.port, is_fresh, iter(range(10**9))
        self.outcomes: Counter[int | str] = Counter()
        self.without_advice = 0  # answers that say neither that it is stored nor when to come again
        self.last_answer_at = 0.0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive()

    def _work(self) -> None:
        connection = None
        while True:
            try:
                connection = connection or self._connected()
            except ConnectionRefusedError:
                self.outcomes[REFUSED] += 1
                return
            try:
                ends = self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[repr(error)] += 1
                ends = True
            if ends or self._is_fresh:
                connection.close()
                connection = None

    def _connected(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.connect()
        return connection

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """Post a sample; whether the connection ends with the answer."""
        body = json.dumps({"samples": [make_sample(f"host-{next(self._numbers) % 50}")]})
        connection.request("POST", "/api/metrics/batch", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        self.outcomes[answer.status] += 1
        self.last_answer_at = time.monotonic()
        if answer.status != 202 and not answer.getheader("Retry-After"):
            self.without_advice += 1
        return answer.getheader("Connection") == "close"


@pytest.mark.parametrize("rounds", short_and_full(2, 20))
@pytest.mark.parametrize("is_fresh", [True, False], ids=["a connection each", "kept connections"])
def test_every_connection_is_answered_while_ego_stops(
    start_ego: Callable[..., EgoServer], is_fresh: bool, rounds: int
) -> None:
    ego, outcomes, answered_late = start_ego(), Counter[int | str](), 0
    for number in range(rounds):
        if number:
            ego.start()
        hammer = Hammer(ego, is_fresh=is_fresh)
        wait_until(lambda hammer=hammer: hammer.outcomes[202] > 50, what="the clients are at work")
        assert ego.process is not None
        stopped_at = time.monotonic()
        ego.process.terminate()
        hammer.join()
        ego.process.wait(timeout=30)
        answered_late += hammer.last_answer_at > stopped_at
        assert hammer.without_advice == 0
        outcomes += hammer.outcomes
    print_figures("connections while EGO stops", **{str(outcome): count for outcome, count in outcomes.items()})
    assert answered_late == rounds
    assert outcomes.keys() <= {202, 503, REFUSED}
    assert outcomes[REFUSED] == rounds * CLIENTS
