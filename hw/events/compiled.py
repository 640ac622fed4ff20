"""The event loop of `xbar.hw.events.simulator`, compiled by numba: the same events in the same order, on whole numbers alone.

What is here follows the processes of `simulator`, `copies`, `waiting`, `mesh` and `updates` statement by statement; they say why
things are as they are, and are the reference. An event is (time [fs], priority, number): those of an instant stand in one queue for each
priority, all others in a heap; requests to come, of which all times are known, in neither. An event that changes nothing when it happens
(the end of a process that nobody waits for, the beginning of one that only goes on to wait) is counted and not queued.

All but bits in buffers stands in one array `m`, int64, which compiles in a third of the time that many arrays take. Scalars come first;
whatever has several numbers (a copy, a port, a packet's step) is a row of it, told by the place where the row begins, 0 for none, and its
columns are constants here. `xbar.hw.events.fast` lays the rows and reads the results. Where a pool of rows runs out the loop ends (`FULL`)
and begins anew with larger ones; the journal is made longer, and the loop goes on (`JOURNAL`). Bits in buffers that can run full are
float64, as in `xbar.hw.events.credits`, and are added up in the same order: `room` has the limit, of each watched tile what it holds, the
most that it held and what it is about to give, bits that rows of `m` tell of, and of each slot what its sample has yet to send.

One file, though long: numba keeps what it compiled until the file of `go_on` changes, and would not notice that another one has.
"""

from numba import njit
from numpy import ndarray

# called by `go_on` alone, and kept with it
_inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")  # type: ignore[call-overload]

# how the loop ended
DONE, FULL, JOURNAL, LOOK, BEYOND, STUCK, FOUND, LACKS = range(8)
LAST_TIME = 2**62  # [fs]; sums of two times below stay within 64 bits
NEVER = 2**63 - 1

# scalars
NOW, EVENTS, DUE, ROWS, SERVED, LOOKED, LOOKING, REQUESTS, ARRIVED, OVERFLOW, ACTIVITIES, STARTED, HELD = range(1, 14)
WRITTEN, HOP, SHORTEST = range(14, 17)
HEAP, HEAP_ROWS, QUEUE, QUEUE_ROWS, POSTED, POST, POST_ROWS, ASKED, ASKING, TURNS_DUE, SCANS, BEGUN, ORDER, WRITES_OUT = range(17, 31)
NODE, NODES, WAIT, WAITS, JOB_FREE, JOBS, SLOT, SLOTS, BLOCK, BLOCKS, RESERVE = range(31, 42)  # first free row of each, how many
REQUEST_ROWS, COPY_ROWS, COPIES, UPDATE_ROWS, UPDATES, LINKS_PORT, IO, VECTORS, LAYERS, TURN = range(42, 52)
IN_READERS, IN_READERS_END, LASTS, LASTS_END, ALL, ALL_END = range(52, 58)
WATCHED, UNSENT, SLOT_FIRST, SLOT_WIDTH, PENDING, IN_WAITING, WAITING, ROOM_DUE, ROOM_SCANS, PASSED, LACKING = range(58, 69)
HEADS = 69  # head and tail of the queue of each priority
LIMIT, LEVEL = 0, 1  # of `room`; behind the levels the peaks, then what is about to be given
SCALARS = HEADS + 12
FIRST, URGENT, NORMAL, BEFORE_PORTS, AFTER_ALL_ELSE, AFTER_PORTS = range(6)  # priorities -1 to 4

# events: what happens, and CODES times the row to which
CODES = 16
COPY, COPY_PART, JOB, JOB_PART, JOB_WRITTEN, REQUEST, REQUEST_PART, PORT, OUTBOX, TURNS, READY, UPDATE, ROOMS = range(13)

# columns of who can be waited for: how far it is, and who waits
COMPLETE, HEAD, TAIL = range(3)
S_LOADS, S_WIDTH = 3, 4  # of a layer on a sample: these, and vectors loaded
# of layers: these of samples that it has loaded, and more
L_DONE, L_VECTORS, L_PHASES, L_READERS, L_READERS_END, L_NEEDS, L_NEEDS_END, L_ANY, L_SEND, L_SEND_PHASES = range(3, 13)
L_ROW_KINDS, L_SLOT, L_SLOT_DONE, L_LOADED, L_LOADED_PHASES, L_SUMMED, L_SUMMED_PHASES, L_WIDTH = range(13, 21)
# of requests: these of its coming, and more
R_SAMPLE, R_ARRIVAL, R_NUMBER, R_STATE, R_AT, R_SLOT, R_START, R_LEFT, R_ARRIVED, R_FINISH, R_DONE, R_IN, R_OUT = range(3, 16)
R_ROOM, R_UNSENT, R_GIVES, R_WIDTH = range(16, 20)  # what a sample takes when it comes, what it sends in all, and what it gives at its end
# of copies; results: when each of three has left the tile, and whether that is waited for
C_LAYER, C_RANK, C_STATE, C_SAMPLE, C_AT, C_STOP, C_NEXT, C_KIND, C_START, C_LEFT, C_ARRAYS, C_CONVERTERS = range(12)
C_RESULTS, C_MINE, C_KINDS, C_NUMBER, C_RESULT, C_WIDTH = 12, 13, 14, 15, 16, 22
# of kinds of vectors of a copy: numbers of activities, hold times, by stage rows of holds from and to and the longest private one
K_LOAD, K_COMPUTE, K_SLICES, K_READ, K_CONVERSION, K_IN_TURN, K_PARTIAL, K_GATHER = range(8)
K_LOADING, K_SUMMING, K_FINISHING, K_BUFFERS = range(8, 20, 3)
K_READ_UNTIL, K_WRITTEN_UNTIL, K_UNITS, K_UNITS_END, K_SENDING, K_WIDTH = range(20, 26)
# of vectors that compute or drain; no copy: free
J_COPY, J_SAMPLE, J_VECTOR, J_KIND, J_STARTED, J_STATE, J_RESULT, J_SENDING, J_START, J_LEFT = range(10)
J_WRITTEN, J_WAITS, J_INJECTED, J_ARRIVED, J_NEXT, J_WIDTH = range(10, 16)
P_HEAD, P_TAIL, P_DUE, P_WIDTH = range(4)  # of ports
N_NEXT, N_BEFORE, N_ASKED, N_RANK, N_HOLD, N_EVENT, N_BEGINS, N_PORT, N_TURN, N_WIDTH = range(10)  # of who waits for one; no event: free
W_NEXT, W_COUNT, W_EVENT, W_ROW, W_TURN, W_WIDTH = range(6)  # of who waits for progress; no event: free
X_FREE, X_HEAD, X_TAIL, X_WIDTH = range(4)  # of links of the mesh; head and tail: blocks of gaps between packets, in order
G_NEXT, G_LINK, G_COUNT, G_LAST, G_LONGEST, G_GAPS = range(6)  # of these blocks; last end, longest gap, begins and ends; no link: free
GAPS_A_BLOCK = 32  # a link has up to some hundred
G_WIDTH = G_GAPS + 2 * GAPS_A_BLOCK
STEP_LINK, STEP_AFTER, STEP_SERVICE, STEP_WIDTH = range(4)
H_FIRST, H_END, H_SENT, H_ROUTERS, H_WIDTH = range(5)  # of shipments
T_HOLD, T_SHIPMENT, T_PORTS, T_PORTS_END, T_RUN, T_WIDTH = range(6)  # of transfers
D_SHIPMENT, D_RUN, D_ROOM, D_WIDTH = range(4)  # of results that leave
B_TILE, B_BITS, B_WIDTH = range(3)  # of bits on a tile: where in `room` they stand
V_TILE, V_BITS, V_SEGMENTS, V_END, V_READERS, V_WIDTH = range(6)  # of bits that are given: each segment's, where several read them
A_SAMPLE, A_ASKED, A_RANK, A_ROOM, A_EVENT, A_WIDTH = range(6)  # of who waits for room
U_TAKEN, U_PASSED, U_TIME, U_WIDTH = range(4)  # of converters that several copies need
HOLD_WIDTH = NEED_WIDTH = 2  # port and time; layer and counts
POST_WIDTH = ASK_WIDTH = HEAP_WIDTH = UPDATE_WIDTH = 3  # rank, shipment, event; time, rank, copy; time, key, event; begin, writes
WRITE_WIDTH = 5  # copy, kind, crossbar, duration, cells; of what was written: update, copy's number, start, end, cells

# where a copy stands
ROOM, INPUTS, NEEDS, LOADING, LEAVING, ARRAYS, WRITES, NEXT, ENDED = range(9)
# where a vector stands that computes or drains
COMPUTING, SUMMING, GATHERING, GATHERED, ADMITTED, FINISHING, WRITING, SENDING, TRAVELLING = range(9)
# where a request stands
COMING, IN_LINE, LET_IN, BRINGING, ARRIVING, SERVING, READING, LEAVES, PASSES, GOING, GONE, ENDING, OVER = range(13)


@_inner
def _into_instant(m: ndarray, priority: int, event: int) -> None:
    """Put an event into this instant's queue."""
    head = HEADS + 2 * priority
    tail = m[head + 1]
    if tail - m[head] >= m[QUEUE_ROWS]:
        m[OVERFLOW] = 1
        return
    m[m[QUEUE] + priority * m[QUEUE_ROWS] + (tail & (m[QUEUE_ROWS] - 1))] = event
    m[head + 1] = tail + 1


@_inner
def _push(m: ndarray, delay: int, priority: int, event: int) -> None:
    """Schedule an event; priority: FIRST to AFTER_PORTS."""
    number = m[EVENTS]
    m[EVENTS] = number + 1
    if delay == 0:
        _into_instant(m, priority, event)
        return
    heap, at = m[HEAP], m[DUE]
    if at >= m[HEAP_ROWS]:
        m[OVERFLOW] = 1
        return
    m[DUE] = at + 1
    time, key = m[NOW] + delay, (priority << 56) | number
    while at > 0:
        parent = (at - 1) >> 1
        above, here = heap + 3 * parent, heap + 3 * at
        if m[above] < time or (m[above] == time and m[above + 1] < key):
            break
        m[here], m[here + 1], m[here + 2] = m[above], m[above + 1], m[above + 2]
        at = parent
    here = heap + 3 * at
    m[here], m[here + 1], m[here + 2] = time, key, event


@_inner
def _drop_top(m: ndarray) -> None:
    """Take the earliest event off the heap."""
    heap, count = m[HEAP], m[DUE] - 1
    m[DUE] = count
    end, at = heap + 3 * count, 0
    time, key, event = m[end], m[end + 1], m[end + 2]
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        below = heap + 3 * child
        if child + 1 < count and (m[below + 3] < m[below] or (m[below + 3] == m[below] and m[below + 4] < m[below + 1])):
            child, below = child + 1, below + 3
        if time < m[below] or (time == m[below] and key < m[below + 1]):
            break
        here = heap + 3 * at
        m[here], m[here + 1], m[here + 2] = m[below], m[below + 1], m[below + 2]
        at = child
    here = heap + 3 * at
    m[here], m[here + 1], m[here + 2] = time, key, event


@_inner
def _advance(m: ndarray) -> int:
    """Go on to the next instant at which something happens, all of which then stands in the queues: FOUND, or DONE or BEYOND."""
    heap, time = m[HEAP], NEVER
    if m[DUE] > 0:
        time = m[heap]
    if m[ARRIVED] < m[REQUESTS]:
        time = min(time, m[_request(m, m[ARRIVED]) + R_ARRIVAL])
    if time == NEVER:
        return DONE
    if time > LAST_TIME or time < m[NOW]:
        return BEYOND
    m[NOW] = time
    while True:
        due, request = m[DUE] > 0 and m[heap] == time, _request(m, m[ARRIVED])
        comes = m[ARRIVED] < m[REQUESTS] and m[request + R_ARRIVAL] == time
        if comes and (not due or ((NORMAL << 56) | m[request + R_NUMBER]) < m[heap + 1]):
            _into_instant(m, NORMAL, request * CODES + REQUEST)
            m[ARRIVED] += 1
        elif due:
            _into_instant(m, m[heap + 1] >> 56, m[heap + 2])
            _drop_top(m)
        else:
            return FOUND


@_inner
def _request(m: ndarray, sample: int) -> int:
    return m[REQUEST_ROWS] + sample * R_WIDTH


@_inner
def _write(m: ndarray, journal: ndarray, activity: int, start: int) -> None:
    row = m[ROWS]
    journal[row, 0], journal[row, 1], journal[row, 2] = activity, start, m[NOW]
    m[ROWS] = row + 1


@_inner
def _describe(m: ndarray, row: int, run: int) -> None:
    """Give an activity its number when it is first had; run: its column of the row."""
    if m[row + run] < 0:
        m[row + run] = m[ACTIVITIES]
        m[m[ORDER] + m[STARTED]] = row
        m[STARTED] += 1
        m[ACTIVITIES] += 1


# ---- ports


@_inner
def _serve(m: ndarray, port: int, rank: int, hold: int, event: int, begins: int) -> None:
    """Ask a port for service; `event` is its end; begins: a shipment that is sent when it begins."""
    new, now = m[NODE], m[NOW]
    m[NODE] = m[new + N_NEXT]
    m[NODES] -= 1
    m[new + N_ASKED], m[new + N_RANK], m[new + N_HOLD], m[new + N_EVENT], m[new + N_BEGINS] = now, rank, hold, event, begins
    before = m[port + P_TAIL]
    while before and m[before + N_ASKED] == now and m[before + N_RANK] > rank:
        before = m[before + N_BEFORE]
    after = m[before + N_NEXT] if before else m[port + P_HEAD]
    m[new + N_BEFORE], m[new + N_NEXT], m[new + N_PORT], m[new + N_TURN] = before, after, port, m[TURN]
    m[TURN] += 1
    if before:
        m[before + N_NEXT] = new
    else:
        m[port + P_HEAD] = new
    if after:
        m[after + N_BEFORE] = new
    else:
        m[port + P_TAIL] = new
    if not m[port + P_DUE]:
        m[port + P_DUE] = 1
        _push(m, 0, AFTER_ALL_ELSE, port * CODES + PORT)


@_inner
def _begin_service(m: ndarray, port: int) -> None:
    first, now = m[port + P_HEAD], m[NOW]
    if not first:
        m[port + P_DUE] = 0
        return
    after = m[first + N_NEXT]
    m[port + P_HEAD] = after
    if after:
        m[after + N_BEFORE] = 0
    else:
        m[port + P_TAIL] = 0
    event, hold = m[first + N_EVENT], m[first + N_HOLD]
    code, who = event % CODES, event // CODES
    if m[first + N_BEGINS]:
        _, m[who + R_ARRIVED] = _send(m, m[first + N_BEGINS])
    if code in (COPY, COPY_PART):
        m[who + C_START] = min(m[who + C_START], now)
    elif code in (JOB, JOB_PART):
        m[who + J_START] = min(m[who + J_START], now)
    elif code == REQUEST:
        m[who + R_START] = now
    m[first + N_NEXT], m[first + N_EVENT] = m[NODE], 0
    m[NODE] = first
    m[NODES] += 1
    _push(m, hold, NORMAL, event)
    _push(m, hold, AFTER_ALL_ELSE, port * CODES + PORT)


@_inner
def _ask(m: ndarray, stage: int, rank: int, event: int, part: int) -> int:
    """Ask for all ports of a stage and hold private ones; how many services. event: the end of one alone, part: that of one of
    several."""
    first, end, private = m[stage], m[stage + 1], m[stage + 2]
    count = (end - first) // HOLD_WIDTH + (1 if private > 0 else 0)
    each = event if count == 1 else part
    for hold in range(first, end, HOLD_WIDTH):
        _serve(m, m[hold], rank, m[hold + 1], each, 0)
    if private > 0:
        _push(m, private, NORMAL, each)
    return count


# ---- the mesh


@_inner
def _send(m: ndarray, shipment: int) -> tuple[int, int]:
    """Send packets now; when all are injected, and when all have arrived."""
    now, hop, shortest, begun = m[NOW], m[HOP], m[SHORTEST], m[BEGUN]
    first, end = m[shipment + H_FIRST], m[shipment + H_END]
    injected = arrived = now
    if first == end:
        return injected, arrived
    m[shipment + H_SENT] += 1
    for step in range(first, end, STEP_WIDTH):
        link, after, service = m[step + STEP_LINK], m[step + STEP_AFTER], m[step + STEP_SERVICE]
        earliest = now if after < 0 else m[m[BEGUN] + after] + hop
        start = m[link + X_FREE]
        if earliest >= start:
            if earliest > now and earliest - max(start, now) >= shortest:
                _drop_past_gaps(m, link)
                _put_gap(m, link, start, earliest)
            start = earliest
            m[link + X_FREE] = start + service
        else:
            if m[link + X_TAIL] and m[m[link + X_TAIL] + G_LAST] >= earliest + service:
                start = _between(m, link, earliest, service)
            if start >= m[link + X_FREE]:
                m[link + X_FREE] = start + service
        m[begun] = start
        begun += 1
        arrived = max(arrived, start + service)
        if after < 0:
            injected = max(injected, start + service)
    return injected, arrived


@_inner
def _put_gap(m: ndarray, link: int, begin: int, end: int) -> None:
    """The last gap of a link."""
    block = m[link + X_TAIL]
    if not block or m[block + G_COUNT] == GAPS_A_BLOCK:
        block = _new_block(m, link, block, 0)
        if m[OVERFLOW]:
            return
    at = block + G_GAPS + 2 * m[block + G_COUNT]
    m[at], m[at + 1] = begin, end
    m[block + G_COUNT] += 1
    m[block + G_LAST], m[block + G_LONGEST] = end, max(m[block + G_LONGEST], end - begin)


@_inner
def _new_block(m: ndarray, link: int, before: int, after: int) -> int:
    """An empty block of gaps between two of a link, 0 for none."""
    if not m[BLOCKS]:
        m[OVERFLOW] = 1
        return 0
    new = m[BLOCK]
    m[BLOCK] = m[new + G_NEXT]
    m[BLOCKS] -= 1
    m[new + G_NEXT], m[new + G_LINK], m[new + G_COUNT], m[new + G_LAST], m[new + G_LONGEST] = after, link, 0, 0, 0
    if before:
        m[before + G_NEXT] = new
    else:
        m[link + X_HEAD] = new
    if not after:
        m[link + X_TAIL] = new
    return new


@_inner
def _give_block(m: ndarray, link: int, before: int, block: int) -> int:
    """Take a block out, which follows another, 0 for none; the one after it."""
    after = m[block + G_NEXT]
    if before:
        m[before + G_NEXT] = after
    else:
        m[link + X_HEAD] = after
    if not after:
        m[link + X_TAIL] = before
    m[block + G_NEXT], m[block + G_LINK] = m[BLOCK], 0
    m[BLOCK] = block
    m[BLOCKS] += 1
    return after


@_inner
def _drop_past_gaps(m: ndarray, link: int) -> None:
    """Give back blocks of gaps that are over; none of them is taken any more."""
    block = m[link + X_HEAD]
    while block and m[block + G_LAST] <= m[NOW]:
        block = _give_block(m, link, 0, block)


@_inner
def _between(m: ndarray, link: int, earliest: int, service: int) -> int:
    """The first free time from `earliest` on for `service`, which is taken where it lies between packets. Blocks without a gap of its
    length are passed over."""
    _drop_past_gaps(m, link)
    before, block = 0, m[link + X_HEAD]
    while block:
        if m[block + G_LONGEST] >= service and m[block + G_LAST] >= earliest + service:
            first = block + G_GAPS
            for gap in range(first, first + 2 * m[block + G_COUNT], 2):
                start = max(m[gap], earliest)
                if start + service <= m[gap + 1]:
                    _take(m, link, before, block, gap, start, start + service)
                    return start
        before, block = block, m[block + G_NEXT]
    return max(m[link + X_FREE], earliest)


@_inner
def _take(m: ndarray, link: int, before: int, block: int, gap: int, start: int, end: int) -> None:
    """Take a time out of a gap; what is left of it on either side stays a gap unless it is too short for any packet."""
    shortest, over = m[SHORTEST], m[gap + 1]
    left, right = start - m[gap] >= shortest, over - end >= shortest
    if left and right:
        if m[block + G_COUNT] == GAPS_A_BLOCK:  # the second half of them into a block of their own
            new = _new_block(m, link, block, m[block + G_NEXT])
            if m[OVERFLOW]:
                return
            half = G_GAPS + GAPS_A_BLOCK
            for at in range(half, G_WIDTH):
                m[new + at - GAPS_A_BLOCK] = m[block + at]
            m[new + G_COUNT] = m[block + G_COUNT] = GAPS_A_BLOCK // 2
            if gap >= block + half:
                _weigh(m, block)
                gap += new - block - GAPS_A_BLOCK
                block = new
            else:
                _weigh(m, new)
        last = block + G_GAPS + 2 * m[block + G_COUNT]
        for at in range(last - 1, gap + 1, -1):
            m[at + 2] = m[at]
        m[gap + 1], m[gap + 2], m[gap + 3] = start, end, over
        m[block + G_COUNT] += 1
    elif left:
        m[gap + 1] = start
    elif right:
        m[gap] = end
    else:
        m[block + G_COUNT] -= 1
        if not m[block + G_COUNT]:
            _give_block(m, link, before, block)
            return
        for at in range(gap, block + G_GAPS + 2 * m[block + G_COUNT]):
            m[at] = m[at + 2]
    _weigh(m, block)


@_inner
def _weigh(m: ndarray, block: int) -> None:
    """When the last gap of a block ends, and how long the longest is."""
    first, longest = block + G_GAPS, 0
    last = first + 2 * m[block + G_COUNT]
    for gap in range(first, last, 2):
        longest = max(longest, m[gap + 1] - m[gap])
    m[block + G_LAST], m[block + G_LONGEST] = m[last - 1], longest


@_inner
def _post(m: ndarray, rank: int, shipment: int, event: int) -> None:
    """Send packets when all of this instant have been posted."""
    number = m[POSTED]
    if number >= m[POST_ROWS]:
        m[OVERFLOW] = 1
        return
    if number == 0:
        _push(m, 0, AFTER_PORTS, OUTBOX)
    post = m[POST] + number * POST_WIDTH
    m[post], m[post + 1], m[post + 2] = rank, shipment, event
    m[POSTED] = number + 1


@_inner
def _put_by_rank(m: ndarray, table: int, count: int, key: int, rank: int, what: int, keys: int) -> None:
    """Put a row of three where those of `keys` first columns alike and lower or equal rank are before it."""
    row = table + 3 * count
    while row > table:
        before = row - 3
        if m[before] <= rank if keys == 1 else (m[before] < key or m[before + 1] <= rank):
            break
        m[row], m[row + 1], m[row + 2] = m[before], m[before + 1], m[before + 2]
        row = before
    if keys == 1:
        m[row], m[row + 1], m[row + 2] = rank, key, what
    else:
        m[row], m[row + 1], m[row + 2] = key, rank, what


@_inner
def _send_posted(m: ndarray) -> None:
    """Send what was posted in this instant, by rank, of one rank who posted first."""
    count, table = m[POSTED], m[POST]
    m[POSTED] = 0
    for number in range(1, count):
        post = table + number * POST_WIDTH
        _put_by_rank(m, table, number, m[post + 1], m[post], m[post + 2], 1)
    for post in range(table, table + count * POST_WIDTH, POST_WIDTH):
        injected, arrived = _send(m, m[post + 1])
        event = m[post + 2]
        if event % CODES == JOB:
            m[event // CODES + J_INJECTED], m[event // CODES + J_ARRIVED] = injected, arrived
        else:
            m[event // CODES + R_ARRIVED] = arrived
        _push(m, 0, NORMAL, event)


# ---- progress


@_inner
def _wait(m: ndarray, row: int, count: int, event: int) -> None:
    """Stand in the line of a row, in order of counts, of one count who came first."""
    new = m[WAIT]
    m[WAIT] = m[new + W_NEXT]
    m[WAITS] -= 1
    before, after = m[row + TAIL], 0
    if before and m[before + W_COUNT] > count:
        before, after = 0, m[row + HEAD]
        while m[after + W_COUNT] <= count:
            before, after = after, m[after + W_NEXT]
    m[new + W_COUNT], m[new + W_EVENT], m[new + W_NEXT], m[new + W_ROW], m[new + W_TURN] = count, event, after, row, m[TURN]
    m[TURN] += 1
    if before:
        m[before + W_NEXT] = new
    else:
        m[row + HEAD] = new
    if not after:
        m[row + TAIL] = new


@_inner
def _wake(m: ndarray, row: int) -> None:
    """Wake who waits for as much as is done, or less."""
    wait = m[row + HEAD]
    while wait and m[wait + W_COUNT] <= m[row + COMPLETE]:
        _push(m, 0, NORMAL, m[wait + W_EVENT])
        wait = _give_wait(m, wait)
    m[row + HEAD] = wait
    if not wait:
        m[row + TAIL] = 0


@_inner
def _give_wait(m: ndarray, wait: int) -> int:
    """Give a row back; who comes after it."""
    after = m[wait + W_NEXT]
    m[wait + W_NEXT], m[wait + W_EVENT] = m[WAIT], 0
    m[WAIT] = wait
    m[WAITS] += 1
    return after


@_inner
def _until(m: ndarray, row: int, count: int, event: int) -> bool:
    """Whether so much is done; else `event` happens when it is."""
    if m[row + COMPLETE] >= count:
        return True
    _wait(m, row, count, event)
    return False


@_inner
def _slot(m: ndarray, sample: int, layer: int) -> int:
    """The row of a layer's progress on a sample."""
    request = _request(m, sample)
    slot = m[request + R_SLOT]
    if not slot:
        slot = m[SLOT]
        m[SLOT] = m[slot]
        m[SLOTS] -= 1
        m[request + R_SLOT] = slot
        for at in range(slot, slot + m[SLOT_WIDTH]):
            m[at] = 0
    return slot + m[layer + L_SLOT]


@_inner
def _until_vectors(m: ndarray, sample: int, layer: int, count: int, event: int) -> bool:
    """Whether so many vectors of the sample are done; else `event` happens when they are."""
    return count <= 0 or _until(m, _slot(m, sample, layer), count, event)


@_inner
def _finish(m: ndarray, row: int, flags: int, number: int, total: int) -> None:
    """That one of `total` is done."""
    m[flags + number] = 1
    complete = m[row + COMPLETE]
    while complete < total and m[flags + complete]:
        complete += 1
    m[row + COMPLETE] = complete
    _wake(m, row)


@_inner
def _finish_vector(m: ndarray, sample: int, layer: int, vector: int) -> None:
    row = _slot(m, sample, layer)
    _finish(m, row, row - m[layer + L_SLOT] + m[layer + L_SLOT_DONE], vector, m[layer + L_VECTORS])


@_inner
def _count_load(m: ndarray, sample: int, layer: int) -> None:
    row = _slot(m, sample, layer)
    m[row + S_LOADS] += 1
    if m[row + S_LOADS] == m[layer + L_VECTORS]:
        _finish(m, layer, m[layer + L_DONE], sample, m[REQUESTS])


# ---- converters that several copies need


@_inner
def _serve_turns_by_rank(m: ndarray) -> None:
    if not m[TURNS_DUE] and m[ASKED] > 0:
        m[TURNS_DUE] = 1
        _push(m, 0, BEFORE_PORTS, TURNS)


@_inner
def _take_units(m: ndarray, copy: int) -> None:
    """Ask for all converters that a vector of a copy needs."""
    _put_by_rank(m, m[ASKING], m[ASKED], m[NOW], 2 * m[copy + C_RANK], copy, 2)
    m[ASKED] += 1
    _serve_turns_by_rank(m)


@_inner
def _serve_turns(m: ndarray) -> None:
    m[TURNS_DUE] = 0
    m[SCANS] += 1
    left = m[ASKING]
    for asked in range(m[ASKING], m[ASKING] + m[ASKED] * ASK_WIDTH, ASK_WIDTH):
        copy = m[asked + 2]
        kind, free = m[copy + C_KIND], True
        for at in range(m[kind + K_UNITS], m[kind + K_UNITS_END]):
            free = free and not m[m[at] + U_TAKEN] and m[m[at] + U_PASSED] != m[SCANS]
        for at in range(m[kind + K_UNITS], m[kind + K_UNITS_END]):
            if free:
                m[m[at] + U_TAKEN] = 1
            else:
                m[m[at] + U_PASSED] = m[SCANS]
        if free:
            _push(m, 0, NORMAL, copy * CODES + COPY)
        else:
            m[left], m[left + 1], m[left + 2] = m[asked], m[asked + 1], copy
            left += ASK_WIDTH
    m[ASKED] = (left - m[ASKING]) // ASK_WIDTH


# ---- room in buffers


@_inner
def _serve_room_by_rank(m: ndarray) -> None:
    if not m[ROOM_DUE] and m[WAITING] > 0:
        m[ROOM_DUE] = 1
        _push(m, 0, BEFORE_PORTS, ROOMS)


@_inner
def _take_room(m: ndarray, room: ndarray, sample: int, rank: int, needed: int, event: int) -> None:
    """Ask for room for all of these bits; `event` happens when it is there and taken."""
    for bits in range(m[needed], m[needed + 1], B_WIDTH):
        if room[m[bits + B_BITS]] > room[LIMIT]:
            m[LACKING], m[OVERFLOW] = bits, 1
            return
    _slot(m, sample, m[m[ALL]])
    now, row = m[NOW], m[IN_WAITING] + m[WAITING] * A_WIDTH
    while row > m[IN_WAITING]:
        before = row - A_WIDTH
        if m[before] < sample or (m[before] == sample and (m[before + A_ASKED] < now or m[before + A_RANK] <= rank)):
            break
        for column in range(A_WIDTH):
            m[row + column] = m[before + column]
        row = before
    m[row], m[row + A_ASKED], m[row + A_RANK], m[row + A_ROOM], m[row + A_EVENT] = sample, now, rank, needed, event
    m[WAITING] += 1
    _serve_room_by_rank(m)


@_inner
def _unsent(m: ndarray, request: int) -> int:
    """Where in `room` it stands what a sample has yet to send."""
    slot = m[request + R_SLOT]
    if slot and m[slot + m[SLOT_WIDTH] - 1]:
        return m[UNSENT] + (slot - m[SLOT_FIRST]) // m[SLOT_WIDTH] * m[WATCHED]
    return m[request + R_UNSENT]


@_inner
def _fits(m: ndarray, room: ndarray, sample: int, needed: int) -> bool:
    for bits in range(m[needed], m[needed + 1], B_WIDTH):
        unsent = 0.0
        for older in range(m[SERVED], sample):
            request = _request(m, older)
            if not m[request + R_DONE]:
                unsent += room[_unsent(m, request) + m[bits]]
        if room[LEVEL + m[bits]] + room[m[bits + B_BITS]] + unsent > room[LIMIT]:
            return False
    return True


@_inner
def _admit(m: ndarray, room: ndarray, sample: int, needed: int) -> None:
    request = _request(m, sample)
    left, known = _unsent(m, request), m[request + R_UNSENT]
    if left == known:
        m[m[request + R_SLOT] + m[SLOT_WIDTH] - 1] = 1
        left = _unsent(m, request)
        for tile in range(m[WATCHED]):
            room[left + tile] = room[known + tile]
    for bits in range(m[needed], m[needed + 1], B_WIDTH):
        level, peak, count = LEVEL + m[bits], LEVEL + m[WATCHED] + m[bits], room[m[bits + B_BITS]]
        room[level] += count
        room[peak] = max(room[peak], room[level])
        room[left + m[bits]] = max(0.0, room[left + m[bits]] - count)


@_inner
def _serve_room(m: ndarray, room: ndarray) -> None:
    m[ROOM_DUE] = 0
    m[ROOM_SCANS] += 1
    left = m[IN_WAITING]
    for row in range(m[IN_WAITING], m[IN_WAITING] + m[WAITING] * A_WIDTH, A_WIDTH):
        sample, needed, free = m[row], m[row + A_ROOM], True
        for bits in range(m[needed], m[needed + 1], B_WIDTH):
            free = free and m[m[PASSED] + m[bits]] != m[ROOM_SCANS]
        if free and _fits(m, room, sample, needed):
            _admit(m, room, sample, needed)
            _push(m, 0, NORMAL, m[row + A_EVENT])
            continue
        for bits in range(m[needed], m[needed + 1], B_WIDTH):
            m[m[PASSED] + m[bits]] = m[ROOM_SCANS]
        for column in range(A_WIDTH):
            m[left + column] = m[row + column]
        left += A_WIDTH
    m[WAITING] = (left - m[IN_WAITING]) // A_WIDTH


@_inner
def _give_room(m: ndarray, room: ndarray, sample: int, vector: int, layer: int, of: int) -> None:
    """Give back what nobody needs when a vector of the layer needs it no longer, of its inputs (of: L_LOADED) or its addends (L_SUMMED)."""
    if not m[layer + of]:
        return
    first = m[layer + of] + sample % m[layer + of + 1] * m[layer + L_VECTORS] + vector
    about = LEVEL + 2 * m[WATCHED]
    for given in range(m[first], m[first + 1], V_WIDTH):
        if m[given + V_READERS] == 0:
            room[about + m[given]] += room[m[given + V_BITS]]
            continue
        pending, count = m[_request(m, sample) + R_SLOT] + m[PENDING], 0
        for at in range(m[given + V_SEGMENTS], m[given + V_END]):
            segment = pending + m[at]
            m[segment] += 1
            count += m[segment] == m[given + V_READERS]
        room[about + m[given]] += room[m[given + V_BITS]] * count
    for given in range(m[first], m[first + 1], V_WIDTH):
        room[LEVEL + m[given]] -= room[about + m[given]]
        room[about + m[given]] = 0.0
    if m[first] < m[first + 1]:
        _serve_room_by_rank(m)


@_inner
def _give_rest(m: ndarray, room: ndarray, request: int) -> None:
    """Give back what nobody ends before the sample is done, which it is."""
    first = m[request + R_GIVES]
    for given in range(m[first], m[first + 1], V_WIDTH):
        room[LEVEL + m[given]] -= room[m[given + V_BITS]]
    _serve_room_by_rank(m)


# ---- layer copies


@_inner
def _run_copy(m: ndarray, room: ndarray, journal: ndarray, copy: int) -> None:
    """One layer copy goes on to where it waits next."""
    layer, event = m[copy + C_LAYER], copy * CODES + COPY
    while True:
        state = m[copy + C_STATE]
        if state == NEXT:  # the next vector, or sample
            m[copy + C_AT] += 1
            m[copy + C_STATE] = INPUTS
            if m[copy + C_AT] >= m[copy + C_STOP]:
                while True:
                    m[copy + C_SAMPLE] += 1
                    if m[copy + C_SAMPLE] >= m[REQUESTS]:
                        m[copy + C_STATE] = ENDED
                        m[EVENTS] += 1
                        return
                    row = m[copy + C_MINE] + m[copy + C_SAMPLE] % m[layer + L_PHASES]
                    m[copy + C_AT], m[copy + C_STOP] = m[row], m[row + 1]
                    if m[row] < m[row + 1]:
                        break
                m[copy + C_STATE], m[copy + C_NEXT] = ROOM, m[layer + L_READERS]
        elif state == ROOM:
            while m[copy + C_NEXT] < m[layer + L_READERS_END]:
                m[copy + C_NEXT] += 1
                if not _until(m, m[m[copy + C_NEXT] - 1], m[copy + C_SAMPLE] - m[HELD] + 1, event):
                    return
            m[copy + C_STATE] = INPUTS
        elif state == INPUTS:
            m[copy + C_STATE], m[copy + C_NEXT] = NEEDS, m[layer + L_NEEDS]
            request = _request(m, m[copy + C_SAMPLE])
            if not m[m[layer + L_ANY] + m[m[copy + C_AT]]] and m[request + COMPLETE] < 2:
                _wait(m, request, 0, event)
                return
        elif state == NEEDS:
            vector, sample = m[m[copy + C_AT]], m[copy + C_SAMPLE]
            while m[copy + C_NEXT] < m[layer + L_NEEDS_END]:
                need = m[copy + C_NEXT]
                m[copy + C_NEXT] += NEED_WIDTH
                if not _until_vectors(m, sample, m[need], m[m[need + 1] + vector], event):
                    return
            kind = m[copy + C_KINDS]
            if m[layer + L_ROW_KINDS]:
                kind += m[m[layer + L_ROW_KINDS] + sample * m[layer + L_VECTORS] + vector]
            m[copy + C_KIND], m[copy + C_STATE] = kind, LOADING
            m[copy + C_START] = m[NOW] if m[kind + K_LOADING + 2] > 0 else NEVER
            m[copy + C_LEFT] = _ask(m, kind + K_LOADING, 2 * m[copy + C_RANK] + 1, event, copy * CODES + COPY_PART)
            return
        elif state == LOADING:
            _write(m, journal, m[m[copy + C_KIND] + K_LOAD], m[copy + C_START])
            _count_load(m, m[copy + C_SAMPLE], layer)
            _give_room(m, room, m[copy + C_SAMPLE], m[m[copy + C_AT]], layer, L_LOADED)
            oldest = copy + C_RESULT + 2 * (m[copy + C_RESULTS] % 3)
            m[copy + C_STATE] = LEAVING
            if m[oldest] < 0:
                m[oldest + 1] = 1
                return
        elif state == LEAVING:  # the oldest results have left the tile, or are about to
            left = m[copy + C_RESULT + 2 * (m[copy + C_RESULTS] % 3)]
            m[copy + C_STATE] = ARRAYS
            if left > m[NOW]:
                _push(m, left - m[NOW], NORMAL, event)
                return
        elif state in (ARRAYS, WRITES):
            kind = m[copy + C_KIND]
            until = max(m[copy + C_ARRAYS], m[kind + K_WRITTEN_UNTIL])
            if until > m[NOW]:
                _push(m, until - m[NOW], NORMAL, event)
                return
            if state == ARRAYS and m[kind + K_UNITS] < m[kind + K_UNITS_END]:
                m[copy + C_STATE] = WRITES
                _take_units(m, copy)
                return
            _compute(m, copy, layer, kind)
            m[copy + C_STATE] = NEXT
        else:
            return


@_inner
def _compute(m: ndarray, copy: int, layer: int, kind: int) -> None:
    """Start a vector now."""
    now, slices, read, conversion = m[NOW], m[kind + K_SLICES], m[kind + K_READ], m[kind + K_CONVERSION]
    if m[kind + K_IN_TURN]:
        free = until = now + slices * max(read, conversion)
    else:
        free = max(now + read, m[copy + C_CONVERTERS]) + (slices - 1) * max(read, conversion)
        until = free + conversion
    m[copy + C_ARRAYS] = m[kind + K_READ_UNTIL] = free
    m[copy + C_CONVERTERS] = until
    job = m[JOB_FREE]
    m[JOB_FREE] = m[job + J_NEXT]
    m[JOBS] -= 1
    result = copy + C_RESULT + 2 * (m[copy + C_RESULTS] % 3)
    m[result], m[result + 1] = -1, 0
    m[copy + C_RESULTS] += 1
    sample, vector = m[copy + C_SAMPLE], m[m[copy + C_AT]]
    m[job + J_COPY], m[job + J_SAMPLE], m[job + J_VECTOR], m[job + J_KIND] = copy, sample, vector, kind
    m[job + J_STARTED], m[job + J_STATE], m[job + J_RESULT] = now, COMPUTING, result
    phase = sample % m[layer + L_SEND_PHASES]
    m[job + J_SENDING] = m[m[layer + L_SEND] + phase * m[layer + L_VECTORS] + vector] + m[kind + K_SENDING]
    _push(m, until - now, NORMAL, job * CODES + JOB)
    m[EVENTS] += 1  # the beginning of its process


@_inner
def _run_job(m: ndarray, room: ndarray, journal: ndarray, job: int) -> None:
    """A vector that computes or drains goes on to where it waits next."""
    kind, copy, now, event = m[job + J_KIND], m[job + J_COPY], m[NOW], job * CODES + JOB
    results, loads = 2 * m[copy + C_RANK], 2 * m[copy + C_RANK] + 1
    while True:
        state = m[job + J_STATE]
        if state == COMPUTING:
            _write(m, journal, m[kind + K_COMPUTE], m[job + J_STARTED])
            if m[kind + K_UNITS] < m[kind + K_UNITS_END]:
                for at in range(m[kind + K_UNITS], m[kind + K_UNITS_END]):
                    m[m[at] + U_TAKEN] = 0
                    m[m[at] + U_TIME] += now - m[job + J_STARTED]
                _serve_turns_by_rank(m)
            m[job + J_STATE] = SUMMING
            if m[kind + K_PARTIAL]:
                m[job + J_LEFT] = _ask(m, kind + K_SUMMING, loads, event, job * CODES + JOB_PART)
                return
        elif state == SUMMING:
            shipment = m[kind + K_GATHER]
            m[job + J_STATE] = GATHERED
            if m[shipment + H_FIRST] < m[shipment + H_END]:
                m[job + J_STATE] = GATHERING
                _post(m, loads, shipment, event)
                return
        elif state == GATHERING:
            m[job + J_STATE] = GATHERED
            _push(m, m[job + J_ARRIVED] - now, NORMAL, event)
            return
        elif state == GATHERED:
            _describe(m, m[job + J_SENDING], D_RUN)
            m[job + J_STATE] = ADMITTED
            if m[m[job + J_SENDING] + D_ROOM]:
                _take_room(m, room, m[job + J_SAMPLE], m[copy + C_RANK], m[m[job + J_SENDING] + D_ROOM], event)
                return
        elif state == ADMITTED:
            written = job * CODES + JOB_WRITTEN
            m[job + J_WAITS], m[job + J_STATE] = 0, FINISHING
            m[job + J_WRITTEN] = _ask(m, kind + K_BUFFERS, results, written, written)
            m[job + J_START] = now if m[kind + K_FINISHING + 2] > 0 else NEVER
            m[job + J_LEFT] = _ask(m, kind + K_FINISHING, results, event, job * CODES + JOB_PART)
            return
        elif state == FINISHING:
            m[job + J_STATE] = WRITING
            if m[kind + K_BUFFERS] < m[kind + K_BUFFERS + 1] or m[kind + K_BUFFERS + 2] > 0:
                m[job + J_WAITS] = 1
                if m[job + J_WRITTEN] == 0:
                    _push(m, 0, NORMAL, event)
                return
        elif state == WRITING:
            _give_room(m, room, m[job + J_SAMPLE], m[job + J_VECTOR], m[copy + C_LAYER], L_SUMMED)
            _write(m, journal, m[m[job + J_SENDING] + D_RUN], m[job + J_START])
            m[job + J_STATE], m[job + J_INJECTED], m[job + J_ARRIVED] = SENDING, now, now
            shipment = m[m[job + J_SENDING] + D_SHIPMENT]
            if m[shipment + H_FIRST] < m[shipment + H_END]:
                _post(m, results, shipment, event)
                return
        elif state == SENDING:
            result = m[job + J_RESULT]
            m[result] = m[job + J_INJECTED]
            if m[result + 1]:
                _push(m, 0, NORMAL, copy * CODES + COPY)
            m[job + J_STATE] = TRAVELLING
            if m[job + J_ARRIVED] > now:
                _push(m, m[job + J_ARRIVED] - now, NORMAL, event)
                return
        else:
            _finish_vector(m, m[job + J_SAMPLE], m[copy + C_LAYER], m[job + J_VECTOR])
            m[EVENTS] += 1  # the end of its process
            m[job + J_NEXT], m[job + J_COPY] = m[JOB_FREE], 0
            m[JOB_FREE] = job
            m[JOBS] += 1
            return


# ---- requests


@_inner
def _run_request(m: ndarray, room: ndarray, journal: ndarray, request: int) -> None:
    """A request goes on to where it waits next."""
    sample, now, event = m[request + R_SAMPLE], m[NOW], request * CODES + REQUEST
    came, leaves = m[request + R_IN], m[request + R_OUT]
    while True:
        state = m[request + R_STATE]
        if state == COMING:
            m[request + R_STATE], m[request + R_AT] = IN_LINE, m[IN_READERS]
            if not m[IO]:
                m[request + R_STATE] = ARRIVING
        elif state == IN_LINE:
            while m[request + R_AT] < m[IN_READERS_END]:
                m[request + R_AT] += 1
                if not _until(m, m[m[request + R_AT] - 1], sample - m[HELD] + 1, event):
                    return
            m[request + R_STATE] = LET_IN
            if m[request + R_ROOM]:
                _take_room(m, room, sample, sample - m[REQUESTS], m[request + R_ROOM], event)
                return
        elif state == LET_IN:
            _describe(m, came, T_RUN)
            m[request + R_STATE], m[request + R_START] = BRINGING, NEVER
            _serve(m, m[LINKS_PORT], 2 * sample, m[came + T_HOLD], event, m[came + T_SHIPMENT])
            return
        elif state == BRINGING:
            _write(m, journal, m[came + T_RUN], m[request + R_START])
            last = max(now + m[m[came + T_SHIPMENT] + H_ROUTERS] * m[HOP], m[request + R_ARRIVED])
            m[request + R_STATE] = ARRIVING
            _push(m, last - now, NORMAL, event)
            return
        elif state == ARRIVING:
            m[request + R_STATE], m[request + R_AT], m[request + COMPLETE] = SERVING, m[LASTS], 1
            _push(m, 0, NORMAL, request * CODES + READY)
        elif state == SERVING:
            while m[request + R_AT] < m[LASTS_END]:
                m[request + R_AT] += 1
                layer = m[m[request + R_AT] - 1]
                if not _until_vectors(m, sample, layer, m[layer + L_VECTORS], event):
                    return
            m[request + R_STATE] = GONE
            if m[IO]:
                _describe(m, leaves, T_RUN)
                m[request + R_LEFT] = (m[leaves + T_PORTS_END] - m[leaves + T_PORTS]) // HOLD_WIDTH
                m[request + R_STATE] = READING
                for hold in range(m[leaves + T_PORTS], m[leaves + T_PORTS_END], HOLD_WIDTH):
                    _serve(m, m[hold], sample - m[REQUESTS], m[hold + 1], request * CODES + REQUEST_PART, 0)
                if m[request + R_LEFT] > 0:
                    return
        elif state == READING:
            m[request + R_STATE] = LEAVES
            _post(m, sample - m[REQUESTS], m[leaves + T_SHIPMENT], event)
            return
        elif state == LEAVES:
            m[request + R_STATE] = PASSES
            _push(m, m[m[leaves + T_SHIPMENT] + H_ROUTERS] * m[HOP], NORMAL, event)
            return
        elif state == PASSES:
            m[request + R_STATE], m[request + R_START] = GOING, NEVER
            _serve(m, m[LINKS_PORT], 2 * sample + 1, m[leaves + T_HOLD], event, 0)
            return
        elif state == GOING:
            _write(m, journal, m[leaves + T_RUN], m[request + R_START])
            m[request + R_STATE] = GONE
            if m[request + R_ARRIVED] > now:
                _push(m, m[request + R_ARRIVED] - now, NORMAL, event)
                return
        elif state == GONE:
            m[request + R_FINISH], m[request + R_STATE], m[request + R_AT] = now, ENDING, m[ALL]
        elif state == ENDING:
            while m[request + R_AT] < m[ALL_END]:
                m[request + R_AT] += 1
                layer = m[m[request + R_AT] - 1]
                if not _until_vectors(m, sample, layer, m[layer + L_VECTORS], event):
                    return
            slot = m[request + R_SLOT]
            if slot:
                m[slot] = m[SLOT]
                m[SLOT] = slot
                m[SLOTS] += 1
                m[request + R_SLOT] = 0
            m[request + R_STATE], m[request + R_DONE] = OVER, 1
            m[EVENTS] += 1  # the end of its process
            while m[SERVED] < m[REQUESTS] and m[_request(m, m[SERVED]) + R_DONE]:
                m[SERVED] += 1
            if m[WATCHED]:
                _give_rest(m, room, request)
            return
        else:
            return


@_inner
def _begin_update(m: ndarray, update: int) -> None:
    number = (update - m[UPDATE_ROWS]) // UPDATE_WIDTH
    for write in range(m[update + 1], m[update + 2], WRITE_WIDTH):
        copy, kind, crossbar = m[write], m[write + 1], m[write + 2]
        start = max(m[NOW], m[kind + K_READ_UNTIL], m[crossbar])
        end = start + m[write + 3]
        m[crossbar] = end
        m[kind + K_WRITTEN_UNTIL] = max(m[kind + K_WRITTEN_UNTIL], end)
        row = m[WRITES_OUT] + m[WRITTEN] * WRITE_WIDTH
        m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = number, m[copy + C_NUMBER], start, end, m[write + 4]
        m[WRITTEN] += 1


@_inner
def _begin_all(m: ndarray, room: ndarray, journal: ndarray) -> None:
    """Begin all processes."""
    for number in range(m[UPDATES]):
        update = m[UPDATE_ROWS] + number * UPDATE_WIDTH
        if m[update] == 0:  # before all else
            m[EVENTS] += 1
            _begin_update(m, update)
        else:
            _push(m, m[update], FIRST, update * CODES + UPDATE)
    m[EVENTS] += m[COPIES] + m[REQUESTS]  # beginnings of processes
    for number in range(m[COPIES]):
        _run_copy(m, room, journal, m[COPY_ROWS] + number * C_WIDTH)
    for sample in range(m[REQUESTS]):
        request = _request(m, sample)
        if m[request + R_ARRIVAL] == 0:
            _push(m, 0, NORMAL, request * CODES + REQUEST)
            m[ARRIVED] += 1
        else:
            m[request + R_NUMBER] = m[EVENTS]
            m[EVENTS] += 1


@njit(cache=True, error_model="numpy")
def go_on(m: ndarray, room: ndarray, journal: ndarray) -> int:
    """Begin, or go on, until all has happened or something is to be done outside: DONE, FULL, JOURNAL, LOOK, BEYOND, STUCK, or LACKS."""
    if m[EVENTS] == 0:
        _begin_all(m, room, journal)
    while not m[OVERFLOW]:
        head = HEADS
        while head < SCALARS and m[head] == m[head + 1]:
            head += 2
        if head == SCALARS:
            if m[LOOKING] and m[SERVED] > m[LOOKED]:
                m[LOOKED] = m[SERVED]
                return LOOK
            found = _advance(m)
            if found == FOUND:
                continue
            return STUCK if found == DONE and m[SERVED] < m[REQUESTS] else found
        if m[ROWS] + 2 > len(journal):
            return JOURNAL
        if m[NODES] < m[RESERVE] or m[WAITS] < 2 or m[JOBS] < 2 or m[SLOTS] < 2:
            return FULL
        event = m[m[QUEUE] + (head - HEADS) // 2 * m[QUEUE_ROWS] + (m[head] & (m[QUEUE_ROWS] - 1))]
        m[head] += 1
        code, who = event % CODES, event // CODES
        if code == PORT:
            _begin_service(m, who)
        elif code == JOB:
            _run_job(m, room, journal, who)
        elif code == COPY:
            _run_copy(m, room, journal, who)
        elif code == COPY_PART:
            m[who + C_LEFT] -= 1
            if m[who + C_LEFT] == 0:
                _push(m, 0, NORMAL, who * CODES + COPY)
        elif code == JOB_PART:
            m[who + J_LEFT] -= 1
            if m[who + J_LEFT] == 0:
                _push(m, 0, NORMAL, who * CODES + JOB)
        elif code == JOB_WRITTEN:
            m[who + J_WRITTEN] -= 1
            if m[who + J_WRITTEN] == 0 and m[who + J_WAITS]:
                _push(m, 0, NORMAL, who * CODES + JOB)
        elif code == OUTBOX:
            _send_posted(m)
        elif code == REQUEST:
            _run_request(m, room, journal, who)
        elif code == REQUEST_PART:
            m[who + R_LEFT] -= 1
            if m[who + R_LEFT] == 0:
                _push(m, 0, NORMAL, who * CODES + REQUEST)
        elif code == READY:
            m[who + COMPLETE] = 2
            wait = m[who + HEAD]
            m[who + HEAD] = m[who + TAIL] = 0
            while wait:
                copy = m[wait + W_EVENT] // CODES
                wait = _give_wait(m, wait)
                _run_copy(m, room, journal, copy)
        elif code == TURNS:
            _serve_turns(m)
        elif code == ROOMS:
            _serve_room(m, room)
        else:
            _begin_update(m, who)
    return LACKS if m[LACKING] else FULL
