"""Looks at the rows of the compiled loop for requests that repeat each other (`xbar.hw.events.repetition`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from xbar.hw.events.repetition import Look, Mark, is_told
from xbar.hw.events.state import DIGITS

if TYPE_CHECKING:
    from xbar.hw.events.fast import Numbers


class LookAtRows(Look):
    """Looks at the rows of the compiled loop: the state that `xbar.hw.events.state` tells of processes, told of rows. Who waits where
    is told in the order in which they will be served, vectors by copy, sample and number, and what is stale not at all."""

    def __init__(self, numbers: "Numbers", memory: np.ndarray, room: np.ndarray):
        super().__init__(numbers.simulation)
        self.numbers, self.loop, self.m, self.room = numbers, numbers.loop, memory, room
        self.told = is_told(numbers.simulation)
        self.open = self.open and self.told

    def untouched(self, served: int) -> int:
        """See `Look`."""
        c = self.loop
        if not self.simulation.off_chip_io:
            return self.unseen()
        requests = self.numbers.table(self.m, "requests")[served:]
        behind = (requests[:, c.R_STATE] == c.IN_LINE) & (requests[:, c.R_AT] == self.m[c.IN_READERS] + 1)
        found = np.flatnonzero(behind | (requests[:, c.R_STATE] == c.COMING))
        return served + int(found[0]) if len(found) else self.all

    def unseen(self) -> int:
        """See `Look`."""
        c, copies = self.loop, self.numbers.table(self.m, "copies")
        if (copies[:, c.C_STATE] == c.ENDED).any():
            return self.all
        return int(copies[:, c.C_SAMPLE].max()) + 1

    def mark(self, served: int) -> Mark:
        """See `Look`."""
        c, m, numbers = self.loop, self.m, self.numbers
        counts, taken = numbers.table(m, "shipments")[:, c.H_SENT].tolist(), numbers.table(m, "units")[:, c.U_TIME].tolist()
        return Mark(
            served, int(m[c.NOW]), int(m[c.ROWS]), int(m[c.EVENTS]),
            dict(zip(numbers.shipped, counts, strict=True)),
            {unit: taken[number] for unit, number in numbers.units.items()},
        )  # fmt: skip

    def _pool(self, name: str, width: int) -> np.ndarray:
        """All rows of a pool, free or not, with where each begins in front."""
        begin, rows = self.numbers.pools[name]
        table = self.m[begin : begin + rows * width].reshape(rows, width)
        return np.column_stack([begin + np.arange(rows) * width, table])

    def state(self, served: int, untouched: int, unseen: int) -> bytes:
        """See `Look`."""
        c, m, numbers, now = self.loop, self.m, self.numbers, int(self.m[self.loop.NOW])
        layers, requests = numbers.table(m, "layers"), numbers.table(m, "requests")

        def relative(times: np.ndarray, where: np.ndarray) -> np.ndarray:
            return np.where(where & (times != c.NEVER), times - now, np.where(where, c.NEVER, 0))

        def later(times: np.ndarray) -> np.ndarray:
            return np.maximum(times - now, 0)

        jobs = self._pool("JOB_FREE", c.J_WIDTH)
        jobs = jobs[jobs[:, 1 + c.J_COPY] != 0]
        jobs = jobs[np.lexsort((jobs[:, 1 + c.J_VECTOR], jobs[:, 1 + c.J_SAMPLE], jobs[:, 1 + c.J_COPY]))]
        by_place = np.argsort(jobs[:, 0])
        places, jobs = jobs[by_place, 0], jobs[:, 1:]

        def event(events: np.ndarray) -> np.ndarray:
            """What happens to whom, vectors by their order and requests by their distance."""
            code, who = events % c.CODES, events // c.CODES
            of_job = (code == c.JOB) | (code == c.JOB_PART) | (code == c.JOB_WRITTEN)
            of_request = (code == c.REQUEST) | (code == c.REQUEST_PART) | (code == c.READY)
            if of_job.any():
                who = np.where(of_job, by_place[np.minimum(np.searchsorted(places, who), len(places) - 1)], who)
            sample = (who - m[c.REQUEST_ROWS]) // c.R_WIDTH - served
            return code + c.CODES * np.where(of_request, sample, who)

        state, kind = jobs[:, c.J_STATE], numbers.table(m, "kinds")
        which = (jobs[:, c.J_RESULT] - jobs[:, c.J_COPY] - c.C_RESULT) // 2 - m[jobs[:, c.J_COPY] + c.C_RESULTS]
        which %= 3  # of the results of a copy, from the oldest on
        finishing = (state == c.FINISHING) | (state == c.WRITING)
        told = [np.column_stack([
            jobs[:, c.J_COPY], jobs[:, c.J_SAMPLE] - served, jobs[:, c.J_VECTOR], jobs[:, c.J_KIND], state,
            relative(jobs[:, c.J_STARTED], state == c.COMPUTING), relative(jobs[:, c.J_START], finishing),
            jobs[:, c.J_LEFT] * ((state == c.SUMMING) | (state == c.FINISHING)), jobs[:, c.J_WRITTEN] * finishing,
            jobs[:, c.J_WAITS] * finishing, which * (state < c.TRAVELLING), jobs[:, c.J_SENDING],
        ])]  # fmt: skip
        copies = numbers.table(m, "copies")
        state = copies[:, c.C_STATE]
        loading = state == c.LOADING
        results = copies[:, c.C_RESULT : c.C_RESULT + 6].reshape(-1, 3, 2)
        in_order = (copies[:, [c.C_RESULTS]] + np.arange(3)) % 3
        results = np.take_along_axis(results, in_order[:, :, None], axis=1)
        left = np.where(results[:, :, 0] < 0, -1, later(results[:, :, 0]))
        told.append(np.column_stack([
            state, copies[:, c.C_SAMPLE] - served, copies[:, c.C_AT], copies[:, c.C_STOP],
            copies[:, c.C_NEXT] * ((state == c.ROOM) | (state == c.NEEDS)), copies[:, c.C_KIND] * (state >= c.LOADING),
            relative(copies[:, c.C_START], loading), copies[:, c.C_LEFT] * loading, later(copies[:, c.C_ARRAYS]),
            later(copies[:, c.C_CONVERTERS]), left, results[:, :, 1] * (results[:, :, 0] < 0),
        ]))  # fmt: skip
        told += [later(kind[:, c.K_WRITTEN_UNTIL]), numbers.table(m, "ports")[:, c.P_DUE], numbers.table(m, "units")[:, c.U_TAKEN]]
        asking = m[m[c.ASKING] : m[c.ASKING] + m[c.ASKED] * c.ASK_WIDTH].reshape(-1, c.ASK_WIDTH)
        told.append(np.column_stack([asking[:, 0] - now, asking[:, 2]]))
        heap = m[m[c.HEAP] : m[c.HEAP] + m[c.DUE] * c.HEAP_WIDTH].reshape(-1, c.HEAP_WIDTH)
        heap = heap[np.lexsort((heap[:, 1], heap[:, 0]))]
        told.append(np.column_stack([heap[:, 0] - now, heap[:, 1] >> 56, event(heap[:, 2])]))
        nodes = self._pool("NODE", c.N_WIDTH)[:, 1:]
        nodes = nodes[nodes[:, c.N_EVENT] != 0]
        nodes = nodes[np.lexsort((nodes[:, c.N_TURN], nodes[:, c.N_RANK], nodes[:, c.N_ASKED], nodes[:, c.N_PORT]))]
        told.append(np.column_stack([nodes[:, c.N_PORT], nodes[:, c.N_ASKED] - now, nodes[:, c.N_HOLD], nodes[:, c.N_BEGINS],
                                     event(nodes[:, c.N_EVENT])]))  # fmt: skip
        # samples: of those that a copy has come to, what is done of them; and who waits for what
        some = requests[served:unseen]
        begun = np.flatnonzero(some[:, c.R_SLOT])
        width, of_layers = numbers.slot_width, c.S_WIDTH * len(layers)
        slots = m[some[begun, c.R_SLOT][:, None] + np.arange(width)]
        slots[:, :of_layers].reshape(-1, len(layers), c.S_WIDTH)[:, :, [c.HEAD, c.TAIL]] = 0
        told += [begun, slots]
        waits = self._pool("WAIT", c.W_WIDTH)[:, 1:]
        code, who = waits[:, c.W_EVENT] % c.CODES, waits[:, c.W_EVENT] // c.CODES
        first_untouched = m[c.REQUEST_ROWS] + untouched * c.R_WIDTH
        waits = waits[(waits[:, c.W_EVENT] != 0) & ~((code == c.REQUEST) & (who >= first_untouched))]
        row = waits[:, c.W_ROW]
        of_layer = (row >= numbers.rows.at["layers"]) & (row < numbers.rows.at["layers"] + layers.size)
        of_request = (row >= m[c.REQUEST_ROWS]) & (row < m[c.REQUEST_ROWS] + requests.size)
        used = np.flatnonzero(requests[:, c.R_SLOT])
        used = used[np.argsort(requests[used, c.R_SLOT])]
        slot_of = np.searchsorted(requests[used, c.R_SLOT], row, "right") - 1
        if len(used):
            sample = used[np.maximum(slot_of, 0)]
            in_slot = (sample - served) * width + row - requests[sample, c.R_SLOT]
        else:
            in_slot = row
        place = np.where(of_request, (row - m[c.REQUEST_ROWS]) // c.R_WIDTH - served, np.where(of_layer, row, in_slot))
        which, count = 2 * of_layer + of_request, waits[:, c.W_COUNT] - served * of_layer
        in_line = np.lexsort((waits[:, c.W_TURN], count, place, which))
        told.append(np.column_stack([which, place, count, event(waits[:, c.W_EVENT])])[in_line])
        told.append(layers[:, c.COMPLETE] - served)
        done = m[layers[:, c.L_DONE][:, None] + np.arange(min(unseen, self.all))]
        ahead = np.nonzero(done & (np.arange(done.shape[1]) >= layers[:, [c.COMPLETE]]))
        told += [ahead[0], ahead[1] - served]
        some = requests[served:untouched]
        state = some[:, c.R_STATE]
        on_links, leaving = (state == c.BRINGING) | (state == c.GOING), (state >= c.LEAVES) & (state <= c.GOING)
        at = np.where((state == c.IN_LINE) | (state == c.SERVING) | (state == c.ENDING), some[:, c.R_AT], 0)
        told.append(np.column_stack([
            state, some[:, c.COMPLETE], at, relative(some[:, c.R_START], on_links), some[:, c.R_LEFT] * (state == c.READING),
            later(some[:, c.R_ARRIVED]) * (leaving | (state == c.BRINGING)),
        ]))  # fmt: skip
        free = numbers.table(m, "links")[:, c.X_FREE]
        told.append(later(free))
        first, rows = numbers.pools["BLOCK"]
        blocks = m[first : first + rows * c.G_WIDTH].reshape(rows, c.G_WIDTH)
        blocks = blocks[blocks[:, c.G_LINK] != 0]
        held = np.arange(c.GAPS_A_BLOCK) < blocks[:, [c.G_COUNT]]
        begin, end = blocks[:, c.G_GAPS :: 2][held], blocks[:, c.G_GAPS + 1 :: 2][held]
        gaps = np.column_stack([np.repeat(blocks[:, c.G_LINK], blocks[:, c.G_COUNT]), later(begin), end - now])
        gaps = gaps[(end - np.maximum(begin, now) >= m[c.SHORTEST]) & (end > now)]
        told.append(gaps[np.lexsort((gaps[:, 2], gaps[:, 0]))])
        told += self._of_room(requests, served, unseen, event)
        return b"".join(np.array(part.shape, np.int64).tobytes() + np.ascontiguousarray(part, np.int64).tobytes() for part in told)

    def _of_room(
        self, requests: np.ndarray, served: int, unseen: int, event: Callable[[np.ndarray], np.ndarray]
    ) -> list[np.ndarray]:  # fmt: skip
        """What watched tiles hold, what samples have yet to send, and who waits for room."""
        c, m, tiles = self.loop, self.m, len(self.numbers.room.tiles)
        if not tiles:
            return []
        slots = requests[served:unseen, c.R_SLOT]
        begun = np.flatnonzero((slots != 0) & (m[slots + self.numbers.slot_width - 1] != 0))
        place = m[c.UNSENT] + (slots[begun] - m[c.SLOT_FIRST]) // self.numbers.slot_width * tiles
        bits = np.concatenate([self.room[c.LEVEL : c.LEVEL + tiles], self.room[place[:, None] + np.arange(tiles)].ravel()])
        waiting = self.numbers.room.waiting(m)
        who = [waiting[:, c.A_SAMPLE] - served, waiting[:, c.A_ASKED] - m[c.NOW], waiting[:, c.A_ROOM], event(waiting[:, c.A_EVENT])]
        return [(np.round(bits, DIGITS) + 0.0).view(np.int64), begun, np.column_stack(who), m[[c.ROOM_DUE]]]

    def forget(self, fewer: int) -> None:
        """See `Look`."""
        c, m = self.loop, self.m
        m[c.REQUESTS] = fewer
        m[c.LOOKING] = 0
        beyond = m[c.REQUEST_ROWS] + fewer * c.R_WIDTH
        for row in {int(row) for row in m[m[c.IN_READERS] : m[c.IN_READERS_END]]}:
            wait, before = int(m[row + c.HEAD]), 0
            while wait:
                after = int(m[wait + c.W_NEXT])
                if m[wait + c.W_EVENT] % c.CODES == c.REQUEST and m[wait + c.W_EVENT] // c.CODES >= beyond:
                    m[before + c.W_NEXT if before else row + c.HEAD] = after
                    m[wait + c.W_NEXT], m[wait + c.W_EVENT] = m[c.WAIT], 0
                    m[c.WAIT] = wait
                    m[c.WAITS] += 1
                else:
                    before = wait
                wait = after
            m[row + c.TAIL] = before
