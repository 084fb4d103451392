"""The device program: stdin and stdout as the link, the clock, Ctrl-C, and the loop around firmware.device.

On a board, main.py at the root of its file system holds `import firmware.main` and `firmware.main.main()`. While a
host is attached Ctrl-C is off, because 0x03 is data; EXIT, or IDLE_MS without a byte from the host, turn it on again.
"""

import sys
import time

from firmware import selftest, wire
from firmware.device import Device

IDLE_MS = 10000  # a host that is silent for so long has gone
CHUNK = 512  # bytes taken from the input at a time
WINDOW = 512  # bytes that may be under way: two frames of seven rows fit every board's input buffer but the smallest

try:
    import micropython
    import select

    DEVICE_OS = sys.platform not in ("linux", "darwin", "win32")
    millis, micros, elapsed = time.ticks_ms, time.ticks_us, time.ticks_diff
    interrupt_on = getattr(micropython, "kbd_intr", lambda code: None)
    poller = select.poll()
    poller.register(sys.stdin, select.POLLIN)
    one = bytearray(1)

    def wait(ms):
        """Return whether a byte can be read within ms milliseconds."""
        for _ in poller.ipoll(ms):
            return True
        return False

    def read(buffer):
        """Fill buffer with what has arrived; return how many bytes, -1 when the link is closed."""
        source = sys.stdin.buffer
        if not DEVICE_OS:  # the terminal is set to return at once with what is there
            return source.readinto(buffer) or -1
        n = 0
        while n < len(buffer):  # a board's stdin waits for all bytes asked for: ask for one, if one is there
            source.readinto(one)
            buffer[n] = one[0]
            n += 1
            if not wait(0):
                break
        return n

    def write(buffer, n):
        """Send buffer[:n], all of it."""
        done = 0
        while done < n:
            done += sys.stdout.buffer.write(buffer, done, n - done) or 0

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
            device.counters[4] += elapsed(now, begun)
        if ready:
            n = read(chunk)
            if n < 0:
                return
            device.receive(chunk, n)
            heard = now
            if device.open:
                device.counters[5] += elapsed(millis(), now)
        elif device.attached and elapsed(now, heard) > IDLE_MS:
            device.attached = device.open = False
        if device.attached != attached:
            attached = device.attached
            interrupt_on(-1 if attached else 3)
        if not attached and elapsed(now, beat) >= wire.BEAT_MS:
            device.hello()
            beat = now


def main(golden=selftest.GOLDEN, root=""):
    """Run the firmware; return when the host said EXIT. Ctrl-C works while no host is attached."""
    device = Device(write, micros, WINDOW, selftest.run(), golden, root, elapsed=elapsed)
    device.hello()
    try:
        loop(device)
    finally:
        interrupt_on(3)
