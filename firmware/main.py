"""The device program: stdin and stdout as the link, the clock, Ctrl-C, and the loop around firmware.device.

On a board, main.py at the root of its file system holds `import firmware.main` and `firmware.main.main()`. While a
host is attached Ctrl-C is off, because 0x03 is data; EXIT, or IDLE_MS without a byte from the host, turn it on again.
"""

import gc
import sys
import time

if hasattr(gc, "threshold"):  # not CPython's: what modules leave in the heap lies close together if it is swept often
    gc.threshold(4096)

from firmware import codec, selftest, wire
from firmware.device import COUNT, Device, Reserve

IDLE_MS = 10000  # a host that is silent for so long has gone
CHUNK = 512  # bytes taken from the input at a time
# Bytes that may be under way: what a board's input holds while it computes, and some to spare. rp2 holds 511 bytes, an
# operating system far more; ESP32 (259) and STM32's UARTs and smaller USB buffers (255) take one frame.
WINDOW = 500 if sys.platform in ("rp2", "linux", "darwin") else 250

try:
    import select

    import micropython

    DEVICE_OS = sys.platform not in ("linux", "darwin", "win32")
    millis, micros, elapsed = time.ticks_ms, time.ticks_us, time.ticks_diff
    interrupt_on = getattr(micropython, "kbd_intr", lambda code: None)
    poller = select.poll()
    poller.register(sys.stdin, select.POLLIN)
    ipoll, readinto = poller.ipoll, sys.stdin.buffer.readinto  # bound once: binding a method allocates
    one = bytearray(1)

    def wait(ms):
        """Return whether a byte can be read within ms milliseconds."""
        for _ in ipoll(ms):
            return True
        return False

    def read(buffer):
        """Fill buffer with what has arrived; return how many bytes, -1 when the link is closed."""
        if not DEVICE_OS:  # the terminal is set to return at once with what is there
            return readinto(buffer) or -1
        # A board's stdin waits for all bytes that it was asked for: codec.fill asks for one at a time.
        return codec.fill(buffer, len(buffer), one, one, readinto, ipoll)

    def write(buffer, n):
        """Send buffer[:n]. What a port without a listener does not take is lost, as it may be on any line."""
        done = 0
        while done < n:
            some = sys.stdout.buffer.write(buffer, done, n - done)
            if not some:
                return
            done += some

except ImportError:  # CPython stands in where no MicroPython is installed
    import os
    import select

    def millis():
        """Milliseconds of a clock that never runs backwards."""
        return time.monotonic_ns() // 1000000

    def micros():
        """Microseconds of the same clock."""
        return time.monotonic_ns() // 1000

    def elapsed(now, before):
        """Time from before to now."""
        return now - before

    def interrupt_on(code):
        """A process has its own signals."""

    def wait(ms):
        """Return whether a byte can be read within ms milliseconds."""
        return bool(select.select([0], [], [], ms / 1000)[0])

    def read(buffer):
        """Fill buffer with what has arrived; return how many bytes, -1 when the link is closed."""
        data = os.read(0, len(buffer))
        buffer[: len(data)] = data
        return len(data) or -1

    def write(buffer, n):
        """Send buffer[:n], all of it."""
        done = 0
        while done < n:
            done += os.write(1, memoryview(buffer)[done:n])


def loop(device):
    """Serve the link until EXIT or until it closes."""
    chunk = bytearray(CHUNK)
    heard = beat = millis()
    attached = False
    while not device.leave:
        begun = millis()
        ready = wait(20)
        now = millis()
        if device.open:
            device.counters[4] = (device.counters[4] + elapsed(now, begun)) & COUNT
        if ready:
            n = read(chunk)
            if n < 0:
                return
            device.receive(chunk, n)
            heard = millis()  # after the work: a step that takes long is not the host's silence
            if device.open:
                device.counters[5] = (device.counters[5] + elapsed(heard, now)) & COUNT
        elif device.attached and elapsed(now, heard) > IDLE_MS:
            device.attached = device.open = False
        if device.attached != attached:
            attached = device.attached
            interrupt_on(-1 if attached else 3)
            beat = now
        if not attached and elapsed(now, beat) >= wire.BEAT_MS:
            device.hello()
            beat = now


def main(golden=selftest.GOLDEN, root=""):
    """Run the firmware; return when the host said EXIT. Ctrl-C works while no host is attached."""
    room = Reserve()  # before the self-test leaves its traces in the heap
    if hasattr(gc, "threshold"):
        gc.threshold(-1)
    digest = selftest.run()
    device = Device(write, micros, WINDOW, digest, golden, root, None, elapsed, lambda: interrupt_on(-1), room)
    device.hello()
    try:
        loop(device)
    finally:
        interrupt_on(3)
