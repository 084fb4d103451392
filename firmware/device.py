"""The board's half of the link: a state machine that turns frames into training steps, exactly once each.

It knows neither stdin nor time: firmware.main gives it bytes, a clock and a way to send. The same text runs in the
tests under CPython against simulated faults.

Exactly once: the lattice's step counter is the sequence number of the next training image. A TRAIN frame is taken only
if it carries this number and the next missing rows; anything else is answered with what is wanted instead (ACK) or,
for the image just trained, with its result once more (RESULT). Between RESULT n and the last frame of image n + 1 the
host waits, so one result is all that has to be remembered.
"""

import gc
import struct

from firmware import codec, storage, wire
from fixedpoint.build import build

VERSION = (0, 2, 0)  # of the firmware
ENOMEM = 12
MAX_STEPS = 256  # rows that the frames' row numbers can name
COUNT = 0x3FFFFFFF  # counters wrap here: beyond it every new value would allocate on a 32-bit chip
RESERVE = 72 * 1024  # bytes: a lattice of 28 x 10 cells takes 63 KB, of which one array 35 KB
SPARE = 16 * 1024  # and what the self-test and the answers need beside it


class Reserve:
    """One piece of memory that OPEN gives back to the heap, so that the lattice's arrays find room.

    Taken early: a heap that has been in use for long may have its free memory in many small holes. An object of its
    own, because MicroPython's collector keeps what a word anywhere on the stack still points to.
    """

    def __init__(self):
        self.take()

    def take(self):
        """Lay it down, smaller where there is no room for all of it."""
        self.piece = None
        gc.collect()
        for shift in range(4):
            try:
                self.piece = bytearray(RESERVE >> shift)
                bytearray(SPARE)
                return
            except MemoryError:
                self.piece = None

    def drop(self):
        """Give it back."""
        self.piece = None
        gc.collect()


class Device:
    """One board. send(buffer, n) transmits n bytes; micros() is a clock in us that may wrap at 2**30 or above.

    window: bytes that the board's input can hold while it computes. digest, golden: self-test, found and wanted.
    root: prefix of the checkpoint's name. kernels: options of Lattice. elapsed(now, before): the time between two
    readings of the clock. on_attach(): a host has come. room: a Reserve.
    """

    def __init__(
        self, send, micros, window, digest, golden, root="", kernels=None, elapsed=None, on_attach=None, room=None
    ):
        self.room = room or Reserve()
        self.send, self.micros, self.window, self.root = send, micros, window, root
        self.elapsed = elapsed or (lambda now, before: (now - before) & 0x3FFFFFFF)
        self.on_attach = on_attach or (lambda: None)
        self.lattice_options = {} if kernels is None else kernels
        self.self_test, self.failed = digest, digest != golden
        self.receiver, self.sender = wire.Receiver(), wire.Sender()
        self.pixels = bytearray(wire.MAX_BODY * 8)
        self.counters = [0] * 10
        self.saved = storage.load(None, root)  # session, step and size of the checkpoint, if there is one
        self.lattice = None
        self.config = b""
        self.session = 0
        self.key = wire.NO_KEY
        self.attached = False  # a host is there: no more beacons, no Ctrl-C
        self.open = False  # and has opened the session
        self.opened = b""  # by this OPEN
        self.tag = 0  # of the request that is being answered
        self.leave = False  # EXIT came
        self.about = bytearray(struct.calcsize(wire.HELLO_FORMAT))
        self.forget()
        self.introduce()

    def forget(self):
        """Drop all that belongs to the image under way and to the last results."""
        self.kind = 0
        self.test = 0  # sequence number of the TEST under way
        self.done = -1  # sequence number of the last TRAIN whose result is in self.result
        self.tested = -1  # likewise of the last TEST
        self.label = self.prediction = self.time = self.digest = 0
        self.test_label = self.test_prediction = self.test_time = 0
        self.rates = self.loading = self.writable = False

    def receive(self, chunk, n):
        """Take n bytes from the link, and answer every frame that they complete."""
        start = 0
        while start < n:
            start = self.receiver.take(chunk, start, n)
            if start < 0:
                return
            length = self.receiver.unseal(self.key)
            if length:
                self.handle(self.receiver.body, length)

    def handle(self, body, n):
        """Act on one good frame; whatever it says, the board goes on."""
        kind = body[0]
        if kind == wire.TRAIN or kind == wire.TEST:
            if self.open and n > wire.HEADER and self.lattice is not None:
                self.image(body, n, kind)
            return
        self.counters[6] += 1
        if kind == wire.ATTACH and bytes(body[:n]) == wire.GREETING:
            self.attached, self.open = True, False
            self.on_attach()  # Ctrl-C is off before the host knows that it may send binary data
            self.hello()
        elif kind == wire.EXIT:
            self.leave = True
        elif not self.attached:
            return
        elif kind == wire.OPEN and n > 1 and body[1] != wire.VERSION:  # its other bytes may be anything, and any number
            self.open = False
            self.refuse(wire.BAD_VERSION, wire.VERSION)
        elif kind == wire.OPEN and n == struct.calcsize(wire.OPEN_FORMAT):
            self.on_open(bytes(body[:n]))
        elif kind == wire.STATISTICS:
            self.counters[0] = free_heap()
            self.counters[8], self.counters[9] = self.receiver.damaged, self.receiver.overlong
            self.reply(wire.COUNTERS_FORMAT, wire.COUNTERS, *[x & COUNT for x in self.counters])
        elif not self.open or n < 2:
            return
        self.tag = body[1]
        if kind == wire.QUERY:
            self.state()
        elif kind == wire.RATES and n == struct.calcsize(wire.RATES_FORMAT):
            self.on_rates(*struct.unpack(wire.RATES_FORMAT, bytes(body[:n]))[2:])
        elif kind == wire.READ and n == struct.calcsize(wire.READ_FORMAT):
            self.on_read(*struct.unpack(wire.READ_FORMAT, bytes(body[:n]))[2:])
        elif kind == wire.WRITE and n > struct.calcsize(wire.READ_FORMAT):
            self.on_write(bytes(body[:n]))
        elif kind == wire.COMMIT and n == struct.calcsize(wire.COMMIT_FORMAT):
            self.on_commit(*struct.unpack(wire.COMMIT_FORMAT, bytes(body[:n]))[2:])
        elif kind == wire.CHECKPOINT:
            self.on_checkpoint()
        elif kind == wire.CLOSE:
            self.state()
            self.attached = self.open = False

    # What the training loop needs: no allocation from here to `transmit`.

    def image(self, body, n, kind):
        """TRAIN, TEST: take rows if they are the next ones, and make the step when the last has come."""
        lattice = self.lattice
        sequence = codec.get32(body, 1)
        first, count, label = body[5], body[6], body[7] & 0x7F
        training = kind == wire.TRAIN
        if training:
            if 0 <= sequence == self.done and sequence + 1 == lattice.step:
                self.counters[7] += 1
                if not self.digest and body[7] & wire.WITH_DIGEST:  # another host asks than the one that trained
                    self.digest = lattice.digest()
                return self.result(wire.RESULT)
            fits = sequence == lattice.step and self.rates
            sequence = lattice.step
        else:
            if sequence == self.tested and sequence >= 0:
                self.counters[7] += 1
                return self.result(wire.TESTED)
            fits = sequence >= 0
        if fits and (kind != self.kind or (sequence != self.test and not training)) and first == 0:
            # A new image, or the first rows of one that the other kind pushed aside.
            self.kind, self.test = kind, sequence
            lattice.begin()
        pixels = count * lattice.rows
        if (
            not fits
            or self.loading
            or kind != self.kind
            or sequence != (lattice.step if training else self.test)
            or first != lattice.arrived
            or count == 0
            or first + count > lattice.steps
            or label >= lattice.cols
            or n != wire.HEADER + ((pixels * self.bits + 7) >> 3)
        ):
            self.counters[7] += 1
            return self.ack(kind, sequence if sequence > 0 else 0, wire.FLAG_REFUSED)
        self.counters[6] += 1
        codec.stretch(body, wire.HEADER, self.pixels, pixels, self.bits)
        lattice.row(self.pixels, 0, count)
        begun = self.micros()
        if lattice.arrived < lattice.steps:
            self.ack(kind, sequence, 0)  # first the host, then the work: the next rows travel meanwhile
            lattice.advance()
            self.time = (self.time if first else 0) + self.elapsed(self.micros(), begun)
            return None
        if training:
            self.prediction = lattice.learn(label)
            self.label, self.done, self.kind = label, sequence, 0
            self.counters[1] += 1
            self.counters[3] = (self.time if first else 0) + self.elapsed(self.micros(), begun)
            self.digest = lattice.digest() if body[7] & wire.WITH_DIGEST else 0
            return self.result(wire.RESULT)
        self.test_prediction, self.test_label = lattice.classify(), label
        self.tested, self.kind = sequence, 0
        self.test_time = (self.time if first else 0) + self.elapsed(self.micros(), begun)
        self.counters[2] += 1
        return self.result(wire.TESTED)

    def ack(self, kind, sequence, flags):
        """ACK: which image and which of its rows are wanted next, and how many bytes may be under way."""
        body = self.sender.body
        body[0], body[1] = wire.ACK, kind
        codec.put32(body, 2, sequence)
        body[6] = self.lattice.arrived if kind == self.kind and (kind == wire.TRAIN or sequence == self.test) else 0
        body[7] = flags | (wire.FLAG_RATES if self.rates else 0)
        body[8], body[9] = self.window & 255, self.window >> 8
        self.transmit(10)

    def result(self, kind):
        """RESULT or TESTED of the last image of that kind."""
        body = self.sender.body
        body[0] = kind
        if kind == wire.RESULT:
            codec.put32(body, 1, self.lattice.step)
            body[5], body[6] = self.label, self.prediction
        else:
            codec.put32(body, 1, self.tested)
            body[5], body[6] = self.test_label, self.test_prediction
        codec.put32(body, 7, self.counters[3] if kind == wire.RESULT else self.test_time)
        for i in range(11, 15):
            body[i] = 0
        if kind == wire.RESULT and self.digest:
            struct.pack_into("<I", body, 11, self.digest)
        self.transmit(15)

    def transmit(self, n):
        """Seal and send the n bytes in the sender's body."""
        self.send(self.sender.frame, self.sender.seal(n, self.key))

    # Control: rare, may allocate.

    def reply(self, form, *values):
        """Send one frame of this struct format."""
        struct.pack_into(form, self.sender.body, 0, *values)
        self.transmit(struct.calcsize(form))

    def introduce(self):
        """Prepare the HELLO: all that changes seldom."""
        session, step = (self.saved or (0, 0))[:2]
        flags = (wire.FLAG_CHECKPOINT if self.saved else 0) | (wire.FLAG_SELF_TEST_FAILED if self.failed else 0)
        who = flags, self.window, mpy(), 0, self.self_test, self.session, 0, session, step
        struct.pack_into(wire.HELLO_FORMAT, self.about, 0, wire.HELLO, wire.VERSION, *VERSION, *who)

    def hello(self):
        """HELLO: who and what is here. Also the beacon of a board without a host: nothing is allocated."""
        body, about, lattice = self.sender.body, self.about, self.lattice
        for i in range(len(about)):
            body[i] = about[i]
        body[5] |= (wire.FLAG_ATTACHED if self.attached else 0) | (0 if lattice is None else wire.FLAG_SESSION)
        codec.put32(body, 10, free_heap())
        codec.put32(body, 22, 0 if lattice is None else lattice.step)
        self.transmit(len(about))

    def refuse(self, reason, detail=0):
        """REFUSED: why not, and what the board holds: a session in memory, else its checkpoint."""
        session, step = (self.saved or (0, 0))[:2] if self.lattice is None else (self.session, self.lattice.step)
        self.reply(wire.REFUSED_FORMAT, wire.REFUSED, reason, session, step, detail)

    def state(self, flags=0):
        """STATE: step counter and digest."""
        flags |= (wire.FLAG_RATES if self.rates else 0) | (wire.FLAG_LOADING if self.loading else 0)
        flags |= wire.FLAG_RESULT if 0 <= self.done == self.lattice.step - 1 else 0
        self.reply(wire.STATE_FORMAT, wire.STATE, self.tag, self.lattice.step, self.lattice.digest(), flags)

    def on_open(self, body):
        """OPEN: go on with the session in memory, else with its checkpoint, else begin it."""
        _, _, flags, *form = struct.unpack(wire.OPEN_FORMAT, body)
        form, bits, session, seed, init, bounds = form[:11], form[11], form[12], form[13], form[14:23], form[23:29]
        if self.open and body == self.opened:  # repeated
            self.tag = 0
            return self.state()
        self.open = False
        if self.failed:
            return self.refuse(wire.SELF_TEST)
        config = body[3:-4]  # without the conversation
        saved = self.saved
        replace = flags & wire.FLAG_REPLACE
        if self.lattice is not None and config != self.config and self.lattice.step and not replace:
            return self.refuse(wire.OTHER_SESSION)
        if self.lattice is None and saved and saved[0] != session and saved[1] and not replace:
            return self.refuse(wire.OTHER_SESSION)
        new = self.lattice is None or config != self.config
        restart = flags & wire.FLAG_RESTART
        if new or restart:
            self.reply(wire.WORKING_FORMAT, wire.WORKING, session)
        if new:
            self.lattice, self.config, self.session = None, b"", 0
            lattice, refused = None, wire.NO_MEMORY
            for _ in range(2):  # what the first attempt left behind may be what it lacked
                self.room.drop()
                try:
                    if bits not in (1, 4, 8) or form[4] > MAX_STEPS:
                        raise ValueError
                    lattice = self.built(form, bounds, session, seed, init)
                    break
                except ValueError:
                    refused = wire.BAD_CONFIG
                    break
                except MemoryError:
                    pass
            if lattice is None:
                gc.collect()
                room = free_heap() >> 10 if refused == wire.NO_MEMORY else 0
                self.room.take()
                self.introduce()
                return self.refuse(refused, room)
            if saved and saved[0] != session:  # else a reset would bring back what was to be replaced
                storage.remove(self.root)
                self.saved = None
            self.room.take()  # of what is left, beside a small network: the next one may be larger
            self.lattice, self.config, self.session, self.bits = lattice, config, session, bits
            self.forget()
            self.introduce()
        if restart:
            self.lattice.seed(seed, init)
            self.forget()
        self.key, self.tag = wire.key_of(session, struct.unpack("<I", body[-4:])[0]), 0
        self.writable = True
        self.kind, self.tested, self.rates = 0, -1, False  # but the last RESULT stays: the host may have missed it
        self.lattice.begin()
        self.open, self.opened = True, body
        return self.state()

    def built(self, form, bounds, session, seed, init):
        """A network with the parameters of this session's checkpoint, else drawn. Raises ValueError, MemoryError."""
        lattice = build(*form, **self.lattice_options)
        lattice.set_bounds(((bounds[0], bounds[1]), (bounds[2], bounds[3]), (bounds[4], bounds[5])))
        for k in range(2, 16, 4):
            if lattice.rule[k] > lattice.rule[k + 1]:
                raise ValueError
        for k in (0, 3, 7):  # what is drawn lies within six standard deviations, and within 32 bits
            if abs(init[k]) + 6 * abs(init[k + 1]) >= 1 << 17:
                raise ValueError
        saved = self.saved
        if saved and saved[0] == session and storage.load(lattice.w, self.root) == saved:
            lattice.load(lattice.w, saved[1])
        else:
            lattice.seed(seed, init)
        return lattice

    def on_rates(self, step, *rates):
        """RATES: learning rates from this step on, if it is the step that comes next."""
        if step != self.lattice.step or self.loading:
            return self.state(wire.FLAG_REFUSED)
        try:
            self.lattice.set_rates([rates[k : k + 2] for k in range(0, 8, 2)])
        except ValueError:
            return self.state(wire.FLAG_REFUSED)
        self.rates, self.writable = True, False
        return self.state()

    def on_read(self, first, count):
        """READ: some of the parameters, as WORDS."""
        total = len(self.lattice.w)
        if 0 < count <= wire.MAX_WORDS and first + count <= total:
            some = [int(self.lattice.w[first + i]) for i in range(count)]
            self.reply(f"{wire.READ_FORMAT}{count}i", wire.WORDS, self.tag, first, count, *some)

    def on_write(self, body):
        """WRITE: some of the parameters; they count, and training goes on, only after COMMIT.

        Only between OPEN and the first COMMIT or RATES: a WRITE that comes again later must not undo training.
        """
        head = struct.calcsize(wire.READ_FORMAT)
        _, _, first, count = struct.unpack(wire.READ_FORMAT, body[:head])
        total = len(self.lattice.w)
        if 0 < count <= wire.MAX_WORDS and first + count <= total and len(body) == head + 4 * count:
            if not self.writable:
                return self.state(wire.FLAG_REFUSED)
            self.loading, self.rates, self.done = True, False, -1
            for i in range(count):
                self.lattice.w[first + i] = struct.unpack("<i", body[head + 4 * i : head + 4 + 4 * i])[0]
            self.state()
        return None

    def on_commit(self, step, digest):
        """COMMIT: what was written is the parameters after this step, if it has this digest."""
        if step >= 1 << 30 or not self.loading:  # not loading: a COMMIT that was repeated
            return self.state()
        self.lattice.load(self.lattice.w, step)
        self.rates, self.done, self.kind = False, -1, 0
        self.loading = self.writable = self.lattice.digest() != digest
        return self.state()

    def on_checkpoint(self):
        """CHECKPOINT: the host has nothing under way and waits for the answer, so flash writes disturb nothing."""
        if self.loading:
            return self.state()
        try:
            storage.save(self.session, self.lattice.step, self.lattice.w, self.root)
        except OSError as error:
            return self.refuse(wire.STORAGE, (error.errno or 0) & 0xFFFF)
        except MemoryError:  # file systems have buffers
            return self.refuse(wire.STORAGE, ENOMEM)
        self.saved = self.session, self.lattice.step, len(self.lattice.w)
        self.introduce()
        return self.state()


def free_heap():
    """Bytes of the heap that are free, in however many holes; 0 on CPython."""
    return gc.mem_free() if hasattr(gc, "mem_free") else 0


def mpy():
    """sys.implementation._mpy of this MicroPython (its .mpy version and architecture), 0 elsewhere."""
    import sys

    return getattr(sys.implementation, "_mpy", 0) & 0xFFFF
