"""A board that learns from its own sensor, without a host: which of three movements is this?"""

from firmware.model import Model, load
from fixedpoint.build import DIAGONAL, SNAP1
from fixedpoint.network import Random

PATH = "model.shl"
CHANNELS, CLASSES, STEPS = 3, ("rest", "push", "tilt"), 32
SAVE_EVERY = 50  # labels; a flash block bears some ten thousand saves
LOW, HIGH = -2000, 2000  # what the sensor gives, in mg


def fresh():
    """A network of 16 units that knows nothing. Numbers are Q12: 4096 is 1."""
    model = Model(DIAGONAL, SNAP1, CHANNELS, len(CLASSES), STEPS, units=16)
    model.set_bounds(((-16384, 24576), (-32768, 32767), (-32768, 32767)))  # l, W and V, b
    # W: mean, standard deviation (about 1 / sqrt(inputs)), share of flipped signs. V: mean, standard deviation. l, the
    # logarithm of a time constant in rows: lowest, highest. b: mean, standard deviation.
    model.seed(2, (0, 2400, 0, 0, 2048, -2048, 7372, 0, 0))
    model.set_rates(((336, 24), (839, 24), (252, 24), (839, 24)))  # of l, W, b, V: 839 / 2**24 is 0.00005
    return model


class Sensor:
    """Stands in for yours: one movement, of some strength, that begins at some time."""

    def __init__(self, number):
        self.random = Random(number)
        self.movement = self.random.draw() % len(CLASSES)
        self.time, self.strength = -(self.random.draw() & 7), 700 + (self.random.draw() >> 7)

    def read(self, channel):
        """One value, in mg, with noise; gravity is on the last channel."""
        self.time += channel == 0
        part = min(max(self.time, 0), 16) * self.strength >> 4  # how far the movement has come
        bump = 2 * min(part, self.strength - part)
        moved = ((0, 0, 0), (0, bump, 0), (part, 0, -part))[self.movement]
        return (self.random.draw() >> 8) - 128 + (0, 0, 1000)[channel] + moved[channel]

    def button(self):
        """Which label the user gives to what is just over; None: nobody pressed a button."""
        return self.movement


def main(movements=1 << 30):
    """Learn while running; go on where the power failed."""
    model = load(PATH) or fresh()
    print("start", model.step, hex(model.digest()))
    row = bytearray(CHANNELS)  # made once: nothing is allocated while rows arrive
    for number in range(model.step, movements):
        sensor = Sensor(number)
        complete = False
        while not complete:
            for channel in range(CHANNELS):  # wait here for the sensor's clock
                x = (sensor.read(channel) - LOW) * 255 // (HIGH - LOW)
                row[channel] = min(max(x, 0), 255)
            complete = model.row(row)
        guess = model.classify()
        label = sensor.button()
        print(number, CLASSES[guess], model.confidence(guess), "%" if label is None else "% " + CLASSES[label])
        if label is not None:
            model.learn(label)
            if model.step % SAVE_EVERY == 0:
                model.save(PATH)
                print("saved", model.step, hex(model.digest()))


if __name__ == "__main__":
    main()
